package event

import (
	"slices"
	"strings"
	"time"
)

// Payments is the family of the Payment Processor, whose table is fact_payments.
const Payments Family = 2

var _ = declare(Payments, family{
	name: "payments", prefix: paymentPrefix, key: "payment_id", reasons: paymentReasons, row: func() row { return new(Payment) },
	claims: func(s *scanner) bool { return s.at(fieldPaymentID).present() },
})

var (
	fieldPaymentID     = key("payment_id")
	fieldTransactionID = key("transaction_id")
	fieldAmount        = key("amount")
	fieldPaymentMethod = key("payment_method")
	fieldFraudScore    = key("fraud_score")
	fieldProcessedAt   = key("processed_at")
)

// Payment is one row of fact_payments. Its strings may share memory with the bytes
// it was decoded from.
type Payment struct {
	PaymentID     string
	OrderID       string
	CustomerID    string
	TransactionID string // empty = none
	Method        string
	Status        string
	EventType     string
	AmountCents   int64
	EventTime     int64 // UTC microseconds since 1970
	FraudScore    int32
	Scored        bool // there is a FraudScore
}

// Family is Payments.
func (*Payment) Family() Family { return Payments }

// Fields implements Row.
func (p *Payment) Fields(to Fields) {
	to.Text(p.PaymentID)
	to.Text(p.OrderID)
	to.Text(p.CustomerID)
	if p.TransactionID == "" {
		to.Null()
	} else {
		to.Text(p.TransactionID)
	}
	to.Cents(p.AmountCents)
	to.Text(p.Method)
	to.Text(p.Status)
	if p.Scored {
		to.Int(int64(p.FraudScore))
	} else {
		to.Null()
	}
	to.Text(p.EventType)
	to.Time(p.EventTime)
}

const (
	paymentPrefix  = "payment_"
	maxMethodBytes = 50 // payment_method VARCHAR(50)
	maxStatusBytes = 50 // status VARCHAR(50)

	// paidStatus is the status of a payment that names neither a status nor a type.
	paidStatus = "completed"
)

var (
	paymentIDReasons     = keyReasons("payment_id", maxIDBytes)
	paidOrderReasons     = textReasons("order_id", maxIDBytes)
	transactionIDReasons = textReasons("transaction_id", maxIDBytes).optional()
	methodReasons        = textReasons("payment_method", maxMethodBytes)
	statusReasons        = textReasons("status", maxStatusBytes).optional()
	fraudScoreReasons    = integerReasons("fraud_score")
	paidReasons          = amountReasons("amount")

	// paymentReasons are those of a payment's columns, in the order in which they win.
	paymentReasons = slices.Concat(
		paymentIDReasons.list(), paidOrderReasons.list(), transactionIDReasons.list(), paidReasons.list(), methodReasons.list(), statusReasons.list(),
		[]Reason{fraudScoreReasons.notInteger, fraudScoreReasons.outOfRange},
	)
)

func (p *Payment) plain(text string, micros int64) {
	*p = Payment{PaymentID: text, OrderID: text, CustomerID: text, Method: text, Status: text, EventType: text, EventTime: micros}
}

// read judges the fields in the order of the table's columns and fills p.
func (p *Payment) read(s *scanner, arrived time.Time) *Rejection {
	var row Payment
	var fault textFault
	var rejected *Rejection
	if row.PaymentID, fault = s.keyColumn(s.at(fieldPaymentID), maxIDBytes); fault != textFine {
		return s.reject(paymentIDReasons[fault], "payment_id", s.at(fieldPaymentID))
	}
	if row.OrderID, fault = s.column(s.at(fieldOrderID), maxIDBytes); fault != textFine {
		return s.reject(paidOrderReasons[fault], "order_id", s.at(fieldOrderID))
	}
	if row.CustomerID, fault = s.column(s.at(fieldCustomerID), maxIDBytes); fault != textFine {
		return s.reject(customerIDReasons[fault], "customer_id", s.at(fieldCustomerID))
	}
	if t := s.at(fieldTransactionID); t.present() {
		if row.TransactionID, fault = s.column(t, maxIDBytes); fault != textFine {
			return s.reject(transactionIDReasons[fault], "transaction_id", t)
		}
	}
	if row.AmountCents, rejected = s.cents(s.at(fieldAmount), "amount", &paidReasons); rejected != nil {
		return rejected
	}
	if row.Method, fault = s.column(s.at(fieldPaymentMethod), maxMethodBytes); fault != textFine {
		return s.reject(methodReasons[fault], "payment_method", s.at(fieldPaymentMethod))
	}
	if row.Status, row.EventType, rejected = s.paymentStatus(); rejected != nil {
		return rejected
	}
	if row.FraudScore, row.Scored, rejected = s.fraudScore(); rejected != nil {
		return rejected
	}
	if row.EventTime, rejected = s.timestamp(arrived, fieldProcessedAt); rejected != nil {
		return rejected
	}
	*p = row
	return nil
}

// paymentStatus reads the status and the type, each of which stands in for the
// other where that is not there.
func (s *scanner) paymentStatus() (status, eventType string, rejected *Rejection) {
	t := s.at(fieldStatus)
	told := t.present()
	if told {
		// Where the type is made of it, it has to leave room for the prefix.
		limit := maxStatusBytes
		var fault textFault
		if !s.at(fieldEventType).present() {
			limit = maxEventTypeBytes - len(paymentPrefix)
		}
		if status, fault = s.column(t, limit); fault != textFine {
			if fault == textTooLong && limit < maxStatusBytes {
				return "", "", s.reject(eventTypeReasons[fault], "status", t)
			}
			return "", "", s.reject(statusReasons[fault], "status", t)
		}
	} else {
		status = paidStatus
	}
	if eventType, rejected = s.typeOr(""); rejected != nil {
		return "", "", rejected
	}
	switch {
	case eventType == "":
		eventType = paymentTypeOf(status)
	case !told:
		status = strings.TrimPrefix(eventType, paymentPrefix)
		if status == "" {
			return "", "", s.reject(statusReasons[textEmpty], "event_type", s.at(fieldEventType))
		}
	}
	return status, eventType, nil
}

// paymentTypeOf names the event that brought a payment to a status. The usual ones
// are constants, so that they need no memory of their own.
func paymentTypeOf(status string) string {
	switch status {
	case paidStatus:
		return "payment_completed"
	case "pending":
		return "payment_pending"
	case "failed":
		return "payment_failed"
	case "refunded":
		return "payment_refunded"
	case "flagged_for_review":
		return "payment_flagged_for_review"
	}
	return paymentPrefix + status
}

// fraudScore reads a score, which need not be there.
func (s *scanner) fraudScore() (score int32, there bool, rejected *Rejection) {
	t := s.at(fieldFraudScore)
	if !t.present() {
		return 0, false, nil
	}
	n, ok := s.integer(t)
	switch {
	case !ok:
		return 0, false, s.reject(fraudScoreReasons.notInteger, "fraud_score", t)
	case n != int64(int32(n)):
		return 0, false, s.reject(fraudScoreReasons.outOfRange, "fraud_score", t)
	}
	return int32(n), true, nil
}
