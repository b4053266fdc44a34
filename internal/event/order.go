package event

import (
	"math"
	"time"
)

const (
	maxIDBytes        = 100 // order_id and customer_id VARCHAR(100)
	maxEventTypeBytes = 50  // event_type VARCHAR(50)
	statusPrefix      = "order_"

	centsLimit = 100_000_000_00 // DECIMAL(10,2) holds less
)

// order judges the fields in the order of the table's columns and fills o.
func (s *scanner) order(arrived time.Time, o *Order) *Rejection {
	var row Order
	var fault textFault
	if row.OrderID, fault = s.keyColumn(s.fields[fieldOrderID], maxIDBytes); fault != textFine {
		return s.reject(orderIDReason(fault), "order_id", s.fields[fieldOrderID])
	}
	if row.CustomerID, fault = s.column(s.fields[fieldCustomerID], maxIDBytes); fault != textFine {
		return s.reject(customerIDReason(fault), "customer_id", s.fields[fieldCustomerID])
	}
	var rejected *Rejection
	if row.StoreID, rejected = s.storeID(); rejected != nil {
		return rejected
	}
	if row.AmountCents, rejected = s.amount(); rejected != nil {
		return rejected
	}
	if row.ItemCount, rejected = s.itemCount(); rejected != nil {
		return rejected
	}
	if row.EventType, rejected = s.eventType(); rejected != nil {
		return rejected
	}
	if row.EventTime, rejected = s.timestamp(arrived); rejected != nil {
		return rejected
	}
	*o = row
	return nil
}

func orderIDReason(fault textFault) Reason {
	return [...]Reason{
		textMissing: OrderIDMissing, textNull: OrderIDNull, textNotString: OrderIDNotString,
		textEmpty: OrderIDEmpty, textTooLong: OrderIDTooLong, textNotUTF8: OrderIDNotUTF8,
		textNUL: OrderIDNUL, textLoneSurrogate: OrderIDLoneSurrogate, textNoncharacter: OrderIDNoncharacter,
		textEndsInBlank: OrderIDEndsInBlank,
	}[fault]
}

func customerIDReason(fault textFault) Reason {
	return [...]Reason{
		textMissing: CustomerIDMissing, textNull: CustomerIDNull, textNotString: CustomerIDNotString,
		textEmpty: CustomerIDEmpty, textTooLong: CustomerIDTooLong, textNotUTF8: CustomerIDNotUTF8,
		textNUL: CustomerIDNUL, textLoneSurrogate: CustomerIDLoneSurrogate, textNoncharacter: CustomerIDNoncharacter,
	}[fault]
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
	t := s.fields[fieldStoreID]
	switch t.kind {
	case kindAbsent:
		return 0, s.reject(StoreIDMissing, "store_id", t)
	case kindNull:
		return 0, s.reject(StoreIDNull, "store_id", t)
	}
	n, ok := s.integer(t)
	switch {
	case !ok:
		return 0, s.reject(StoreIDNotInteger, "store_id", t)
	case n != int64(int32(n)):
		return 0, s.reject(StoreIDOutOfRange, "store_id", t)
	}
	return int32(n), nil
}

// amount reads total_amount as decimal text, never through a float, and rounds
// it half away from zero to cents.
func (s *scanner) amount() (cents int64, rejected *Rejection) {
	t := s.fields[fieldTotalAmount]
	switch t.kind {
	case kindAbsent:
		return 0, s.reject(AmountMissing, "total_amount", t)
	case kindNull:
		return 0, s.reject(AmountNull, "total_amount", t)
	}
	text, ok := s.numeral(t)
	if !ok {
		return 0, s.reject(AmountNotNumber, "total_amount", t)
	}
	d := parseDecimal(text)
	whole, _, half := d.scale(2)
	if whole >= centsLimit {
		return 0, s.reject(AmountTooLarge, "total_amount", t)
	}
	if half {
		whole++
	}
	if whole >= centsLimit {
		return 0, s.reject(AmountRoundsTooLarge, "total_amount", t)
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
		sum.refuse(ItemCountNotInteger, "quantity", quantity)
	case n != int64(int32(n)):
		sum.refuse(ItemCountOutOfRange, "quantity", quantity)
	default:
		sum.total += n
	}
}

func (s *scanner) itemCount() (int32, *Rejection) {
	t, name := s.fields[fieldItemCount], "item_count"
	var n int64
	if t.present() {
		var ok bool
		if n, ok = s.integer(t); !ok {
			return 0, s.reject(ItemCountNotInteger, name, t)
		}
	} else if t, name = s.fields[fieldItems], "items"; t.present() {
		if t.kind != kindArray {
			return 0, s.reject(ItemCountNotInteger, name, t)
		}
		if s.items.reason != "" {
			return 0, s.reject(s.items.reason, s.items.key, s.items.at)
		}
		n = s.items.total
	}
	switch {
	case n < 0:
		return 0, s.reject(ItemCountNegative, name, t)
	case n > math.MaxInt32:
		return 0, s.reject(ItemCountOutOfRange, name, t)
	}
	return int32(n), nil
}

// eventType reads the type, or makes it from the status as the Order Service
// sends it.
func (s *scanner) eventType() (string, *Rejection) {
	if t := s.fields[fieldEventType]; t.present() {
		value, fault := s.column(t, maxEventTypeBytes)
		if fault != textFine {
			return "", s.reject(eventTypeReason(fault), "event_type", t)
		}
		return value, nil
	}
	t := s.fields[fieldStatus]
	if !t.present() {
		return "order_created", nil
	}
	status, fault := s.column(t, maxEventTypeBytes-len(statusPrefix))
	if fault != textFine {
		return "", s.reject(eventTypeReason(fault), "status", t)
	}
	return eventTypeOf(status), nil
}

func eventTypeReason(fault textFault) Reason {
	return [...]Reason{
		textNotString: EventTypeNotString, textEmpty: EventTypeEmpty, textTooLong: EventTypeTooLong,
		textNotUTF8: EventTypeNotUTF8, textNUL: EventTypeNUL, textLoneSurrogate: EventTypeLoneSurrogate,
		textNoncharacter: EventTypeNoncharacter,
	}[fault]
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
	return statusPrefix + status
}
