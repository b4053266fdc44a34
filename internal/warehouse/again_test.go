package warehouse

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// A replay of rows of all families of a group fits the Data API's batch, however the rows
// are mixed.
func TestReplaysFitABatch(t *testing.T) {
	for group := range ReplayGroups {
		var families []event.Family
		for _, f := range event.Families() {
			if ReplayGroup(f) == group {
				families = append(families, f)
			}
		}
		line := []byte(strings.Repeat("x", 100))
		var rows []Row
		for bytes, i := 0, 0; ; i++ {
			r := Row{Family: families[i%len(families)], Line: line}
			if bytes += RowBytes(r); bytes > ReplayBytes {
				break
			}
			rows = append(rows, r)
		}
		b := lateBatch(rows)
		fill, err := Insert{}.Prepare(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		sql := loadTransaction(Names{}, b.families(), fill.Statements, time.Now(), true).sql()
		if len(sql) > maxStatements {
			t.Errorf("%d rows of %v take %d statements", len(rows), families, len(sql))
		}
		for _, s := range sql {
			if len(s) > maxStatementBytes {
				t.Errorf("a statement of %d bytes", len(s))
			}
		}
	}
	if ReplayGroups > 1 && len(event.Families()) <= 3 {
		t.Errorf("three families take %d loads", ReplayGroups)
	}
	for _, c := range []struct {
		costs, want []int
	}{{[]int{11, 6, 11}, []int{0, 0, 0}}, {[]int{11, 6, 11, 1}, []int{0, 0, 0, 1}}, {[]int{11, 11, 11, 11, 6}, []int{0, 0, 1, 1, 1}}, {[]int{30, 30}, []int{0, 1}}} {
		if got := grouped(c.costs, 28); !slices.Equal(got, c.want) {
			t.Errorf("what costs %v is in the groups %v, want %v", c.costs, got, c.want)
		}
	}
}
