package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// answering is a warehouse that answers every question alike.
type answering struct {
	rows [][]warehouse.Value
	err  error
	sql  []string
}

func (a *answering) Names() warehouse.Names { return warehouse.Names{} }

func (a *answering) Run(_ context.Context, _ string, statements []string) ([]warehouse.Result, error) {
	a.sql = append(a.sql, statements...)
	return []warehouse.Result{{Rows: a.rows}}, a.err
}

func row(fields ...string) (out []warehouse.Value) {
	for _, f := range fields {
		out = append(out, warehouse.Value{Text: f, Null: f == "NULL"})
	}
	return out
}

func TestSalesAreReadFromOneStatement(t *testing.T) {
	now := time.Date(2026, 11, 23, 8, 30, 20, 0, time.UTC)
	db := &answering{rows: [][]warehouse.Value{
		row("minute", "2026-11-23 08:29:00", "61", "512.50"),
		row("store", "14", "8", "144.50"), row("store", "7", "46", "582.40"),
		row("shard", "shard-a", "2026-11-23 08:30:19", "NULL"), row("shard", "shard-b", "2026-11-23 08:30:15.123", "NULL"),
	}}
	got, err := sales(t.Context(), db, `it's`, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(db.sql) != 1 || !strings.Contains(db.sql[0], "'it''s'") || !strings.Contains(db.sql[0], "TIMESTAMP '2026-11-23 07:31:00'") {
		t.Errorf("asked %q, want one statement about the hour with the stream's name quoted", db.sql)
	}
	if len(got.Minutes) != 1 || got.Minutes[0].Orders != 61 || got.Minutes[0].Revenue != 512.5 || !got.Minutes[0].At.Equal(now.Truncate(time.Minute).Add(-time.Minute)) {
		t.Errorf("minutes %+v", got.Minutes)
	}
	if len(got.Stores) != 2 || got.Stores[0].ID != "7" {
		t.Errorf("stores %+v, want the highest revenue first", got.Stores)
	}
	if got.ArrivedUntil == nil || got.ArrivedUntil.UnixMilli() != now.Add(-5*time.Second).UnixMilli()+123 {
		t.Errorf("watermark %v", got.ArrivedUntil)
	}
}

func TestSalesTellWhatIsNotKnown(t *testing.T) {
	for name, c := range map[string]struct {
		db   answering
		fail bool
	}{
		"a shard without a watermark": {answering{rows: [][]warehouse.Value{row("shard", "a", "2026-11-23 08:30:15", "NULL"), row("shard", "b", "NULL", "NULL")}}, false},
		"no shards":                   {answering{}, false},
		"no time of a shard":          {answering{rows: [][]warehouse.Value{row("shard", "a", "noon", "NULL")}}, true},
		"the warehouse is away":       {answering{err: errors.New("away")}, true},
		"too few columns":             {answering{rows: [][]warehouse.Value{row("minute", "2026-11-23 08:29:00")}}, true},
		"no number":                   {answering{rows: [][]warehouse.Value{row("store", "7", "many", "1")}}, true},
		"no amount":                   {answering{rows: [][]warehouse.Value{row("store", "7", "1", "NULL")}}, true},
		"no time":                     {answering{rows: [][]warehouse.Value{row("minute", "noon", "1", "1")}}, true},
	} {
		got, err := sales(t.Context(), &c.db, "order-events", time.Now())
		if (err != nil) != c.fail || got.ArrivedUntil != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
