package verify

import (
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// row is a row of a table of facts as it is compared, be it an event's or the
// warehouse's: its values as one text, and what tells rows apart.
type row struct {
	Family event.Family
	Key    string // values of the key, with a slash between
	Time   int64  // event time, UTC microseconds
	Values string // of all columns, in order, with a NUL between; null = NULL
}

// noun is what a row of the family is called.
func noun(f event.Family) string { return warehouse.FactsOf(f).Noun }

// null stands for NULL, which is no value: a row that has an empty text in its
// place says something else. It is no text that an event or a warehouse can hold.
const null = "\xff"

// rowReader takes the values of rows.
type rowReader struct {
	facts *warehouse.Facts
	keys  []int // the key's columns
	times int   // the time's column

	values []string
	time   int64
}

func newRowReader(f event.Family) *rowReader {
	r := &rowReader{facts: warehouse.FactsOf(f)}
	names := r.facts.Names()
	for i, n := range names {
		if n == r.facts.Time {
			r.times = i
		}
	}
	for _, k := range r.facts.Key {
		for i, n := range names {
			if n == k {
				r.keys = append(r.keys, i)
			}
		}
	}
	return r
}

// Text implements event.Fields.
func (r *rowReader) Text(s string) { r.values = append(r.values, s) }

// Int implements event.Fields.
func (r *rowReader) Int(n int64) { r.values = append(r.values, strconv.FormatInt(n, 10)) }

// Cents implements event.Fields.
func (r *rowReader) Cents(n int64) {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	text := strconv.FormatInt(n, 10)
	for len(text) < 3 {
		text = "0" + text
	}
	r.values = append(r.values, sign+text[:len(text)-2]+"."+text[len(text)-2:])
}

// Time implements event.Fields.
func (r *rowReader) Time(micros int64) {
	if len(r.values) == r.times {
		r.time = micros
	}
	r.values = append(r.values, time.UnixMicro(micros).UTC().Format("2006-01-02T15:04:05.000000Z"))
}

// Null implements event.Fields.
func (r *rowReader) Null() { r.values = append(r.values, null) }

// event reads the row of an event.
func (r *rowReader) event(e *event.Event) row {
	r.values = r.values[:0]
	e.Fields(r)
	return r.row()
}

// fact reads a row of the table. spelt is its key as it stands there: Redshift
// does not count blanks at the end when it compares, and an engine that does may
// hold a key twice.
func (r *rowReader) fact(values []warehouse.Value) (out row, spelt string, err error) {
	r.values, r.time = r.values[:0], 0
	if err := r.facts.Read(values, r); err != nil {
		return row{}, "", err
	}
	return r.row(), r.spelt(values), nil
}

func (r *rowReader) row() row {
	return row{r.facts.Family, r.key(func(i int) string { return r.values[i] }), r.time, strings.Join(r.values, "\x00")}
}

func (r *rowReader) spelt(values []warehouse.Value) string {
	return r.key(func(i int) string { return values[i].Text })
}

func (r *rowReader) key(value func(column int) string) string {
	if len(r.keys) == 1 {
		return value(r.keys[0])
	}
	parts := make([]string, len(r.keys))
	for i, k := range r.keys {
		parts[i] = value(k)
	}
	return strings.Join(parts, "/")
}

// hashed is what rows of one key have in common, and rows of others have not.
func (r row) hashed() string { return r.Family.String() + " " + r.Key }

// describe writes what the row says beside its key.
func (r row) describe() string {
	f := warehouse.FactsOf(r.Family)
	values := strings.Split(r.Values, "\x00")
	var out []string
	for i, c := range f.Columns {
		switch {
		case i >= len(values) || isKey(f, c.Name):
		case values[i] == null:
			out = append(out, c.Name+" NULL")
		case strings.HasPrefix(c.Type, "VARCHAR"):
			out = append(out, c.Name+" "+strconv.Quote(values[i]))
		default:
			out = append(out, c.Name+" "+values[i])
		}
	}
	return strings.Join(out, ", ")
}

func isKey(f *warehouse.Facts, column string) bool {
	for _, k := range f.Key {
		if k == column {
			return true
		}
	}
	return false
}
