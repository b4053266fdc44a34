package event

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// wholes are valid events, by name and value.
var wholes = map[Family][]string{
	Orders: {
		"order_id", `"o"`, "customer_id", `"c"`, "store_id", "1", "total_amount", "1", "item_count", "1",
		"timestamp", `"2026-11-20T08:15:30Z"`,
	},
	Inventory: {"store_id", "1", "sku", `"s"`, "quantity", "1", "timestamp", `"2026-11-20T08:15:30Z"`},
	Payments: {
		"payment_id", `"p"`, "order_id", `"o"`, "customer_id", `"c"`, "amount", "1", "payment_method", `"card"`,
		"timestamp", `"2026-11-20T08:15:30Z"`,
	},
}

// with is a valid order with some fields put in place of its own; a field
// without a value is left out.
func with(fields ...string) []byte { return withIn(Orders, fields...) }

// withIn is the same of a family's event.
func withIn(family Family, fields ...string) []byte {
	whole := slices.Clone(wholes[family])
	for i := 0; i < len(fields); i += 2 {
		if at := slices.Index(whole, fields[i]); at >= 0 {
			whole[at+1] = fields[i+1]
		} else {
			whole = append(whole, fields[i], fields[i+1])
		}
	}
	var pairs []string
	for i := 0; i < len(whole); i += 2 {
		if whole[i+1] != "" {
			pairs = append(pairs, fmt.Sprintf("%q:%s", whole[i], whole[i+1]))
		}
	}
	return []byte("{" + strings.Join(pairs, ",") + "}")
}

func decoded(t *testing.T, record []byte) (o Order, ok bool) {
	t.Helper()
	if rejected := decodeOrder(record, arrival, &o); rejected != nil {
		t.Errorf("%s: %v", record, rejected)
		return o, false
	}
	return o, true
}

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestText(t *testing.T) {
	manyKeys := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"key%d":%d,`, i, i)
		}
		return "{" + b.String() + last + ":1}"
	}
	for _, c := range []struct {
		record string
		want   Reason // "" where the record is an order
	}{
		{" \n\r\t" + string(with()) + " \n\r\t", ""},
		{"\ufeff" + string(with()), NotJSON},
		{"\v" + string(with()), NotJSON},
		{"\xa0" + string(with()), NotJSON},
		{"   ", NotJSON},
		{"\x00", NotJSON},
		{string(with()) + "\x00", TextAfterObject},
		{string(with()) + ",", TextAfterObject},
		{string(with()) + "}", TextAfterObject},
		{"{", NotJSON},
		{"{}", UnknownFamily},
		{"{,}", NotJSON},
		{`{"a"}`, NotJSON},
		{`{"a":}`, NotJSON},
		{`{"a":1,}`, NotJSON},
		{`{"a" 1}`, NotJSON},
		{`{a:1}`, NotJSON},
		{`{1:1}`, NotJSON},
		{`{'a':1}`, NotJSON},
		{`{"a":1 "b":2}`, NotJSON},
		{`{"a":[1,]}`, NotJSON},
		{`{"a":[,1]}`, NotJSON},
		{`{"a":[1 2]}`, NotJSON},
		{`{"a":[1}`, NotJSON},
		{`{"a":{"b":1]}`, NotJSON},
		{`[`, NotJSON},
		{`]`, NotJSON},

		{"17", NotAnObject},
		{`"text"`, NotAnObject},
		{"true", NotAnObject},
		{"[]", NotAnObject},
		{" null ", NotAnObject},
		{nested(100), NotAnObject},
		{"nul", NotJSON},
		{"nullx", NotJSON},
		{"True", NotJSON},
		{"12 34", NotJSON},
		{"[1] {}", NotJSON},

		{string(with("x", "tru")), NotJSON},
		{string(with("x", "truefalse")), NotJSON},
		{string(with("x", "NaN")), NotJSON},
		{string(with("x", "01")), NotJSON},
		{string(with("x", "-01")), NotJSON},
		{string(with("x", "-")), NotJSON},
		{string(with("x", "+1")), NotJSON},
		{string(with("x", ".5")), NotJSON},
		{string(with("x", "5.")), NotJSON},
		{string(with("x", "5.e1")), NotJSON},
		{string(with("x", "1e")), NotJSON},
		{string(with("x", "1e+")), NotJSON},
		{string(with("x", "1e+-1")), NotJSON},
		{string(with("x", "0x10")), NotJSON},
		{string(with("x", "-0.0e-0")), ""},
		{string(with("x", "1E400")), ""},

		{string(with("x", "\"\t\"")), NotJSON},
		{string(with("x", "\"eight..\x1f\"")), NotJSON},
		{string(with("x", "\"\x7f\u0080\"")), ""},
		{string(with("x", "\"\xff\xfe\"")), ""},
		{string(with("x", `"\ud800"`)), ""},
		{string(with("x", `"\x41"`)), NotJSON},
		{string(with("x", `"\u00g0"`)), NotJSON},
		{string(with("x", `"\u12"`)), NotJSON},
		{string(with("x", `"\U0041"`)), NotJSON},
		{string(with("x", `"\"`)), NotJSON},
		{string(with("x", `"`)), NotJSON},
		{string(with("x", `"\b\f\n\r\t\/\\\"\u0000"`)), ""},

		// The event itself is the first of the 64.
		{string(with("x", nested(63))), ""},
		{string(with("x", nested(64))), NestedTooDeep},
		{string(with("x", `{"y":`+nested(63)+`}`)), NestedTooDeep},
		{string(with("x", nested(63)[:62]+`{"y":[]}`+nested(63)[64:])), NestedTooDeep},
		{string(with("x", nested(200_000))), NestedTooDeep},
		{string(with("x", strings.Repeat(`[{"a":`, 5000)+"1"+strings.Repeat("}]", 5000))), NestedTooDeep},
		{string(with("x", strings.Repeat(`[{"a":`, 5000)+"1,"+strings.Repeat("}]", 5000))), NotJSON},
		{string(with("x", strings.Repeat(`{"a":1,"b":[2,{}],"c":`, 99)+`"\z"`+strings.Repeat("}", 99))), NotJSON},
		{string(with("x", strings.Repeat(`{"a":1,"b":[2,{}],"c":`, 99)+`""`+strings.Repeat("}", 99))), NestedTooDeep},
		{string(with("x", strings.Repeat("[", 100))), NotJSON},
		{string(with("x", nested(100)+"]")), NotJSON},
		{string(with("x", strings.Repeat("[", 99)+"}")), NotJSON},
		{string(with("x", nested(100))) + "x", TextAfterObject},

		{`{"a":1,"a":1}`, KeyTwice},
		{`{"a":1,"\u0061":1}`, KeyTwice},
		{`{"order_id":"o","order\u005fid":"o"}`, KeyTwice},
		{`{"order_id":null,"order_id":"o"}`, KeyTwice},
		{`{"😀":1,"\ud83d\ude00":1}`, KeyTwice},
		{`{"\/":1,"/":1}`, KeyTwice},
		{`{"":1,"":1}`, KeyTwice},
		{string(with("x", `{"a":1,"b":[{"c":1,"c":2}]}`)), KeyTwice},
		{string(with("items", `[{"quantity":1,"quantity":1}]`)), KeyTwice},
		{string(with("x", `{"a":{"a":{"a":1}},"b":{"a":1}}`)), ""},
		{string(with("x", `[{"a":1},{"a":1}]`)), ""},
		{string(with("x", `{"\ud800":1,"\ud801":1}`)), ""},
		{string(with("Order_ID", `"p"`)), ""},
		{string(with("x", manyKeys(5000, `"last"`))), ""},
		{string(with("x", manyKeys(5000, `"key0"`))), KeyTwice},
		{string(with("x", manyKeys(5000, `"key4999"`))), KeyTwice},
		{string(with("x", manyKeys(12, `"key11"`))), KeyTwice},
		{string(with("x", manyKeys(13, `"key12"`))), KeyTwice},
		{string(with("x", manyKeys(13, `"key13"`))), ""},

		// The worse problem is the one that is told.
		{`{"a":1,"a":1} x`, TextAfterObject},
		{`{"a":1,"a":`, NotJSON},
		{`{"a":1,"a":` + nested(64) + `}`, NestedTooDeep},
		{string(with("x", nested(64))) + " x", TextAfterObject},
		{`{"payment_id":1,"payment_id":2}`, KeyTwice},
		{string(with("order_id", "7", "customer_id", "", "store_id", "null")), "order_id not a string"},
		{string(with("customer_id", "", "timestamp", "[]")), "customer_id missing"},
		{string(with("item_count", "-1", "total_amount", `"x"`)), "total_amount not a number"},
		{string(with("timestamp", `"x"`, "event_type", `""`, "item_count", "-1")), "item_count negative"},
		{string(with("timestamp", `"x"`, "event_type", `""`)), "event_type empty"},
	} {
		name := c.record[:min(len(c.record), 300)]
		if c.want != "" {
			wantRejected(t, []byte(c.record), c.want, "%.300q", name)
		} else {
			decoded(t, []byte(c.record))
		}
	}
}

// A producer must not be able to slow the worker down with a strange object:
// twice the keys may cost about twice the time, where comparing each with each
// would cost four times.
func TestManyKeysAreNotQuadratic(t *testing.T) {
	record := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"%dkey":{},`, i)
		}
		return with("x", "{"+b.String()+`"z":0}`)
	}
	took := func(data []byte) time.Duration {
		start := time.Now()
		decoded(t, data)
		return time.Since(start)
	}
	// The fastest of each counts; on a loaded machine it takes some tries.
	few, many := record(2_000), record(64_000)
	small, large := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
	for range 30 {
		small, large = min(small, took(few)), min(large, took(many))
		if large <= 200*small { // 32 times the keys: linear is about 32 and quadratic 1024
			return
		}
	}
	t.Errorf("2,000 keys took %v, 64,000 keys %v", small, large)
}

func TestStrings(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, field := range []struct {
		name    string
		limit   int
		got     func(Order) string
		reasons textFaults
	}{
		{"order_id", 100, func(o Order) string { return o.OrderID }, orderIDReasons},
		{"customer_id", 100, func(o Order) string { return o.CustomerID }, customerIDReasons},
		{"event_type", 50, func(o Order) string { return o.EventType }, eventTypeReasons},
	} {
		for _, c := range []struct {
			json, want string
			fault      textFault
		}{
			{`"a"`, "a", textFine},
			{`" a"`, " a", textFine},
			{`"a\u00a0"`, "a\u00a0", textFine}, // no blank to Redshift
			{`"a\t"`, "a\t", textFine},
			{`"'; DROP TABLE x; --\\"`, `'; DROP TABLE x; --\`, textFine},
			{`"\u0041\n\t\"\/"`, "A\n\t\"/", textFine},
			{`"\uD83D\uDE00é\u00e9"`, "😀éé", textFine},
			{`"\ufdcf\ufdf0\ufffd\ufeff"`, "\ufdcf\ufdf0\ufffd\ufeff", textFine},
			{"\"\ufdcf\ufdf0\ufffd\ufeff\"", "\ufdcf\ufdf0\ufffd\ufeff", textFine},
			{`"\ud83f\udffe\udbff\udfff"`, "\U0001fffe\U0010ffff", textFine}, // other planes' are not refused
			{`"` + long(field.limit) + `"`, long(field.limit), textFine},
			{`"` + long(field.limit-1) + `\u0061"`, long(field.limit-1) + "a", textFine},
			{`"` + long(field.limit+1) + `"`, "", textTooLong},
			{`"` + long(field.limit-1) + `é"`, "", textTooLong},
			{`"` + long(field.limit-1) + `\u00e9"`, "", textTooLong},
			{`""`, "", textEmpty},
			{`" "`, "", textEmpty},
			{`"` + strings.Repeat(" ", 101) + `"`, "", textEmpty},
			{`" \u0020"`, "", textEmpty},
			{`1`, "", textNotString},
			{`true`, "", textNotString},
			{`["a"]`, "", textNotString},
			{`{}`, "", textNotString},
			{`"a\u0000"`, "", textNUL},
			{"\"a\xff\"", "", textNotUTF8},
			{"\"\xc0\x80\"", "", textNotUTF8},
			{"\"\xed\xa0\x80\"", "", textNotUTF8}, // a surrogate in UTF-8's clothes
			{"\"\xf4\x90\x80\x80\"", "", textNotUTF8},
			{"\"1234567\xe2\x82\"", "", textNotUTF8},
			{`"\ud800"`, "", textLoneSurrogate},
			{`"\udc00\ud800"`, "", textLoneSurrogate},
			{`"\ud800\ud800\udc00"`, "", textLoneSurrogate},
			{`"\ud800\n"`, "", textLoneSurrogate},
			{`"\ud800x"`, "", textLoneSurrogate},
			{`"\ufdd0"`, "", textNoncharacter},
			{`"a\uFDEFb"`, "", textNoncharacter},
			{`"é\ufffd\ufffe"`, "", textNoncharacter},
			{`"\uFFFF\ufffd"`, "", textNoncharacter},
			{"\"\ufdd0\"", "", textNoncharacter},
			{"\"ab\ufffd\ufdef\"", "", textNoncharacter},
			{"\"\ufffe \"", "", textNoncharacter},
			{"\"12345678\uffff\"", "", textNoncharacter},
		} {
			record := with(field.name, c.json)
			if c.fault != textFine {
				wantRejected(t, record, field.reasons[c.fault], "%s", record)
			} else if o, ok := decoded(t, record); ok && field.got(o) != c.want {
				t.Errorf("%s: %s is %q, want %q", record, field.name, field.got(o), c.want)
			}
		}
	}
	wantRejected(t, with("event_type", `"\ufdd0\ud800"`), "event_type holds a lone surrogate", "a surrogate is no text at all")
	wantRejected(t, with("order_id", "null"), "order_id null", "order_id")
	wantRejected(t, with("customer_id", "null"), "customer_id null", "customer_id")
	wantRejected(t, with("order_id", ""), "order_id missing", "order_id")
	wantRejected(t, with("customer_id", ""), "customer_id missing", "customer_id")
}

// Redshift ignores trailing blanks when it compares texts. So an order's key may
// not end in one, and other texts lose them before their length is measured.
func TestTrailingBlanks(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		record         []byte
		customer, kind string
		reason         Reason
	}{
		{with("customer_id", `"a "`, "event_type", `"b\u0020 "`), "a", "b", ""},
		{with("customer_id", `"`+long(100)+`    "`, "event_type", `"`+long(50)+`\u0020"`), long(100), long(50), ""},
		{with("customer_id", `"a\t "`, "status", `"pending "`), "a\t", "order_created", ""},
		{with("status", `" ready  "`), "c", "order_ ready", ""},
		{with("status", `"`+long(44)+` "`), "c", "order_" + long(44), ""},
		{with("customer_id", `"`+long(101)+` "`), "", "", "customer_id longer than 100 bytes"},
		{with("customer_id", `"\u0020"`), "", "", "customer_id empty"},
		{with("event_type", `"   "`), "", "", "event_type empty"},
		{with("status", `"   "`), "", "", "event_type empty"},
		{with("event_type", `""`, "status", `"ready"`), "", "", "event_type empty"},
		{with("order_id", `"a "`), "", "", "order_id ends in a blank"},
		{with("order_id", `"a\u0020"`), "", "", "order_id ends in a blank"},
		{with("order_id", `"é "`), "", "", "order_id ends in a blank"},
		{with("order_id", `"`+long(99)+` "`), "", "", "order_id ends in a blank"},
		{with("order_id", `"`+long(100)+` "`), "", "", "order_id longer than 100 bytes"}, // it would not lose it
		{with("order_id", `"\u0000 "`), "", "", "order_id holds a NUL"},
	} {
		if c.reason != "" {
			wantRejected(t, c.record, c.reason, "%s", c.record)
		} else if o, ok := decoded(t, c.record); ok && (o.CustomerID != c.customer || o.EventType != c.kind) {
			t.Errorf("%s: %q and %q, want %q and %q", c.record, o.CustomerID, o.EventType, c.customer, c.kind)
		}
	}
}

func TestEventTypeFromStatus(t *testing.T) {
	for _, c := range []struct {
		record []byte
		want   string
		reason Reason
	}{
		{with(), "order_created", ""},
		{with("status", "null"), "order_created", ""},
		{with("status", `"pending"`), "order_created", ""},
		{with("status", `"p\u0065nding"`), "order_created", ""},
		{with("status", `"PENDING"`), "order_PENDING", ""},
		{with("status", `"ready"`), "order_ready", ""},
		{with("status", `"on its way"`), "order_on its way", ""},
		{with("status", `"名"`), "order_名", ""},
		{with("status", `""`), "", "event_type empty"},
		{with("status", `"\uffff"`), "", "event_type holds a noncharacter"},
		{with("status", `"`+strings.Repeat("x", 44)+`"`), "order_" + strings.Repeat("x", 44), ""},
		{with("status", `"`+strings.Repeat("x", 45)+`"`), "", "event_type longer than 50 bytes"},
		{with("status", `1`), "", "event_type not a string"},
		{with("status", `"\u0000"`), "", "event_type holds a NUL"},
		{with("status", `"\ud800"`), "", "event_type holds a lone surrogate"},
		{with("status", "\"\xff\""), "", "event_type is not valid UTF-8"},
		{with("status", `1`, "event_type", `"order_paid"`), "order_paid", ""},
		{with("status", `"ready"`, "event_type", "null"), "order_ready", ""},
	} {
		if c.reason != "" {
			wantRejected(t, c.record, c.reason, "%s", c.record)
		} else if o, ok := decoded(t, c.record); ok && o.EventType != c.want {
			t.Errorf("%s: event type %q, want %q", c.record, o.EventType, c.want)
		}
	}
	for _, status := range []string{"confirmed", "preparing", "ready", "completed", "cancelled", "refunded"} {
		if got := eventTypeOf(status); got != "order_"+status {
			t.Errorf("status %q became %q", status, got)
		}
	}
}
