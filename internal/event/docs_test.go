package event

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// outcome is what a documented example says of what is stored.
var outcome = regexp.MustCompile("^→ `([a-z_]+)` `([^`]*)`$")

// TestDocumentedRows runs the examples of the page on rows, and looks for every
// reason on it.
func TestDocumentedRows(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ROWS.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	_, examples, _ := strings.Cut(page, "\n## Examples\n")
	examples, wholes, _ := strings.Cut(examples, "\n## Whole texts\n")
	told := make(map[Reason]bool)
	run := func(name string, record []byte, want string) {
		t.Helper()
		stored := outcome.FindStringSubmatch(want)
		if stored == nil {
			told[Reason(want)] = true
			wantRejected(t, record, Reason(want), "%s", name)
			return
		}
		var e Event
		if rejected := Decode(record, arrival, &e); rejected != nil {
			t.Errorf("%s: %v", name, rejected)
		} else if text := columnText(e, stored[1]); stored[2] != text {
			t.Errorf("%s: %s is %q, the page says %q", name, stored[1], text, stored[2])
		}
	}
	for _, row := range documented(t, examples) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte("{"+row[0]+"}"), &fields); err != nil {
			t.Fatalf("%s: %v", row[0], err)
		}
		var list []string
		for name, value := range fields {
			list = append(list, name, string(value))
		}
		run(row[0], with(list...), row[1])
	}
	for _, row := range documented(t, wholes) {
		run(row[0], []byte(row[0]), row[1])
	}
	for _, reason := range Reasons() {
		column, what, _ := strings.Cut(string(reason), " ")
		named := strings.Contains(page, "`"+column+"`") && strings.Contains(page, "`"+what+"`") || strings.HasPrefix(what, "longer than")
		if !told[reason] && !named && !strings.Contains(page, "`"+string(reason)+"`") {
			t.Errorf("the page does not name the reason %q", reason)
		}
	}
}

// documented is the rows of the table in a part of the page: the text in code
// style of the first cell, and the second one.
func documented(t *testing.T, part string) (rows [][2]string) {
	t.Helper()
	for line := range strings.SplitSeq(part, "\n") {
		input, want, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(line, "| `"), " |"), "` | ")
		if ok && strings.HasPrefix(line, "| `") {
			rows = append(rows, [2]string{input, want})
		}
	}
	if len(rows) < 5 {
		t.Fatalf("only %d examples in %.60q", len(rows), part)
	}
	return rows
}

// columnText is a column of a row as the warehouse shows it.
func columnText(e Event, column string) string {
	columns := map[Family]string{
		Orders:    "order_id customer_id store_id total_amount item_count event_type event_timestamp",
		Inventory: "store_id sku quantity event_type event_timestamp",
		Payments:  "payment_id order_id customer_id transaction_id amount payment_method status fraud_score event_type event_timestamp",
	}
	at := slices.Index(strings.Fields(columns[e.Family()]), column)
	if at < 0 {
		return "no such column"
	}
	var row shown
	e.Fields(&row)
	return row[at]
}

// shown is a row as the warehouse shows it.
type shown []string

func (s *shown) Text(text string) { *s = append(*s, text) }
func (s *shown) Int(n int64)      { *s = append(*s, strconv.FormatInt(n, 10)) }
func (s *shown) Null()            { *s = append(*s, "NULL") }

func (s *shown) Cents(n int64) {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	*s = append(*s, fmt.Sprintf("%s%d.%02d", sign, n/100, n%100))
}

func (s *shown) Time(micros int64) {
	*s = append(*s, time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.999999"))
}
