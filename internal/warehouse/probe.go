package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// Probe loads one row with the values of the sample, under a key of its own, and
// takes it away again within the transaction: it goes every way that a load goes,
// and leaves facts, rollups and positions as they were. It tells a warehouse that
// takes no rows of the family at all from one that refuses a certain row. Errors
// are as those of Load.
func (w *Warehouse) Probe(ctx context.Context, sample Row) error {
	text, f := "probe-"+rand.Text(), FactsOf(sample.Family)
	b := Batch{late: true, Rows: []Row{{ // of move 0, which is the shared row's
		Family: sample.Family, Line: w.fill.notation().replaced(sample.Line, f.probeColumn(), text),
	}}}
	fill, err := w.fill.Prepare(ctx, b)
	if err != nil {
		return fmt.Errorf("prepare a probe: %w", err)
	}
	defer fill.Done()
	names := w.db.Names()
	t := f.probe(names, loadTransaction(names, b.families(), fill.Statements, time.Now(), false), text)
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		return fmt.Errorf("probe the warehouse: %w", err)
	}
	if n := results[t.index(f.insertStep())].Affected; n == 0 {
		return fmt.Errorf("probe the warehouse: no row went in; the shared row of worker_checkpoints is gone, and the next claim makes it")
	}
	return nil
}
