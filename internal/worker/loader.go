package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// stubborn is how often a single row may meet a statement that was ended before
// it is judged as one that was refused: the text of that refusal may have been
// misread, and a row must not stop its worker for ever.
const stubborn = 10

// load brings one load in, however often it takes, and settles its spans. What
// is refused is traced to the rows that cause it (bisect.go), what is too much is
// taken in parts (size.go). It reports whether all of it went in as it was.
func (w *Worker) load(ctx context.Context, l *load) (whole bool) {
	whole = true
	retry, failures := newBackoff(), 0
	for ctx.Err() == nil && len(l.batch.Moves) > 0 { // else all of its shards were lost meanwhile
		err := w.attempt(ctx, l)
		if err == nil {
			return whole
		}
		if ctx.Err() != nil {
			break
		}
		failures++
		rows := len(l.batch.Rows)
		w.log.Error("load failed; it is tried again, nothing is lost", "rows", rows, "shards", len(l.batch.Moves), "attempt", failures,
			"error", err)
		switch {
		case rows > 1 && refusesRows(err):
			w.bisect(ctx, l, err)
			return false
		case rows == 1 && (refusesRows(err) || errors.Is(err, warehouse.ErrEnded) && failures >= stubborn):
			if w.bisecting == 0 {
				w.evidence.forget() // what went in before the refusal does not count
			}
			if w.isPoison(ctx, l.batch.Rows[0], err) && w.park(ctx, l, err) {
				if l.joined {
					return false
				}
				l, whole, failures = w.build(l.spans), false, 0
				w.step(ctx)
				continue
			}
			w.writes.ended(err)
		case tooLarge(err) && w.size.failed(rows, failures):
			w.log.Warn("loads are made smaller: the warehouse does not take this many rows at once", "rows", rows, "from_now_on", w.size.most)
			w.loadSpans(ctx, l.spans)
			return true
		}
		if errors.Is(err, warehouse.ErrThrottled) {
			w.pace.throttled()
		}
		w.pause(ctx, retry.next())
		w.turn(ctx)
	}
	w.letters.passed() // the next owner of the shards stores them
	w.queue.settle(l.spans, nil)
	return false
}

// attempt stores the letters and runs the load once. Letters come first: once
// the position has moved past a rejected record, nobody reads it again.
func (w *Worker) attempt(ctx context.Context, l *load) error {
	for s, letters := range l.letters {
		pulse.Beat(ctx)
		from, _ := w.queue.position(s)
		w.letters.began(time.Now())
		err := w.cfg.Letters.Put(ctx, from, letters)
		if ctx.Err() == nil {
			w.letters.ended(err)
		}
		if err != nil {
			w.cfg.Metrics.WorkerErrors.Add(1)
			return fmt.Errorf("store %d rejected records of shard %s: %w", len(letters), s.term.Shard.ID, err)
		}
	}
	started := time.Now()
	w.writes.began(started)
	stopWaiting := w.watch(ctx, started, "load")
	loaded, err := w.cfg.Warehouse.Load(warehouse.Watched(ctx, w.writes.progress), l.batch)
	stopWaiting()
	switch {
	case ctx.Err() != nil:
	case refusesRows(err):
		w.writes.asked() // a row's fault, until it is shown that it is not
	default:
		w.writes.endedAfter(loaded.Took, err)
	}
	if err != nil {
		w.cfg.Metrics.WriteErrors.Add(1)
		return err
	}
	w.letters.passed()
	w.pace.succeeded()
	w.size.wentIn(len(l.batch.Rows))
	w.evidence.wentIn(l.batch.Rows, loaded.Written)
	w.settle(ctx, l, loaded, started)
	return nil
}

// watch says so when the warehouse takes its time, until the returned function
// is called.
func (w *Worker) watch(ctx context.Context, started time.Time, what string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		tick := time.NewTicker(slowLoad)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.log.Warn("the warehouse has not answered yet; reading goes on up to the memory bound",
					"what", what, "waiting", time.Since(started).Round(time.Second).String(), "error", ErrSilent)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-finished }
}

// slowLoad is after how long a load is worth a warning, and how often. A load of
// Redshift's takes 4 to 12 s.
const slowLoad = time.Minute

// pause waits for d, or until ctx ends.
func (w *Worker) pause(ctx context.Context, d time.Duration) {
	pulse.Beat(ctx)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
