package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// Every reason that the package declares is in the list, once, and there is a
// record that it is given for; so nothing is rejected for a reason that the
// operator cannot look up.
func TestG8_EveryRejectionHasAReasonFromTheClosedList(t *testing.T) {
	listed := Reasons()
	seen := map[Reason]bool{}
	for _, reason := range listed {
		if seen[reason] {
			t.Errorf("%q is listed twice", reason)
		}
		seen[reason] = true
	}
	given := map[Reason]bool{}
	values := []string{
		"", "null", "1", "-1", "1.5", "1e10", "1e8", "99999999.995", "true", "[]", "{}", `""`, `"x"`, `"\u0000"`, `"\ud800"`, "\"\xff\"",
		`"\uffff"`, `"x "`,
		`"` + strings.Repeat("x", 101) + `"`, `"1999-01-01"`, `"payment_"`, nested(64), `{"a":1,"a":1}`, "?", "1} 2",
	}
	for _, name := range fieldTable.names[:fieldTable.known] {
		for _, value := range values {
			var records [][]byte
			for _, f := range Families() {
				records = append(records, withIn(f, name, value), withIn(f, "event_type", `"`+families[f].prefix+`x"`, name, value))
			}
			for _, record := range records {
				var e Event
				rejected := Decode(record, arrival, &e)
				if rejected == nil {
					continue
				}
				given[rejected.Reason] = true
				if !seen[rejected.Reason] {
					t.Errorf("%s %s: reason %q is not in the list", name, value, rejected.Reason)
				}
				if !strings.HasPrefix(rejected.Error(), string(rejected.Reason)) || rejected.Detail == "" {
					t.Errorf("%s %s: poor message %q", name, value, rejected.Error())
				}
			}
		}
	}
	wantRejected(t, []byte("[]"), NotAnObject, "a list")
	for _, reason := range listed {
		if !given[reason] && reason != NotAnObject && reason != FamilyOff {
			t.Errorf("no record was rejected for %q", reason)
		}
	}
}

// safe checks that a detail cannot break a log line, a terminal or a JSON text,
// and does not grow with the record.
func safe(t *testing.T, detail string) {
	t.Helper()
	if !utf8.ValidString(detail) {
		t.Errorf("detail %q is not valid UTF-8", detail)
	}
	for _, r := range detail {
		if !unicode.IsPrint(r) {
			t.Errorf("detail %q holds %U", detail, r)
		}
	}
	if len(detail) > 200 {
		t.Errorf("detail has %d bytes: %q", len(detail), detail)
	}
}

func TestG10_DetailIsSafe(t *testing.T) {
	hostile := []string{
		"\x00", "\n", "\r\n{\"level\":\"INFO\"}", "\x1b[2J", "\x7f", "\u0085", "\u2028", "\u202e", "\ufeff", "\ue000",
		"\xff\xfe", "\xed\xa0\x80", "\xe2\x82", `"`, `\`, "'; DROP TABLE fact_orders; --", "名前", "😀", strings.Repeat("\x01", 500),
		strings.Repeat("名", 500), strings.Repeat(`"`, 500), strings.Repeat("\U0010ffff", 99), strings.Repeat("\xff", 99),
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		b := make([]byte, r.IntN(200))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		hostile = append(hostile, string(b))
	}
	for _, text := range hostile {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		raw := strings.NewReplacer(`"`, `\"`, `\`, `\\`, "\x00", "?", "\n", "?", "\r", "?", "\x1b", "?").Replace(text)
		for _, record := range [][]byte{
			[]byte(text),
			[]byte("{" + text),
			[]byte(`{"a":` + text),
			[]byte(string(with()) + text + "x"),
			[]byte("[" + string(quoted) + "]"),
			[]byte(fmt.Sprintf(`{%s:1,%s:2}`, quoted, quoted)),
			[]byte(`{"` + raw + `":1,"` + raw + `":2}`),
			with("store_id", string(quoted)),
			with("total_amount", `"`+raw+`"`),
			with("timestamp", `"`+raw+`"`),
			with("timestamp", string(quoted)),
			with("order_id", "["+string(quoted)+"]"),
			with("items", "["+string(quoted)+"]", "item_count", ""),
		} {
			var o Order
			if rejected := decodeOrder(record, arrival, &o); rejected != nil {
				safe(t, rejected.Detail)
				if n := len(excerpt(record)); n > excerptLimit {
					t.Errorf("excerpt of %d bytes", n)
				}
			}
		}
	}
}

// Details are read at night: they name the key, the place and the value.
func TestDetail(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{``, `not JSON: the record is empty`},
		{`{"order_id": "x"`, `not JSON: the text ends at byte 16: expected a comma or the end of the object`},
		{`hello`, `not JSON: at byte 0: expected a value: "hello"`},
		{`{"a":01}`, `not JSON: at byte 6: malformed number: "1}"`},
		{"\ufeff{}", `not JSON: the text begins with a byte order mark`},
		{`{} {}`, `text after the object: at byte 3: "{}"`},
		{`{"a":1,"\u0061":2}`, `a key given twice: key "\\u0061" at byte 8`},
		{`{"customer_id":1}`, `order_id missing: the object has no key "order_id"`},
		{`{"x":1}`, `unknown family: it has none of the keys order_id, sku and payment_id`},
		{`{"event_type":"shipment_sent"}`, `unknown family: it has none of the keys order_id, sku and payment_id, and its event_type is "shipment_sent"`},
		{`{"order_id":17}`, `order_id not a string: key "order_id" at byte 12: "17"`},
		{`{"payment_id":17}`, `payment_id not a string: key "payment_id" at byte 14: "17"`},
		{`{"event_type":"payment_failed"}`, `payment_id missing: the object has no key "payment_id"`},
		{`{"sku":"s"}`, `store_id missing: the object has no key "store_id"`},
		{string(with("created_at", `"yesterday"`, "timestamp", "")), `timestamp not a time: key "created_at" at byte 93: "yesterday"`},
		{string(with("status", `7`)), `event_type not a string: key "status" at byte 123: "7"`},
		{string(with("items", `[{"quantity":1.5}]`, "item_count", "")), `item_count not an integer: key "quantity" at byte 120: "1.5"`},
	} {
		var o Order
		rejected := decodeOrder([]byte(c.record), arrival, &o)
		if rejected == nil || rejected.Error() != c.want {
			t.Errorf("%s:\n got %v\nwant %s", c.record, rejected, c.want)
		}
	}
}
