package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// Probe loads one row with the values of the sample, under an order id of its
// own, and takes it away again within the transaction: it goes every way that a
// load goes, and leaves facts, rollups and positions as they were. It tells a
// warehouse that takes no rows at all from one that refuses a certain row.
// Errors are as those of Load.
func (w *Warehouse) Probe(ctx context.Context, sample Row) error {
	o := *sample.Order
	o.OrderID = "probe-" + rand.Text()
	b := Batch{Rows: []Row{{Order: &o}}, late: true} // of move 0, which is the shared row's
	fill, err := w.fill.Prepare(ctx, b)
	if err != nil {
		return fmt.Errorf("prepare a probe: %w", err)
	}
	defer fill.Done()
	t := probeTransaction(fill.Statements, time.Now(), o.OrderID)
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		return fmt.Errorf("probe the warehouse: %w", err)
	}
	if n := results[t.index(insertStep)].Affected; n == 0 {
		return fmt.Errorf("probe the warehouse: no row went in; the shared row of worker_checkpoints is gone, and the next claim makes it")
	}
	return nil
}

// probeTransaction is a load that undoes what it does.
func probeTransaction(fill []string, now time.Time, orderID string) transaction {
	return orders.probe(loadTransaction(true, fill, now), orderID)
}
