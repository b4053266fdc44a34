package event

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// columns are the names of each family's columns.
var columns = [MaxFamilies][]string{
	Orders:    {"order_id", "customer_id", "store_id", "total_amount", "item_count", "event_type", "event_timestamp"},
	Inventory: {"store_id", "sku", "quantity", "event_type", "event_timestamp"},
	Payments: {
		"payment_id", "order_id", "customer_id", "transaction_id", "amount", "payment_method", "status", "fraud_score", "event_type",
		"event_timestamp",
	},
}

// agrees checks a row against what encoding/json reads from the same record, and
// against what its columns hold.
func agrees(t *testing.T, record []byte, e *Event) {
	t.Helper()
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(record))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil || !json.Valid(record) {
		t.Fatalf("%q was taken, but is not JSON: %v", record, err)
	}
	c := checker{T: t, record: record, fields: fields, names: columns[e.Family()]}
	e.Fields(&c)
	if c.at != len(c.names) {
		t.Errorf("%v has %d values for %d columns", e.Family(), c.at, len(c.names))
	}
}

// checker takes the values of a row.
type checker struct {
	*testing.T
	record []byte
	fields map[string]any // as encoding/json read them
	names  []string
	at     int
}

// next is what the record says of the next column.
func (c *checker) next() (name string, value any) {
	name = c.names[c.at]
	c.at++
	return name, c.fields[name]
}

func (c *checker) wrong(name string, got, value any) {
	c.Errorf("%q: %s read as %v, encoding/json says %v", c.record, name, got, value)
}

// Text implements Fields.
func (c *checker) Text(s string) {
	name, value := c.next()
	limit := 50
	if strings.HasSuffix(name, "_id") || name == "sku" {
		limit = 100
	}
	switch made := value == nil && (name == "event_type" || name == "status"); {
	case made: // of the other one
	case (name == "sku" || name == c.key()) && value != s, trimmed(value) != s:
		c.wrong(name, strconv.Quote(s), value)
	}
	if s == "" || len(s) > limit || !utf8.ValidString(s) || strings.Contains(s, "\x00") || strings.HasSuffix(s, " ") || strings.ContainsFunc(s, refused) {
		c.Errorf("%q is no text for the warehouse, or does not fit %s of %d bytes", s, name, limit)
	}
}

// key is the column of the key, where it is the first.
func (c *checker) key() string { return c.names[0] }

// Int implements Fields.
func (c *checker) Int(n int64) {
	name, value := c.next()
	if number, ok := value.(json.Number); ok {
		if f, err := number.Float64(); err != nil || f != float64(n) {
			c.wrong(name, n, number)
		}
	}
	if n != int64(int32(n)) || n < 0 && (name == "item_count" || name == "quantity") {
		c.wrong(name, n, value)
	}
}

// Cents implements Fields.
func (c *checker) Cents(n int64) {
	name, value := c.next()
	if number, ok := value.(json.Number); ok {
		amount, err := number.Float64()
		if diff := amount*100 - float64(n); err != nil || diff > 0.5001 || diff < -0.5001 {
			c.wrong(name, n, number)
		}
	}
	if n >= centsLimit || n <= -centsLimit {
		c.wrong(name, n, value)
	}
}

// Time implements Fields.
func (c *checker) Time(micros int64) {
	name, value := c.next()
	if when := time.UnixMicro(micros).UTC(); when.Year() < 2000 || when.After(arrival.Add(24*time.Hour)) {
		c.wrong(name, when, value)
	}
}

// Null implements Fields.
func (c *checker) Null() {
	if name, value := c.next(); value != nil || name != "transaction_id" && name != "fraud_score" {
		c.wrong(name, "NULL", value)
	}
}

func trimmed(text any) string { s, _ := text.(string); return strings.TrimRight(s, " ") }
