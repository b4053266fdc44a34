package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

const (
	firstRetry = 200 * time.Millisecond
	mostRetry  = 10 * time.Second
	tries      = 12 // of one transaction that fails for a reason that may pass
	// refusedInTurn is how many rows may be refused one after the other: behind that
	// it is the warehouse, and not the rows.
	refusedInTurn = 20
)

// load holds rows against the warehouse. Where it refuses them, halves are tried, the
// later one first, until the row is alone that it refuses.
func (r *run) load(ctx context.Context, rows []warehouse.Row) error {
	var written warehouse.Written
	err := r.insist(ctx, func() (err error) {
		if r.DryRun {
			written, err = r.Warehouse.Missing(ctx, rows)
		} else {
			written, err = r.Warehouse.Replay(ctx, rows)
		}
		return err
	})
	var refused *warehouse.StatementError
	switch {
	case err == nil:
		r.sum.Loads++
		r.sum.Changed += max(0, written.Total())
		r.inTurn = 0
		return nil
	case !errors.As(err, &refused) || refused.Kind != nil:
		return err
	case len(rows) == 1:
		r.sum.Refused++
		if r.inTurn++; r.inTurn == refusedInTurn {
			return fmt.Errorf("the warehouse refused %d rows one after the other, the last one: %w", r.inTurn, err)
		}
		return nil
	}
	half := len(rows) / 2
	if err := r.load(ctx, rows[half:]); err != nil {
		return err
	}
	return r.load(ctx, rows[:half])
}

// insist runs one transaction, as often as what fails may pass. Between two starts
// there is the interval of loads, and as long as the last one took: the lock and the
// API's rates are the workers' as well.
func (r *run) insist(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		if err := pause(ctx, time.Until(r.next)); err != nil {
			return err
		}
		began := time.Now()
		err := do()
		took := time.Since(began)
		r.next = began.Add(took + max(took, r.LoadInterval-took))
		if err == nil {
			r.retry = firstRetry
			return nil
		}
		if ctx.Err() != nil || try == tries || !passes(err) {
			return err
		}
		r.next = r.next.Add(r.retry)
		r.retry = min(2*r.retry, mostRetry)
	}
}

// passes reports whether the same transaction may get through later. That it may have
// gone in already does no harm.
func passes(err error) bool {
	var refused *warehouse.StatementError
	switch {
	case errors.Is(err, warehouse.ErrDenied), errors.Is(err, warehouse.ErrNoTable), errors.Is(err, warehouse.ErrRejected), errors.Is(err, warehouse.ErrFull):
		return false
	case errors.As(err, &refused):
		return refused.Kind != nil
	}
	return true
}
