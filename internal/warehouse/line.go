package warehouse

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// Encoder writes rows as a fill wants them. A row becomes a line where it is
// decoded, so that nothing between there and the warehouse has to know what it
// says. An Encoder is not safe for concurrent use.
type Encoder interface {
	// Append appends the line of an event's row to b: its values in the order of
	// the table's columns.
	Append(b []byte, e *event.Event) []byte
	// JSON writes the row as an event that decodes to it: an object with a key for
	// each column that is not NULL.
	JSON(r Row) []byte
}

// values takes the values of one row, in the notation of either fill. Each appends a
// comma behind itself.
type values struct {
	notation
	b     []byte
	clock clock
}

// notation is how a fill writes what differs between them.
type notation struct {
	quote   byte // that texts stand in, doubled within them
	escapes bool // backslashes are doubled as well
	text    func(b []byte, s string) []byte
	null    string
	quoted  bool // times are in quotes too
}

var (
	// csvNotation is that of COPY. An empty field is NULL to every type but VARCHAR;
	// see Column.take.
	csvNotation = notation{quote: '"', text: appendCSV}
	// sqlNotation is that of INSERT.
	sqlNotation = notation{quote: '\'', escapes: true, text: appendQuoted, null: "NULL", quoted: true}
)

func newEncoder(n notation) Encoder { return &values{notation: n} }

// Append implements Encoder.
func (v *values) Append(b []byte, e *event.Event) []byte {
	v.b = b
	e.Fields(v)
	b, v.b = v.b, nil
	return b[:len(b)-1]
}

// Text implements event.Fields.
func (v *values) Text(s string) { v.b = append(v.text(v.b, s), ',') }

// Int implements event.Fields.
func (v *values) Int(n int64) { v.b = append(strconv.AppendInt(v.b, n, 10), ',') }

// Cents implements event.Fields.
func (v *values) Cents(n int64) { v.b = append(appendCents(v.b, n), ',') }

// Time implements event.Fields.
func (v *values) Time(micros int64) {
	if v.quoted {
		v.b = append(v.clock.append(append(v.b, '\''), micros), '\'', ',')
		return
	}
	v.b = append(v.clock.append(v.b, micros), ',')
}

// Null implements event.Fields.
func (v *values) Null() { v.b = append(append(v.b, v.null...), ',') }

// fields cuts a line into its values. A quote within a text is doubled, so that
// it opens again what it closes.
func (n notation) fields(line []byte) [][]byte {
	var out [][]byte
	begin, within := 0, false
	for i, c := range line {
		switch {
		case c == n.quote:
			within = !within
		case c == ',' && !within:
			out = append(out, line[begin:i])
			begin = i + 1
		}
	}
	return append(out, line[begin:])
}

// replaced is a line with another text in one of its columns.
func (n notation) replaced(line []byte, column int, text string) []byte {
	fields := n.fields(line)
	fields[column] = n.text(nil, text)
	var out []byte
	for i, f := range fields {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, f...)
	}
	return out
}

// Read tells the values of a row of the table as the warehouse returned them, in
// the order of its columns. Texts lose the blanks at their ends, which Redshift
// does not count when it compares.
func (f *Facts) Read(row []Value, to event.Fields) error {
	if len(row) != len(f.Columns) {
		return fmt.Errorf("%d columns instead of %d", len(row), len(f.Columns))
	}
	for i, c := range f.Columns {
		if err := c.read(row[i], to); err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	return nil
}

func (c Column) read(v Value, to event.Fields) error {
	switch kind, _, _ := strings.Cut(c.Type, "("); {
	case v.Null:
		to.Null()
	case kind == "VARCHAR":
		to.Text(strings.TrimRight(v.Text, " "))
	case kind == "DECIMAL":
		n, err := ParseCents(v.Text)
		if err != nil {
			return err
		}
		to.Cents(n)
	case kind == "TIMESTAMP":
		at, err := ParseTimestamp(v.Text)
		if err != nil {
			return err
		}
		to.Time(at.UnixMicro())
	default:
		n, err := strconv.ParseInt(v.Text, 10, 64)
		if err != nil {
			return err
		}
		to.Int(n)
	}
	return nil
}

// JSON implements Encoder.
func (v *values) JSON(r Row) []byte {
	b := []byte{'{'}
	columns := FactsOf(r.Family).Columns
	for i, field := range v.fields(r.Line) {
		if string(field) == v.null {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, columns[i].Name)
		b = append(b, ':')
		if field[0] != v.quote && !strings.HasPrefix(columns[i].Type, "TIMESTAMP") {
			b = append(b, field...)
			continue
		}
		text, err := json.Marshal(v.unquoted(field))
		if err != nil { // no string can do that
			text = []byte(`""`)
		}
		b = append(b, text...)
	}
	return append(b, '}')
}

// Key is the key of an event's row as one text: the values of its table's key, with a
// slash between.
func Key(e *event.Event) string {
	f, v := FactsOf(e.Family()), &values{notation: csvNotation}
	fields, names := v.fields(v.Append(nil, e)), f.Names()
	key := make([]string, len(f.Key))
	for i, k := range f.Key {
		key[i] = v.unquoted(fields[slices.Index(names, k)])
	}
	return strings.Join(key, "/")
}

// unquoted is the text of a field.
func (n notation) unquoted(field []byte) string {
	if len(field) < 2 || field[0] != n.quote {
		return string(field)
	}
	var out []byte
	inner := field[1 : len(field)-1]
	for i := 0; i < len(inner); i++ {
		if (inner[i] == n.quote || n.escapes && inner[i] == '\\') && i+1 < len(inner) {
			i++ // it stands twice
		}
		out = append(out, inner[i])
	}
	return string(out)
}
