package event

import (
	"math"
	"slices"
	"time"
)

const (
	maxIDBytes        = 100 // order_id and customer_id VARCHAR(100)
	maxEventTypeBytes = 50  // event_type VARCHAR(50)
	orderPrefix       = "order_"

	centsLimit = 100_000_000_00 // DECIMAL(10,2) holds less
)

// Orders is the family of the Order Service, whose table is fact_orders.
const Orders Family = 0

var _ = declare(Orders, family{
	name: "orders", prefix: orderPrefix, key: "order_id", reasons: orderReasons, row: func() row { return new(Order) },
	claims: func(s *scanner) bool {
		for _, f := range [...]field{fieldOrderID, fieldCustomerID, fieldTotalAmount, fieldItemCount, fieldItems} {
			if s.has(f) {
				return true
			}
		}
		return false
	},
})

var (
	fieldTotalAmount = key("total_amount")
	fieldItemCount   = key("item_count")
	fieldItems       = key("items")
	fieldCreatedAt   = key("created_at")
)

// Order is one row of fact_orders. Its strings may share memory with the bytes
// it was decoded from, which must not change while it is in use.
type Order struct {
	OrderID     string
	CustomerID  string
	EventType   string
	StoreID     int32
	ItemCount   int32
	AmountCents int64
	EventTime   int64 // UTC microseconds since 1970
}

// orderReasons are those of an order's columns, in the order in which they win.
var orderReasons = slices.Concat(
	orderIDReasons.list(), customerIDReasons.list(),
	[]Reason{storeIDReasons.missing, storeIDReasons.null, storeIDReasons.notInteger, storeIDReasons.outOfRange},
	totalReasons.list(),
	[]Reason{itemCountReasons.notInteger, itemCountReasons.negative, itemCountReasons.outOfRange},
)

// Family is Orders.
func (*Order) Family() Family { return Orders }

// Fields implements Row.
func (o *Order) Fields(to Fields) {
	to.Text(o.OrderID)
	to.Text(o.CustomerID)
	to.Int(int64(o.StoreID))
	to.Cents(o.AmountCents)
	to.Int(int64(o.ItemCount))
	to.Text(o.EventType)
	to.Time(o.EventTime)
}

func (o *Order) plain(text string, micros int64) {
	*o = Order{OrderID: text, CustomerID: text, EventType: text, EventTime: micros}
}

// read judges the fields in the order of the table's columns and fills o.
func (o *Order) read(s *scanner, arrived time.Time) *Rejection {
	var row Order
	var fault textFault
	if row.OrderID, fault = s.keyColumn(s.at(fieldOrderID), maxIDBytes); fault != textFine {
		return s.reject(orderIDReasons[fault], "order_id", s.at(fieldOrderID))
	}
	if row.CustomerID, fault = s.column(s.at(fieldCustomerID), maxIDBytes); fault != textFine {
		return s.reject(customerIDReasons[fault], "customer_id", s.at(fieldCustomerID))
	}
	var rejected *Rejection
	if row.StoreID, rejected = s.storeID(); rejected != nil {
		return rejected
	}
	if row.AmountCents, rejected = s.cents(s.at(fieldTotalAmount), "total_amount", &totalReasons); rejected != nil {
		return rejected
	}
	if row.ItemCount, rejected = s.itemCount(); rejected != nil {
		return rejected
	}
	if row.EventType, rejected = s.eventType(); rejected != nil {
		return rejected
	}
	if row.EventTime, rejected = s.timestamp(arrived, fieldCreatedAt); rejected != nil {
		return rejected
	}
	*o = row
	return nil
}

// numeral is the text of a number, or of the number that a string spells. The
// rule is the same wherever a number is taken.
func (s *scanner) numeral(t token) (text []byte, ok bool) {
	if t.kind == kindNumber {
		return s.bytes(t), true
	}
	return s.spelled(t)
}

// spelled is the text of the number that a string spells.
func (s *scanner) spelled(t token) (text []byte, ok bool) {
	if t.kind != kindString {
		return nil, false
	}
	text = s.resolved(t)
	return text, isNumeral(text)
}

// integer reads a numeral that has no fraction; see decimal.integer.
func (s *scanner) integer(t token) (n int64, ok bool) {
	text, ok := s.numeral(t)
	if !ok {
		return 0, false
	}
	return parseDecimal(text).integer()
}

func (s *scanner) storeID() (int32, *Rejection) {
	t := s.at(fieldStoreID)
	switch t.kind {
	case kindAbsent:
		return 0, s.reject(storeIDReasons.missing, "store_id", t)
	case kindNull:
		return 0, s.reject(storeIDReasons.null, "store_id", t)
	}
	n, ok := s.integer(t)
	switch {
	case !ok:
		return 0, s.reject(storeIDReasons.notInteger, "store_id", t)
	case n != int64(int32(n)):
		return 0, s.reject(storeIDReasons.outOfRange, "store_id", t)
	}
	return int32(n), nil
}

// cents reads an amount as decimal text, never through a float, and rounds it half
// away from zero to cents.
func (s *scanner) cents(t token, name string, why *amountFaults) (cents int64, rejected *Rejection) {
	switch t.kind {
	case kindAbsent:
		return 0, s.reject(why.missing, name, t)
	case kindNull:
		return 0, s.reject(why.null, name, t)
	}
	text, ok := s.numeral(t)
	if !ok {
		return 0, s.reject(why.notNumber, name, t)
	}
	d := parseDecimal(text)
	whole, _, half := d.scale(2)
	if whole >= centsLimit {
		return 0, s.reject(why.tooLarge, name, t)
	}
	if half {
		whole++
	}
	if whole >= centsLimit {
		return 0, s.reject(why.roundsTooLarge, name, t)
	}
	if d.neg {
		return -int64(whole), nil
	}
	return int64(whole), nil
}

// itemSum adds up the quantities of an order's items while they are scanned.
// What it finds wrong counts only where the order has no item_count.
type itemSum struct {
	total  int64 // cannot overflow: each part fits 32 bits
	reason Reason
	key    string // of the first value that was wrong
	at     token
}

func (sum *itemSum) refuse(reason Reason, key string, at token) {
	if sum.reason == "" {
		sum.reason, sum.key, sum.at = reason, key, at
	}
}

// add counts an item; one without a quantity is one piece.
func (sum *itemSum) add(s *scanner, quantity token) {
	n, ok := int64(1), true
	if quantity.present() {
		n, ok = s.integer(quantity)
	}
	switch {
	case !ok:
		sum.refuse(itemCountReasons.notInteger, "quantity", quantity)
	case n != int64(int32(n)):
		sum.refuse(itemCountReasons.outOfRange, "quantity", quantity)
	default:
		sum.total += n
	}
}

func (s *scanner) itemCount() (int32, *Rejection) {
	t, name := s.at(fieldItemCount), "item_count"
	var n int64
	if t.present() {
		var ok bool
		if n, ok = s.integer(t); !ok {
			return 0, s.reject(itemCountReasons.notInteger, name, t)
		}
	} else if t, name = s.at(fieldItems), "items"; t.present() {
		if t.kind != kindArray {
			return 0, s.reject(itemCountReasons.notInteger, name, t)
		}
		if s.items.reason != "" {
			return 0, s.reject(s.items.reason, s.items.key, s.items.at)
		}
		n = s.items.total
	}
	switch {
	case n < 0:
		return 0, s.reject(itemCountReasons.negative, name, t)
	case n > math.MaxInt32:
		return 0, s.reject(itemCountReasons.outOfRange, name, t)
	}
	return int32(n), nil
}

// eventType reads the type, or makes it from the status as the Order Service
// sends it.
func (s *scanner) eventType() (string, *Rejection) {
	value, rejected := s.typeOr("")
	if value != "" || rejected != nil {
		return value, rejected
	}
	t := s.at(fieldStatus)
	if !t.present() {
		return "order_created", nil
	}
	status, fault := s.column(t, maxEventTypeBytes-len(orderPrefix))
	if fault != textFine {
		return "", s.reject(eventTypeReasons[fault], "status", t)
	}
	return eventTypeOf(status), nil
}

// typeOr reads the event's type, or takes another where it has none.
func (s *scanner) typeOr(other string) (string, *Rejection) {
	t := s.at(fieldEventType)
	if !t.present() {
		return other, nil
	}
	value, fault := s.column(t, maxEventTypeBytes)
	if fault != textFine {
		return "", s.reject(eventTypeReasons[fault], "event_type", t)
	}
	return value, nil
}

// eventTypeOf names the event that brought an order to a status. The usual
// ones are constants, so that they need no memory of their own.
func eventTypeOf(status string) string {
	switch status {
	case "pending":
		return "order_created"
	case "confirmed":
		return "order_confirmed"
	case "preparing":
		return "order_preparing"
	case "ready":
		return "order_ready"
	case "completed":
		return "order_completed"
	case "cancelled":
		return "order_cancelled"
	case "refunded":
		return "order_refunded"
	}
	return orderPrefix + status
}
