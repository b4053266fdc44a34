package event

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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
		if o, ok := decoded(t, record); ok && stored[2] != columnText(o, stored[1]) {
			t.Errorf("%s: %s is %q, the page says %q", name, stored[1], columnText(o, stored[1]), stored[2])
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
		if !told[reason] && !strings.Contains(page, "`"+string(reason)+"`") {
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
func columnText(o Order, column string) string {
	switch column {
	case "order_id":
		return o.OrderID
	case "customer_id":
		return o.CustomerID
	case "store_id":
		return strconv.Itoa(int(o.StoreID))
	case "total_amount":
		sign, size := "", o.AmountCents
		if size < 0 {
			sign, size = "-", -size
		}
		return fmt.Sprintf("%s%d.%02d", sign, size/100, size%100)
	case "item_count":
		return strconv.Itoa(int(o.ItemCount))
	case "event_type":
		return o.EventType
	case "event_timestamp":
		return time.UnixMicro(o.EventTime).UTC().Format("2006-01-02 15:04:05.999999")
	}
	return "no such column"
}
