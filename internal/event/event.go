package event

import (
	"strings"
	"time"
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

// Decode reads one record as an order that arrived at the given time. It
// returns nil and fills o, or says why the record is no order and leaves o as
// it was. It keeps neither data nor o.
//
// Where a record has several problems, those of the text come first (not JSON,
// not an object, text after the object, nested deeper, a key twice), then the
// family, then the fields in the order of the table's columns.
func Decode(data []byte, arrived time.Time, o *Order) *Rejection {
	s := scanner{data: data}
	if rejected := s.text(); rejected != nil {
		return rejected
	}
	if name := s.family(); name != familyOrder {
		return &Rejection{UnknownFamily, "looks like an event of the family " + name + ", which has no table yet"}
	}
	return s.order(arrived, o)
}

// The stream carries the events of several services. A family is a kind of
// event with a decoder, columns and a key of its own. Orders are the only one
// that is loaded: a second one is a constant here, a method beside order that
// fills its row type, and a case in Decode.
const (
	familyOrder     = "order"
	familyInventory = "inventory"
	familyPayment   = "payment"
)

// family tells whose event this is: by its type where it names another
// service's, else by the key that only that service's events have. Everything
// else is taken as an order, so that a broken order is rejected with a reason
// that helps its producer.
func (s *scanner) family() string {
	if t := s.fields[fieldEventType]; t.kind == kindString {
		eventType, _ := s.unescaped(t)
		switch {
		case strings.HasPrefix(eventType, "inventory_"):
			return familyInventory
		case strings.HasPrefix(eventType, "payment_"):
			return familyPayment
		}
	}
	switch {
	case s.fields[fieldPaymentID].present():
		return familyPayment
	case s.fields[fieldSKU].present() && !s.fields[fieldOrderID].present():
		return familyInventory
	}
	return familyOrder
}
