package event

import (
	"math"
	"time"
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

func (l *Level) fields(to Fields) {
	to.Int(int64(l.StoreID))
	to.Text(l.SKU)
	to.Int(int64(l.Quantity))
	to.Text(l.EventType)
	to.Time(l.EventTime)
}

const inventoryPrefix = "inventory_"

var (
	skuReasons      = keyReasons("sku", maxIDBytes)
	quantityReasons = integerReasons("quantity")

	// inventoryReasons are those of the columns that only a level has.
	inventoryReasons = append(skuReasons.list(),
		quantityReasons.missing, quantityReasons.null, quantityReasons.notInteger, quantityReasons.negative, quantityReasons.outOfRange)
)

// level judges the fields in the order of the table's columns and fills l.
func (s *scanner) level(arrived time.Time, l *Level) *Rejection {
	var row Level
	var fault textFault
	var rejected *Rejection
	if row.StoreID, rejected = s.storeID(); rejected != nil {
		return rejected
	}
	if row.SKU, fault = s.keyColumn(s.fields[fieldSKU], maxIDBytes); fault != textFine {
		return s.reject(skuReasons[fault], "sku", s.fields[fieldSKU])
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
	t, why := s.fields[fieldQuantity], quantityReasons
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
