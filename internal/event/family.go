package event

import (
	"fmt"
	"strings"
	"time"
)

// Family is a kind of event: whose rows they are. Each has a file here with its
// row and its rules, and a table in package warehouse.
type Family uint8

// The families, by the service that sends them.
const (
	Orders    Family = iota // Order Service: fact_orders
	Inventory               // Inventory Service: fact_inventory
	Payments                // Payment Processor: fact_payments

	// Families is how many there are.
	Families = iota
)

var familyNames = [Families]string{Orders: "orders", Inventory: "inventory", Payments: "payments"}

// familyReasons are those of each family's own columns.
var familyReasons = [Families][]Reason{Orders: orderReasons, Inventory: inventoryReasons, Payments: paymentReasons}

// String is the name by which settings and metrics know the family.
func (f Family) String() string {
	if int(f) < len(familyNames) {
		return familyNames[f]
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// ParseFamily is the family of that name.
func ParseFamily(name string) (Family, bool) {
	for f, n := range familyNames {
		if n == name {
			return Family(f), true
		}
	}
	return 0, false
}

// family tells whose event this is: by its type where it names a service's, else
// by the key that only that service's events have. What has nothing but some key
// of an order is taken as one, so that a broken order is rejected with a reason
// that helps its producer.
func (s *scanner) family() (Family, *Rejection) {
	t := s.fields[fieldEventType]
	if t.kind == kindString {
		eventType, _ := s.unescaped(t)
		switch {
		case strings.HasPrefix(eventType, inventoryPrefix):
			return Inventory, nil
		case strings.HasPrefix(eventType, paymentPrefix):
			return Payments, nil
		case strings.HasPrefix(eventType, orderPrefix):
			return Orders, nil
		}
	}
	switch {
	case s.fields[fieldPaymentID].present():
		return Payments, nil
	case s.fields[fieldSKU].present() && !s.fields[fieldOrderID].present():
		return Inventory, nil
	}
	for _, f := range [...]field{fieldOrderID, fieldCustomerID, fieldTotalAmount, fieldItemCount, fieldItems} {
		if s.fields[f].kind != kindAbsent {
			return Orders, nil
		}
	}
	detail := "it has none of the keys order_id, sku and payment_id"
	if t.present() {
		detail += ", and its event_type is " + excerpt(s.bytes(t))
	}
	return 0, &Rejection{UnknownFamily, detail}
}

// Event is one decoded event: a row of its family's table. The other rows in it
// hold anything.
type Event struct {
	Family    Family
	Order     Order
	Inventory Level
	Payment   Payment
}

// Plain is an event of a family that says as little as an event can: no text in it
// is unusual, and no number large.
func Plain(f Family, at time.Time) Event {
	const text = "probe"
	micros := at.UnixMicro()
	return Event{
		Family:    f,
		Order:     Order{OrderID: text, CustomerID: text, EventType: text, EventTime: micros},
		Inventory: Level{SKU: text, EventType: text, EventTime: micros},
		Payment:   Payment{PaymentID: text, OrderID: text, CustomerID: text, Method: text, Status: text, EventType: text, EventTime: micros},
	}
}

// Fields takes the values of a row, in the order of its table's columns.
type Fields interface {
	Text(s string)     // VARCHAR
	Int(n int64)       // INTEGER
	Cents(n int64)     // DECIMAL(10,2), in hundredths
	Time(micros int64) // TIMESTAMP, UTC microseconds since 1970
	Null()             // of any type
}

// Fields tells the values of the event's row.
func (e *Event) Fields(to Fields) {
	switch e.Family {
	case Orders:
		e.Order.fields(to)
	case Inventory:
		e.Inventory.fields(to)
	case Payments:
		e.Payment.fields(to)
	}
}

// Decode reads one record that arrived at the given time. It returns nil and
// fills e, or says why the record is no event and leaves e as it was. It keeps
// neither data nor e. The strings of a row may share memory with data, which must
// not change while they are in use.
//
// Where a record has several problems, those of the text come first (not JSON,
// not an object, text after the object, nested deeper, a key twice), then the
// family, then the fields in the order of the table's columns.
func Decode(data []byte, arrived time.Time, e *Event) *Rejection {
	s := scanner{data: data}
	if rejected := s.text(); rejected != nil {
		return rejected
	}
	family, rejected := s.family()
	if rejected != nil {
		return rejected
	}
	switch family {
	case Orders:
		rejected = s.order(arrived, &e.Order)
	case Inventory:
		rejected = s.level(arrived, &e.Inventory)
	case Payments:
		rejected = s.payment(arrived, &e.Payment)
	}
	if rejected == nil {
		e.Family = family
	}
	return rejected
}
