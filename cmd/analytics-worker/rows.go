package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

var formats = []string{"table", "csv", "json"}

// rowWriter prints a result part by part.
type rowWriter struct {
	w      io.Writer
	format string
	// safeCells is for CSV: see safeCell.
	safeCells bool
	// utc is for tables whose times are known to be UTC: it is said once, and fractions
	// of a second are left out.
	utc bool

	began  bool
	rows   int64
	types  []string // of the columns, as the warehouse names them; may be fewer
	widths []int    // of a table's columns, in characters
	keys   [][]byte // of the objects of JSON
	buf    bytes.Buffer
}

// part prints the next rows. Parts of one result have the same columns; the first tells
// them, and how wide a table's are.
func (o *rowWriter) part(r warehouse.Result) error {
	o.buf.Reset()
	if !o.began {
		o.begin(r)
	}
	for _, row := range r.Rows {
		o.rows++
		switch o.format {
		case "csv":
			o.csvRow(row)
		case "json":
			o.jsonRow(row)
		default:
			cells := make([]string, len(row))
			for i, v := range row {
				cells[i] = o.cell(i, v)
			}
			o.tableRow(cells)
		}
	}
	_, err := o.w.Write(o.buf.Bytes())
	return err
}

func (o *rowWriter) begin(r warehouse.Result) {
	o.began, o.types = true, r.Types
	names := make([]warehouse.Value, len(r.Columns))
	for i, c := range r.Columns {
		names[i].Text = c
	}
	switch o.format {
	case "csv":
		o.csvRow(names)
	case "json":
		o.keys = jsonKeys(r.Columns)
		o.buf.WriteByte('[')
	default:
		o.widths = make([]int, len(names))
		cells := o.head(names)
		for i, text := range cells {
			o.widths[i] = utf8.RuneCountInString(text)
			for _, row := range r.Rows {
				o.widths[i] = max(o.widths[i], utf8.RuneCountInString(o.cell(i, row[i])))
			}
		}
		o.tableRow(cells)
	}
}

// end prints what comes after the last row.
func (o *rowWriter) end() error {
	text := ""
	switch {
	case o.format != "json":
	case o.rows > 0:
		text = "\n]\n"
	case o.began:
		text = "]\n"
	default: // a statement without a result
		text = "[]\n"
	}
	_, err := io.WriteString(o.w, text)
	return err
}

// typeOf is the type of a column; empty = not known.
func (o *rowWriter) typeOf(column int) string {
	if column < len(o.types) {
		return o.types[column]
	}
	return ""
}

func isNumber(typeName string) bool {
	switch typeName {
	case "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "decimal":
		return true
	}
	return false
}

// head is the first line of a table. Of several times the first says the zone.
func (o *rowWriter) head(names []warehouse.Value) []string {
	out := make([]string, len(names))
	said := !o.utc
	for i, v := range names {
		out[i] = printable(v.Text)
		if !said && o.typeOf(i) == "timestamp" {
			out[i], said = out[i]+" (UTC)", true
		}
	}
	return out
}

// cell is a value in a table.
func (o *rowWriter) cell(column int, v warehouse.Value) string {
	switch {
	case v.Null:
		return "-"
	case o.utc && o.typeOf(column) == "timestamp":
		whole, _, _ := strings.Cut(v.Text, ".")
		return printable(whole)
	}
	return printable(v.Text)
}

// tableRow writes a line. Numbers stand at the right of their columns.
func (o *rowWriter) tableRow(cells []string) {
	var line strings.Builder
	for i, text := range cells {
		if i > 0 {
			line.WriteString("  ")
		}
		space := strings.Repeat(" ", max(0, o.widths[i]-utf8.RuneCountInString(text)))
		if isNumber(o.typeOf(i)) {
			text, space = space+text, ""
		}
		line.WriteString(text + space)
	}
	o.buf.WriteString(strings.TrimRight(line.String(), " ") + "\n")
}

// number is text that a spreadsheet reads as a number, and as nothing else.
var number = regexp.MustCompile(`^[+-]?\d+(\.\d+)?$`)

// safeCell is a cell that no spreadsheet takes for a formula: a quote comes before
// what would begin one, and makes it text. Numbers are left as they are.
func safeCell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) && !number.MatchString(text) {
		return "'" + text
	}
	return text
}

// csvRow writes a line. NULL is an empty field and the empty text a quoted one, as
// PostgreSQL writes and reads them.
func (o *rowWriter) csvRow(row []warehouse.Value) {
	for i, v := range row {
		if i > 0 {
			o.buf.WriteByte(',')
		}
		text := v.Text
		if o.safeCells {
			text = safeCell(text)
		}
		switch {
		case v.Null:
		case text == "", text == `\.`, strings.ContainsAny(text, "\",\r\n"), text[0] == ' ', text[0] == '\t':
			o.buf.WriteString(`"` + strings.ReplaceAll(text, `"`, `""`) + `"`)
		default:
			o.buf.WriteString(text)
		}
	}
	o.buf.WriteByte('\n')
}

// jsonRow writes an object, whose members are in the order of the columns.
func (o *rowWriter) jsonRow(row []warehouse.Value) {
	if o.rows > 1 {
		o.buf.WriteByte(',')
	}
	o.buf.WriteString("\n  {")
	for i, v := range row {
		if i > 0 {
			o.buf.WriteString(", ")
		}
		o.buf.Write(o.keys[i])
		o.buf.WriteString(": ")
		o.buf.Write(jsonValue(v, o.typeOf(i)))
	}
	o.buf.WriteByte('}')
}

// jsonKeys are the columns' names as they stand in JSON. Of two that are the same the
// second has a number, as readers would drop one of them.
func jsonKeys(columns []string) [][]byte {
	used := make(map[string]bool, len(columns))
	out := make([][]byte, len(columns))
	for i, c := range columns {
		name := c
		for n := 2; used[name]; n++ {
			name = c + "_" + strconv.Itoa(n)
		}
		used[name] = true
		out[i] = jsonText(name)
	}
	return out
}

func jsonText(s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// jsonValue is a value by its type: numbers with all their digits, also those that a
// reader of JSON may round; true and false; times in UTC by RFC 3339; the rest, also
// NaN and what is infinite, as the warehouse writes it.
func jsonValue(v warehouse.Value, typeName string) []byte {
	if v.Null {
		return []byte("null")
	}
	if text := []byte(v.Text); isNumber(typeName) && json.Valid(text) { // NaN is no number of JSON's
		return text
	}
	switch typeName {
	case "bool":
		if v.Text == "true" || v.Text == "false" {
			return []byte(v.Text)
		}
	case "timestamp", "timestamptz":
		for _, layout := range []string{"2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999"} {
			if t, err := time.Parse(layout, v.Text); err == nil {
				return fmt.Appendf(nil, `"%s"`, t.UTC().Format(time.RFC3339Nano))
			}
		}
	}
	return jsonText(v.Text)
}
