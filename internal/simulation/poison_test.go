package simulation

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/internal/localaws/pgtest"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// TestG1_ARowThatTheWarehouseRefusesIsFoundAndKept forbids one customer by a
// constraint that the worker knows nothing of: the row is found among its
// neighbours, which load, and is kept with the warehouse's own words.
func TestG1_ARowThatTheWarehouseRefusesIsFoundAndKept(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	w := newWorld(t, Options{Warehouse: url, Shards: 1})
	db, err := pgx.Connect(deadline(t), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(deadline(t)) }()
	if _, err := db.Exec(deadline(t), `ALTER TABLE fact_orders ADD CONSTRAINT nobody_wants_him CHECK (customer_id <> 'poison')`); err != nil {
		t.Fatal(err)
	}
	entries := made(51, 12, 0)
	entries[7].Data = []byte(`{"order_id":"o-poison","customer_id":"poison","store_id":1,"total_amount":1,"item_count":1}`)
	put(t, w, entries)
	r := start(t, w, Worker{})
	report := settle(t, w, len(entries))
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	if report.Rejected != 1 || report.Letters != 1 || r.Metrics.RecordsRejected.Value() != 1 {
		t.Errorf("%d records rejected, %d letters, %d counted; want the one", report.Rejected, report.Letters, r.Metrics.RecordsRejected.Value())
	}
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil {
			t.Fatal(err)
		}
		if l.Reason != string(worker.RefusedByWarehouse) || !strings.Contains(l.Detail, "nobody_wants_him") || string(l.Data) != string(entries[7].Data) {
			t.Errorf("the letter is %+v", l)
		}
	}
}
