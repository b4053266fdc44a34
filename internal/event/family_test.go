package event

import (
	"fmt"
	"reflect"
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
			got = e.Family().String()
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
		{"store_id", `"007"`, `7 "s" 1 "inventory_updated" 1795162530000000us`},
		{"quantity", `"1e3"`, `1 "s" 1000 "inventory_updated" 1795162530000000us`},
		{"quantity", `"-1"`, "quantity negative"},
		{"quantity", `"+1"`, "quantity not an integer"},
		{"order_id", "null", `1 "s" 1 "inventory_updated" 1795162530000000us`},
		{"order_id", `"o"`, "customer_id missing"}, // what names an order and no type is one
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
		{"status", `"` + strings.Repeat("é", 21) + `"`, row(strings.Repeat("é", 21), "payment_"+strings.Repeat("é", 21))}, // bytes count
		{"status", `"` + strings.Repeat("é", 22) + `"`, "event_type longer than 50 bytes"},
		{"payment_method", `"` + strings.Repeat("名", 17) + `"`, "payment_method longer than 50 bytes"},
		{"event_type", `"Payment_failed"`, row("Payment_failed", "Payment_failed")},
		{"event_type", `"order_paid"`, "store_id missing"},
		{"sku", `"s"`, row("completed", "payment_completed")},
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

// rowOf is the row of an event as text, with its family; empty where it has none.
func rowOf(e Event) string {
	if e.Row == nil {
		return ""
	}
	row := told{[]string{e.Family().String()}}
	e.Fields(&row)
	return strings.Join(row.values, " ")
}

// What the files of the families declare is complete, and no two are at odds.
func TestFamiliesAreDeclared(t *testing.T) {
	all := Families()
	if len(all) < 3 || all[0] != Orders { // which have what nobody else claims
		t.Errorf("the families are %v", all)
	}
	declared := 0
	for i, f := range families {
		if f == nil {
			continue
		}
		declared++
		if family, ok := ParseFamily(f.name); !ok || int(family) != i {
			t.Errorf("family %d has the name %q of another", i, f.name)
		}
		if r := f.row(); int(r.Family()) != i {
			t.Errorf("the rows of %s say that they are of %s", f.name, r.Family())
		}
		for _, other := range families {
			if other != nil && other != f && strings.HasPrefix(f.prefix, other.prefix) {
				t.Errorf("types of %s begin as those of %s: %s", f.name, other.name, f.prefix)
			}
		}
		if fieldTable.find(f.key) == unknown || len(wholes[Family(i)]) == 0 {
			t.Errorf("%s is told by the key %q, and the tests have the event %q", f.name, f.key, wholes[Family(i)])
		}
	}
	if declared != len(all) {
		t.Errorf("%d families are declared, and without a gap %v", declared, all)
	}
}

// What was read of one record is nothing to the next, whatever it was. The order of
// its keys is remembered, as numbers, and places that count no more.
func TestNothingIsHeldOfARecord(t *testing.T) {
	var e Event
	for _, record := range []string{
		string(with()), string(with("x", `{"a":1,"b":{"c":2}}`, "items", `[{"quantity":1.5}]`)), `{"a":1,"b":2,"a":3}`, "{}", "", "{", `{"a":`,
		`{"order_id":` + nested(70) + "}", string(with("items", `[{"quantity":2,"quantity":3}]`)), string(withIn(Payments, "y", `{"z":`+nested(80)+"}")), "[]", "{} x",
	} {
		Decode([]byte(record), arrival, &e)
		if !reflect.DeepEqual(*e.scanner, scanner{usual: e.scanner.usual, fields: e.scanner.fields}) {
			t.Errorf("%q is held: %+v", record, *e.scanner)
		}
	}
}

// That keys are expected in the order of the record before changes no answer: not
// where they come in another one, are spelt in another way, are missing, or come twice.
func TestTheOrderOfKeysChangesNoAnswer(t *testing.T) {
	whole := string(with())
	records := []string{
		whole, string(withIn(Payments)), string(withIn(Inventory)), string(with("order_id", "", "order_id", `"x"`)),
		strings.ReplaceAll(whole, ":", " :\t"), strings.ReplaceAll(whole, ",", " ,\n"), strings.Replace(whole, "order_id", `order\u005fid`, 1),
		strings.Replace(whole, "customer_id", "order_id", 1), strings.Replace(whole, "customer_id", "customer_ix", 1), strings.Replace(whole, "customer_id", "customer_i", 1),
		whole[:len(whole)-1] + "," + whole[1:], `{"order_id"`, `{"order_id`, `{"order_id":`, `{"order_id" 1}`, `{"order_id`[:5], "{}",
		string(with("items", `[{"order_id":1,"quantity":2}]`, "item_count", "")), string(with("store_id", `{"order_id":"y"}`)),
	}
	for _, before := range records {
		for _, record := range records {
			var primed Event
			Decode([]byte(before), arrival, &primed)
			fresh, used := Event{}, Event{scanner: primed.scanner}
			want, got := Decode([]byte(record), arrival, &fresh), Decode([]byte(record), arrival, &used)
			if !reflect.DeepEqual(got, want) || rowOf(used) != rowOf(fresh) {
				t.Errorf("%q after %q is %v %s, by itself %v %s", record, before, got, rowOf(used), want, rowOf(fresh))
			}
		}
	}
}

// Keys are found whatever stands beside them in the table, and what is not a key is
// none, be it ever so like one.
func TestKeysAreFound(t *testing.T) {
	var table keyTable
	var names []string
	for n := range maxFields {
		names = append(names, strings.Repeat("k", n/2)+string(rune('a'+n%2))+strings.Repeat("k", n/2))
	}
	for i, name := range names {
		if f := table.add(name); int(f) != i || table.add(name) != f {
			t.Errorf("%q is field %d and %d, want %d", name, f, table.add(name), i)
		}
	}
	for i, name := range names {
		if f := table.find(name); int(f) != i {
			t.Errorf("%q is field %d, want %d", name, f, i)
		}
		for _, other := range []string{"", name + "k", name[1:], strings.Replace(name, "a", "c", 1) + "a"} {
			if f := table.find(other); f != unknown && other != names[f] {
				t.Errorf("%q is field %d, which is %q", other, f, names[f])
			}
		}
		if n := len(name); n > packed {
			other := name[:n/2] + "c" + name[n/2+1:]
			if f := table.find(other); f != unknown {
				t.Errorf("%q is field %d", other, f)
			}
		}
	}
}

// An event that was decoded into can be used for events of any family after it,
// and holds what the last one was.
func TestAnEventIsUsedAgain(t *testing.T) {
	var e Event
	for range 2 {
		for _, f := range Families() {
			if rejected := Decode(withIn(f), arrival, &e); rejected != nil || e.Family() != f {
				t.Fatalf("%v: %v", f, rejected)
			}
			before := rowOf(e)
			if rejected := Decode(withIn(f, "event_type", "7"), arrival, &e); rejected == nil || rowOf(e) != before {
				t.Errorf("%v: after %v the event is %s, before it was %s", f, rejected, rowOf(e), before)
			}
		}
	}
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
