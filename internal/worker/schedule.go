package worker

import (
	"context"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
)

// What one round takes from the queue is bounded in number, and by what it may
// cost beside the pages: a rejected record becomes a letter and its text, of
// about a kilobyte. The fill may split it further.
const (
	mostRecords = 100_000
	recordCost  = 1 << 10
)

func takeRecords(pageBytes int64) int {
	return int(min(max(1, pageBytes/recordCost), mostRecords))
}

// Run claims and loads until ctx ends. It is the only goroutine that writes to
// the warehouse: one load at a time keeps positions contiguous. It beats the pulse in
// ctx while it gets on, be it with waiting and trying again.
func (w *Worker) Run(ctx context.Context) error {
	defer close(w.done)
	for ctx.Err() == nil {
		pulse.Beat(ctx)
		select { // claims first: a backlog must not keep a shard from starting
		case c := <-w.claims:
			w.answerClaims(ctx, c)
			continue
		default:
		}
		if w.tooLate() {
			if n := w.waiting(); n > 0 {
				w.log.Info("what was read and is not loaded yet is left to the next owner of its shards: there is no time for one more load", "records", n)
				return nil
			}
		}
		due, changed := w.queue.due(time.Now(), w.cfg.BatchSize, w.cfg.PollInterval)
		held, now := w.turnOf(due)
		switch {
		case held != nil:
			due = -1
		case now:
			due = 0
		}
		if due >= 0 {
			due = max(due, w.gap(time.Now()))
		}
		if now && due <= w.cfg.LoadInterval/10 { // who loads for all keeps the interval
			due = 0
		}
		if due == 0 {
			w.pace.started(time.Now())
			w.loadSpans(ctx, w.queue.take(takeRecords(w.cfg.PageBytes)))
		}
		retry := w.parked.wait(time.Now())
		if w.queue.hurried() {
			retry = -1 // who is told to stop does not begin with what may wait, nor look again and again whether it is due
		}
		if retry == 0 {
			w.retryParked(ctx)
		}
		if due == 0 || retry == 0 {
			continue
		}
		timer, fired := after(soonest(soonest(due, retry), idleBeat))
		select {
		case c := <-w.claims:
			w.answerClaims(ctx, c)
		case <-changed:
		case <-held:
		case <-fired:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
}

// turnOf is Config.Turn, where something is due in a while and the worker was not told
// to stop.
func (w *Worker) turnOf(due time.Duration) (held <-chan struct{}, now bool) {
	if due < 0 || w.cfg.Turn == nil || w.queue.hurried() {
		return nil, false
	}
	return w.cfg.Turn()
}

// Leave says until when a worker that was told to stop has time. It begins no load
// that would not be over by then, and does not wait for the interval between two.
func (w *Worker) Leave(until time.Time) {
	w.mu.Lock()
	if w.until.IsZero() {
		close(w.leaving)
	}
	w.until = until
	w.mu.Unlock()
	w.queue.hurry(0) // Run looks again
}

// tooLate reports whether a load that begins now is not over before the worker has to
// be: what waits is sooner loaded by the next owner of its shards, to whom they are
// handed over, than by this worker, which would be stopped in the midst of it.
func (w *Worker) tooLate() bool {
	w.mu.Lock()
	until := w.until
	w.mu.Unlock()
	if until.IsZero() {
		return false
	}
	took := w.writes.status().Took
	return time.Until(until) < w.gap(time.Now())+took+took/4
}

// waiting is how many records were read and are not loaded yet.
func (w *Worker) waiting() (all int) {
	for _, s := range w.owned() {
		n, _ := w.queue.waiting(s)
		all += n
	}
	return all
}

// idleBeat is how often a loader that has nothing to do shows that it would.
const idleBeat = 5 * time.Second

// soonest is the shorter of two waits; negative = never.
func soonest(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return b
	}
	return a
}

// after is a timer, or one that never fires for a negative wait.
func after(d time.Duration) (*time.Timer, <-chan time.Time) {
	t := time.NewTimer(max(d, 0))
	if d < 0 {
		t.Stop()
		return t, nil
	}
	return t, t.C
}

// loadSpans loads what was taken from the queue, in as many loads as the fill
// needs, and returns when all of it is settled or ctx has ended.
func (w *Worker) loadSpans(ctx context.Context, spans []span) {
	for len(spans) > 0 && ctx.Err() == nil {
		l := w.build(spans)
		rest := []span(nil)
		if fits := w.size.fits(w.cfg.Warehouse.Fits(l.batch.Rows)); fits < len(l.batch.Rows) {
			spans, rest = cut(spans, l.places[fits])
			l = w.build(spans)
		}
		w.load(ctx, l)
		spans = rest
		if len(rest) > 0 {
			if w.tooLate() {
				return // Run leaves it to others
			}
			w.turn(ctx)
		}
	}
}

// gap is how long the next load has to wait for its turn. One of a worker that was told
// to stop waits as long as throttles ask for, but not for the interval that is there to
// make loads large: it may be longer than the worker has time.
func (w *Worker) gap(now time.Time) time.Duration {
	select {
	case <-w.leaving:
		return w.pace.press(now)
	default:
		return w.pace.wait(now)
	}
}

// turn waits until the next load may start, and starts it.
func (w *Worker) turn(ctx context.Context) {
	timer := time.NewTimer(w.gap(time.Now()))
	select {
	case <-timer.C:
	case <-w.leaving:
	case <-ctx.Done():
	}
	timer.Stop()
	w.pause(ctx, w.gap(time.Now()))
	w.pace.started(time.Now())
}

// step waits until the next load of a search may start, and starts it.
func (w *Worker) step(ctx context.Context) {
	w.pause(ctx, w.pace.press(time.Now()))
	w.pace.started(time.Now())
}
