package event

import (
	"math"
	"time"
)

// Inventory is the family of the Inventory Service, whose table is fact_inventory.
const Inventory Family = 1

var _ = declare(Inventory, family{
	name: "inventory", prefix: "inventory_", key: "sku", reasons: inventoryReasons, row: func() row { return new(Level) },
	claims: func(s *scanner) bool { return s.at(fieldSKU).present() && !s.at(fieldOrderID).present() },
})

var (
	fieldSKU       = key("sku")
	fieldQuantity  = key("quantity")
	fieldUpdatedAt = key("updated_at")
)

// Level is one row of fact_inventory: how much of an article a store has. Its
// strings may share memory with the bytes it was decoded from.
type Level struct {
	SKU       string
	EventType string
	StoreID   int32
	Quantity  int32
	EventTime int64 // UTC microseconds since 1970
}

// Family is Inventory.
func (*Level) Family() Family { return Inventory }

// Fields implements Row.
func (l *Level) Fields(to Fields) {
	to.Int(int64(l.StoreID))
	to.Text(l.SKU)
	to.Int(int64(l.Quantity))
	to.Text(l.EventType)
	to.Time(l.EventTime)
}

var (
	skuReasons      = keyReasons("sku", maxIDBytes)
	quantityReasons = integerReasons("quantity")

	// inventoryReasons are those of the columns that only a level has.
	inventoryReasons = append(skuReasons.list(),
		quantityReasons.missing, quantityReasons.null, quantityReasons.notInteger, quantityReasons.negative, quantityReasons.outOfRange)
)

func (l *Level) plain(text string, micros int64) {
	*l = Level{SKU: text, EventType: text, EventTime: micros}
}

// read judges the fields in the order of the table's columns and fills l.
func (l *Level) read(s *scanner, arrived time.Time) *Rejection {
	var row Level
	var fault textFault
	var rejected *Rejection
	if row.StoreID, rejected = s.storeID(); rejected != nil {
		return rejected
	}
	if row.SKU, fault = s.keyColumn(s.at(fieldSKU), maxIDBytes); fault != textFine {
		return s.reject(skuReasons[fault], "sku", s.at(fieldSKU))
	}
	if row.Quantity, rejected = s.quantity(); rejected != nil {
		return rejected
	}
	if row.EventType, rejected = s.typeOr("inventory_updated"); rejected != nil {
		return rejected
	}
	if row.EventTime, rejected = s.timestamp(arrived, fieldUpdatedAt); rejected != nil {
		return rejected
	}
	*l = row
	return nil
}

// quantity reads a level, which may be 0.
func (s *scanner) quantity() (int32, *Rejection) {
	t, why := s.at(fieldQuantity), quantityReasons
	if !t.present() {
		return 0, s.reject(why.absent(t), "quantity", t)
	}
	n, ok := s.integer(t)
	switch {
	case !ok:
		return 0, s.reject(why.notInteger, "quantity", t)
	case n < 0:
		return 0, s.reject(why.negative, "quantity", t)
	case n > math.MaxInt32:
		return 0, s.reject(why.outOfRange, "quantity", t)
	}
	return int32(n), nil
}
