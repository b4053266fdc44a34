package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const order1, order2 = `{"order_id":"ord-1","customer_id":"c"}`, `{"order_id": "ord-2", "items": [{"quantity": 2}]}`

// texts is the data of each event that a plain record with the data holds.
func texts(data string) []string {
	var out []string
	for _, r := range Deaggregate(outer([]byte(data)), everything, nil) {
		out = append(out, string(r.Data))
	}
	return out
}

func TestEventsOfOneRecord(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want []string // nil = the record stays whole
	}{
		"one":                       {order1, nil},
		"one with items":            {order2, nil},
		"one with space around":     {"\n" + order1 + " \r\n", nil},
		"two on lines":              {order1 + "\n" + order2, []string{order1, order2}},
		"an end of line at the end": {order1 + "\n" + order2 + "\n", []string{order1, order2}},
		"nothing between":           {order1 + order2, []string{order1, order2}},
		"all white space":           {" \t\r\n" + order1 + " \t\r\n \n" + order2 + "\t ", []string{order1, order2}},
		"three":                     {order1 + order2 + order1, []string{order1, order2, order1}},
		"a bad one":                 {order1 + "\n{}\n" + order2 + order2, []string{order1, "{}", order2, order2}},
		"one that is no JSON":       {order1 + "\n{\"a\": tru]}\n" + order2, []string{order1, `{"a": tru]}`, order2}},
		"braces in strings":         {`{"a":"}\n{","b":"\"}{","c":"\\"}` + order1, []string{`{"a":"}\n{","b":"\"}{","c":"\\"}`, order1}},
		"one with braces in it":     {`{"order_id":"}{","customer_id":"} {","x":1}`, nil},
		"bytes that are no UTF-8":   {"{\"order_id\":\"\xff\xfe and some more\"}" + order1, []string{"{\"order_id\":\"\xff\xfe and some more\"}", order1}},

		"text behind":            {order1 + order2 + "x", nil},
		"text between":           {order1 + ",\n" + order2, nil},
		"text before":            {"x" + order1 + order2, nil},
		"a list behind":          {order1 + "[" + order2 + "]", nil},
		"a number behind":        {order1 + order2 + " 17", nil},
		"a list around":          {"[" + order1 + "," + order2 + "]", nil},
		"cut short":              {order1 + "\n" + order2[:len(order2)-1], nil},
		"cut in a string":        {order1 + "\n" + order2[:16], nil},
		"cut in an escape":       {order1 + order2[:16] + `\`, nil},
		"a string never closed":  {`{"order_id":"ord-1}` + "\n" + order2 + "\n" + order1, nil},
		"a brace never closed":   {`{"order_id":"ord-1"` + "\n" + order2 + "\n" + order1, nil},
		"a brace too many":       {order1 + "}" + order2, nil},
		"a byte order mark":      {"\ufeff" + order1 + order2, nil},
		"a mark between":         {order1 + "\ufeff" + order2, nil},
		"other white space":      {order1 + "\v" + order2, nil},
		"a NUL between":          {order1 + "\x00" + order2, nil},
		"empty":                  {"", nil},
		"white space":            {" \n", nil},
		"no text":                {"\x00}{\xff} {", nil},
		"a closing brace":        {"}", nil},
		"objects without events": {"{} {} {} {}", nil},
	} {
		want := c.want
		if want == nil {
			want = []string{c.data}
		}
		if got := texts(c.data); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A position between any two events of a record is one to go on from, whatever
// the record is made of.
func TestEventsCountOverTheWholeRecord(t *testing.T) {
	plain := order1 + order2 + order1
	kpl := packed(field(1, "k") + user(0, order1+order2) + user(0, order1) + user(0, "x") + user(0, order2+"\n"+order1+"\n"))
	for name, c := range map[string]struct {
		data []byte
		want []string
	}{
		"plain":     {[]byte(plain), []string{order1, order2, order1}},
		"aggregate": {kpl, []string{order1, order2, order1, "x", order2, order1}},
	} {
		before := Record{SequenceNumber: "1"}
		got := Deaggregate(outer(c.data), everything, []Record{before})
		if len(got) != 1+len(c.want) || got[0].SequenceNumber != "1" {
			t.Fatalf("%s: %d events, want %d", name, len(got)-1, len(c.want))
		}
		got = got[1:]
		for i, r := range got {
			if r.SubSequence != int64(i) || string(r.Data) != c.want[i] || r.SequenceNumber != "49590338" || r.ArrivedAt.IsZero() || r.PartitionKey == "" {
				t.Errorf("%s, event %d: %+v", name, i, r)
			}
			if cap(r.Data) != len(r.Data) {
				t.Errorf("%s, event %d: appending to it would write into the next", name, i)
			}
			for j, other := range got {
				if After(r).Covers(other) != (j <= i) {
					t.Errorf("%s: behind event %d, event %d is covered: %v", name, i, j, j > i)
				}
			}
		}
	}
	// Where each user record is one event, the count is the user records' own, as
	// KCL has it.
	one := Deaggregate(outer(packed(field(1, "k")+user(0, order1)+user(0, "}{")+user(0, " "+order2))), everything, nil)
	if len(one) != 3 || one[2].SubSequence != 2 || string(one[2].Data) != " "+order2 {
		t.Errorf("%+v", one)
	}
}

// What becomes of a record is bounded by its size, whatever is in it.
func TestEventsAreBounded(t *testing.T) {
	for object, want := range map[string]int{
		"{}": 1, "{}\n": 1, `{"a":1}`: 1,
		fmt.Sprintf("%-31s", `{"order_id":"ord-1"}`): 1,
		fmt.Sprintf("%-32s", `{"order_id":"ord-1"}`): 100_000,
		order1: 100_000,
	} {
		if got := len(Deaggregate(outer([]byte(strings.Repeat(object, 100_000))), everything, nil)); got != want {
			t.Errorf("100,000 of %q are %d records, want %d", object, got, want)
		}
	}
}

// objects is what encoding/json reads from a text that is nothing but objects.
func objects(data []byte) (out []string, ok bool) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	for {
		var raw json.RawMessage
		switch err := decoder.Decode(&raw); {
		case errors.Is(err, io.EOF):
			return out, len(out) > 0
		case err != nil || raw[0] != '{':
			return nil, false
		}
		out = append(out, string(raw))
	}
}

// checkEvents holds the events of a plain record against encoding/json. Where
// that reads nothing but objects they are the events; where it does not, the
// events are still all of the record but its white space.
func checkEvents(t *testing.T, data []byte) {
	t.Helper()
	r := outer(data)
	got := Deaggregate(r, everything, nil)
	want, ok := objects(data)
	if ok && (len(want) == 1 || len(want)*leastEvent > len(data)) {
		ok = len(got) == 1
		want = []string{string(data)}
	}
	var all []string
	for i, e := range got {
		all = append(all, string(e.Data))
		e.Data, e.SubSequence = r.Data, 0
		if !reflect.DeepEqual(e, r) || got[i].SubSequence != int64(i) {
			t.Fatalf("%q: event %d is %+v", data, i, got[i])
		}
	}
	if ok && !slices.Equal(all, want) {
		t.Fatalf("%q was read as %q, encoding/json says %q", data, all, want)
	}
	if len(all) == 1 {
		if all[0] != string(data) {
			t.Fatalf("%q became %q", data, all[0])
		}
		return
	}
	rest := string(data)
	for _, e := range all {
		between, after, found := strings.Cut(rest, e)
		if !found || strings.Trim(between, " \r\n\t") != "" || e[0] != '{' || e[len(e)-1] != '}' {
			t.Fatalf("%q was taken apart as %q", data, all)
		}
		rest = after
	}
	if strings.Trim(rest, " \r\n\t") != "" || len(all)*leastEvent > len(data) {
		t.Fatalf("%q was taken apart as %q", data, all)
	}
}

func TestEventsAgainstEncodingJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	pieces := []string{
		"{", "}", "{}", `"`, `"a":`, `"}{"`, `"\"}"`, `"\\"`, "[", "]", ",", "1", " ", "\n", "\r\n", "\t", "x", "\xff", "\x01", `"\u007d"`,
		order1, order2, order1 + "\n", `{"a":{"b":[{},{}]},"c":"}\n{"}`, `{"text":"twenty and more letters"}`,
	}
	apart := 0
	for range 30_000 {
		var b strings.Builder
		few := len(pieces) - r.IntN(2)*20 // objects alone, or all sorts
		for range 1 + r.IntN(8) {
			b.WriteString(pieces[len(pieces)-1-r.IntN(few)])
		}
		checkEvents(t, []byte(b.String()))
		if len(texts(b.String())) > 1 {
			apart++
		}
	}
	if apart < 5_000 {
		t.Errorf("only %d records were taken apart", apart)
	}
}

func FuzzEvents(f *testing.F) {
	for _, data := range []string{order1, order1 + order2, order1 + "\n{}\n" + order2, order1 + " x", `{"a":"}{"}`, order1 + `{"a":"\`, "}{", "\ufeff" + order1 + order1} {
		f.Add([]byte(data))
	}
	f.Fuzz(checkEvents)
}

func BenchmarkEvents(b *testing.B) {
	flat := `{"order_id":"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a01","customer_id":"cust-000017","store_id":12,"total_amount":12.50,"item_count":3,"event_type":"order_created","timestamp":"2026-11-20T08:15:31.250Z"}`
	nested := `{"order_id":"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a01","customer_id":"user-12-881","store_id":"1","items":[{"item_id":"latte","name":"Caffe Latte","quantity":2,"price":5.0},{"item_id":"muffin","name":"Blueberry Muffin","quantity":1,"price":3.0}],"total_amount":13.0,"status":"pending","created_at":1795163730,"ttl":1795250130}`
	dst := make([]Record, 0, 200)
	for name, data := range map[string]string{"flat": flat, "with items": nested, "100 lines": strings.Repeat(flat+"\n", 100)} {
		r := outer([]byte(data))
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				dst = Deaggregate(r, everything, dst[:0])
			}
		})
	}
}
