package warehouse

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// A replay of rows of all families fits the Data API's batch, however the rows are mixed.
func TestReplaysFitABatch(t *testing.T) {
	line := []byte(strings.Repeat("x", 100))
	var rows []Row
	for bytes, i := 0, 0; ; i++ {
		r := Row{Family: event.Families()[i%len(event.Families())], Line: line}
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
	sql := loadRolledBy((*Facts).rollAnew, Names{}, b.families(), fill.Statements, time.Now()).sql()
	if len(sql) > maxStatements {
		t.Errorf("%d rows take %d statements", len(rows), len(sql))
	}
	for _, s := range sql {
		if len(s) > maxStatementBytes {
			t.Errorf("a statement of %d bytes", len(s))
		}
	}
}
