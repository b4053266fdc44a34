package event

import (
	"fmt"
	"strings"
	"testing"
)

func TestFamily(t *testing.T) {
	for _, c := range []struct {
		record string
		want   string // a family, or the reason
	}{
		{string(with()), "orders"},
		{string(withIn(Inventory)), "inventory"},
		{string(withIn(Payments)), "payments"},
		// By type first, whatever keys it has.
		{string(with("event_type", `"inventory_updated"`, "sku", `"s"`, "quantity", "1")), "inventory"},
		{string(with("event_type", `"payment_completed"`, "payment_id", `"p"`, "amount", "1", "payment_method", `"card"`)), "payments"},
		{string(withIn(Payments, "event_type", `"order_paid"`, "store_id", "1", "total_amount", "1")), "orders"},
		{string(with("event_type", `"inventory_\u0075pdated"`)), "sku missing"},
		// Then by key. An order may name an article, and a payment an order.
		{string(with("sku", `"s"`)), "orders"},
		{string(withIn(Inventory, "event_type", `"stock_counted"`)), "inventory"},
		{string(withIn(Payments, "event_type", `"chargeback"`)), "payments"},
		{string(withIn(Payments, "payment_id", "null", "total_amount", "1", "store_id", "1")), "orders"},
		{`{"order_id":null}`, "order_id null"},
		{`{"items":[]}`, "order_id missing"},
		{`{}`, "unknown family"},
		{`{"sku":null,"payment_id":null}`, "unknown family"},
		{`{"event_type":"inventory"}`, "unknown family"},
		{`{"status":"ready","store_id":1}`, "unknown family"},
	} {
		var e Event
		got := ""
		if rejected := Decode([]byte(c.record), arrival, &e); rejected != nil {
			got = string(rejected.Reason)
		} else {
			got = e.Family.String()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.record, got, c.want)
		}
	}
}

// told is a row as its Fields say it.
type told struct{ values []string }

func (t *told) Text(s string)     { t.values = append(t.values, fmt.Sprintf("%q", s)) }
func (t *told) Int(n int64)       { t.values = append(t.values, fmt.Sprint(n)) }
func (t *told) Cents(n int64)     { t.values = append(t.values, fmt.Sprintf("%dc", n)) }
func (t *told) Time(micros int64) { t.values = append(t.values, fmt.Sprintf("%dus", micros)) }
func (t *told) Null()             { t.values = append(t.values, "NULL") }

func TestFields(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{string(with()), `"o" "c" 1 100c 1 "order_created" 1795162530000000us`},
		{string(withIn(Inventory)), `1 "s" 1 "inventory_updated" 1795162530000000us`},
		{string(withIn(Payments)), `"p" "o" "c" NULL 100c "card" "completed" NULL "payment_completed" 1795162530000000us`},
		{
			string(withIn(Payments, "transaction_id", `"t"`, "fraud_score", "-3", "status", `"x"`)),
			`"p" "o" "c" "t" 100c "card" "x" -3 "payment_x" 1795162530000000us`,
		},
	} {
		var e Event
		if rejected := Decode([]byte(c.record), arrival, &e); rejected != nil {
			t.Errorf("%s: %v", c.record, rejected)
			continue
		}
		var got told
		e.Fields(&got)
		if row := strings.Join(got.values, " "); row != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.record, row, c.want)
		}
	}
}

func TestLevelRules(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"store_id", `"7.0"`, `7 "s" 1 "inventory_updated" 1795162530000000us`},
		{"quantity", `"12"`, `1 "s" 12 "inventory_updated" 1795162530000000us`},
		{"quantity", "0", `1 "s" 0 "inventory_updated" 1795162530000000us`},
		{"quantity", "-0", `1 "s" 0 "inventory_updated" 1795162530000000us`},
		{"quantity", "-1", "quantity negative"},
		{"quantity", "2147483647", `1 "s" 2147483647 "inventory_updated" 1795162530000000us`},
		{"quantity", "2147483648", "quantity out of 32 bits"},
		{"quantity", "1.5", "quantity not an integer"},
		{"quantity", "", "quantity missing"},
		{"quantity", "null", "quantity null"},
		{"sku", `"s "`, "sku ends in a blank"},
		{"sku", `""`, "sku empty"},
		{"sku", "7", "sku not a string"},
		{"event_type", `"stock_counted "`, `1 "s" 1 "stock_counted" 1795162530000000us`},
		{"event_type", "null", `1 "s" 1 "inventory_updated" 1795162530000000us`},
		{"updated_at", "7", `1 "s" 1 "inventory_updated" 1795162530000000us`}, // the other time comes first
		{"timestamp", "null", fmt.Sprintf(`1 "s" 1 "inventory_updated" %dus`, arrival.UnixMicro())},
	} {
		familyRule(t, Inventory, c.name, c.value, c.want)
	}
	record := withIn(Inventory, "timestamp", "", "updated_at", `"2026-11-20T08:16:00Z"`, "created_at", `"x"`)
	if got := outcomeOf(record); got != `1 "s" 1 "inventory_updated" 1795162560000000us` {
		t.Errorf("%s: %s", record, got)
	}
}

func TestPaymentRules(t *testing.T) {
	row := func(status, eventType string) string {
		return fmt.Sprintf(`"p" "o" "c" NULL 100c "card" %q NULL %q 1795162530000000us`, status, eventType)
	}
	for _, c := range []struct{ name, value, want string }{
		{"status", `"refunded"`, row("refunded", "payment_refunded")},
		{"status", `"odd "`, row("odd", "payment_odd")},
		{"status", "null", row("completed", "payment_completed")},
		{"status", `""`, "status empty"},
		{"status", "7", "status not a string"},
		{"status", `"` + strings.Repeat("x", 42) + `"`, row(strings.Repeat("x", 42), "payment_"+strings.Repeat("x", 42))},
		{"status", `"` + strings.Repeat("x", 43) + `"`, "event_type longer than 50 bytes"},
		{"event_type", `"payment_failed"`, row("failed", "payment_failed")},
		{"event_type", `"chargeback"`, row("chargeback", "chargeback")},
		{"event_type", `"payment_"`, "status empty"},
		{"amount", `"12.505"`, strings.Replace(row("completed", "payment_completed"), "100c", "1251c", 1)},
		{"amount", "-1", strings.Replace(row("completed", "payment_completed"), "100c", "-100c", 1)},
		{"amount", "1e8", "amount does not fit DECIMAL(10,2)"},
		{"amount", "", "amount missing"},
		{"payment_id", `"p "`, "payment_id ends in a blank"},
		{"order_id", `"o "`, row("completed", "payment_completed")},
		{"order_id", "", "order_id missing"},
		{"customer_id", "null", "customer_id null"},
		{"payment_method", "", "payment_method missing"},
		{"payment_method", `"` + strings.Repeat("x", 51) + `"`, "payment_method longer than 50 bytes"},
		{"transaction_id", "null", row("completed", "payment_completed")},
		{"transaction_id", `""`, "transaction_id empty"},
		{"transaction_id", "7", "transaction_id not a string"},
		{"fraud_score", "null", row("completed", "payment_completed")},
		{"fraud_score", `"x"`, "fraud_score not an integer"},
		{"fraud_score", "1e10", "fraud_score out of 32 bits"},
		{"processed_at", "7", row("completed", "payment_completed")},
	} {
		familyRule(t, Payments, c.name, c.value, c.want)
	}
	record := withIn(Payments, "status", `"`+strings.Repeat("x", 50)+`"`, "event_type", `"payment_x"`)
	if got := outcomeOf(record); got != row(strings.Repeat("x", 50), "payment_x") {
		t.Errorf("%s: %s", record, got)
	}
}

func familyRule(t *testing.T, family Family, name, value, want string) {
	t.Helper()
	if got := outcomeOf(withIn(family, name, value)); got != want {
		t.Errorf("%s with %q: %s\n got %s\nwant %s", family, name, value, got, want)
	}
}

// outcomeOf is the row of a record, or the reason why it has none.
func outcomeOf(record []byte) string {
	var e Event
	if rejected := Decode(record, arrival, &e); rejected != nil {
		return string(rejected.Reason)
	}
	var row told
	e.Fields(&row)
	return strings.Join(row.values, " ")
}

// No family's decoding takes memory of its own.
func TestFamilyAllocations(t *testing.T) {
	for family := range wholes {
		record := withIn(family)
		var e Event
		if n := testing.AllocsPerRun(100, func() { Decode(record, arrival, &e) }); n != 0 {
			t.Errorf("%v: %v allocations", family, n)
		}
	}
}
