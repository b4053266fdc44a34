package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// A row that the warehouse refused alone is parked: its letter is stored and its
// shard's position moves past it, so that nothing waits for it, and it is tried
// again a few times. Such a try moves no position and changes only what is older
// than the row, so that it does no harm however late or often it comes.
//
// What is parked is known to this process alone. When it ends, the letters stay
// as they are, and say by the lack of a mark that nobody has the last word on
// them. The next owner does not take them up: it would have to look through all
// letters of all shards at each start, and two owners of a shard would then try
// one row. analytics-worker redrive brings them back, at once and in order.

// retryAfter is when a parked row is tried again, each time after the last try.
var retryAfter = []time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute}

const (
	// mostParked bounds the rows that are parked at once, of up to 1 KB each. What
	// is refused beyond it is final at once.
	mostParked = 1000
	// mostTogether bounds the rows that are tried in one load.
	mostTogether = 500
	// retryShare is how much longer than a try the loader has for everything else
	// after it: rows that will not go in must not take the time of those that do.
	retryShare = 7
	// retryPause is the least wait after a try that said nothing about its rows.
	retryPause = 10 * time.Second
)

// parkedRow is one row. All its memory is its own.
type parkedRow struct {
	row    warehouse.Row
	letter deadletter.Letter // what names it, without the data
	tries  int               // that the warehouse refused
	due    time.Time
	fate   deadletter.Fate // to be noted beside the letter; Kept = not decided yet
}

// park marks the load's only row as rejected in its chunk, so that building the
// load again makes a letter of it, and its commit a parked row. It reports false
// where ctx ends before the record's own bytes are there.
func (w *Worker) park(ctx context.Context, l *load, cause error) bool {
	p := l.places[0]
	c := l.spans[p.span].chunk
	at := c.place(p.record)
	data, key, ok := w.original(ctx, c, p.record)
	if !ok {
		return false
	}
	w.nparked++
	w.log.Error("the warehouse refuses one record; its dead letter is stored, and it is tried again by itself", "shard", c.shard.term.Shard.ID,
		"sequence_number", at.Sequence, "error", cause)
	detail := cause.Error()
	var refused *warehouse.StatementError
	if errors.As(cause, &refused) {
		detail = refused.Message
	}
	var named *warehouse.RowsError
	if errors.As(cause, &named) && named.Reason != "" {
		detail += " " + named.Reason
	}
	n, _ := c.rejected(p.record)
	c.rejects = slices.Insert(slices.Clone(c.rejects), n,
		reject{p.record, event.Rejection{Reason: deadletter.RefusedByWarehouse, Detail: detail, Family: c.items[p.record].family.String()}, data, key})
	return true
}

// original is a record's bytes as they came, and its partition key. They were
// given back when it was decoded, so the stream is asked for them once more. Where
// it has them no longer, the row itself is written down as an event that would
// decode to it.
func (w *Worker) original(ctx context.Context, c *chunk, i int) (data []byte, key string, ok bool) {
	at, s := c.place(i), c.shard.term.Shard
	for retry := newBackoff(); ctx.Err() == nil; w.pause(ctx, retry.next()) {
		records, err := w.cfg.Fetch(ctx, s, at.Sequence)
		if err != nil && !errors.Is(err, stream.ErrGone) && !errors.Is(err, stream.ErrBadPosition) {
			w.readFailed(c.shard, err)
			continue
		}
		for _, r := range records {
			if r.SubSequence == at.Sub {
				return r.Data, r.PartitionKey, true
			}
		}
		w.log.Warn("the stream has a refused record no longer: its dead letter holds the row that was made of it", "shard", s.ID, "sequence_number", at.Sequence)
		return w.cfg.Warehouse.Encoder().JSON(c.row(i)), "", true
	}
	return nil, "", false
}

// parked is the rows that wait for another try. The loader alone uses it, but
// for its number.
type parked struct {
	after    []time.Duration
	rows     []*parkedRow // by when they are due
	together int          // how many are tried at once
	rest     time.Time    // no try starts before
	number   atomic.Int64
}

func newParked(after []time.Duration) parked {
	if len(after) == 0 {
		after = retryAfter
	}
	return parked{after: after, together: mostTogether}
}

// add parks a row, or reports that there are too many.
func (p *parked) add(r *parkedRow, now time.Time) bool {
	if len(p.rows) >= mostParked {
		return false
	}
	p.put(r, now.Add(jittered(p.after[0])))
	return true
}

func (p *parked) put(r *parkedRow, due time.Time) {
	r.due = due
	at, _ := slices.BinarySearchFunc(p.rows, due, func(r *parkedRow, t time.Time) int { return r.due.Compare(t) })
	p.rows = slices.Insert(p.rows, at, r)
	p.number.Store(int64(len(p.rows)))
}

// wait is in how long the next try is due; negative = nothing is parked.
func (p *parked) wait(now time.Time) time.Duration {
	if len(p.rows) == 0 {
		return -1
	}
	return max(0, p.rows[0].due.Sub(now), p.rest.Sub(now))
}

// take removes the rows that are tried next.
func (p *parked) take(now time.Time) []*parkedRow {
	n := 0
	for n < len(p.rows) && n < p.together && !p.rows[n].due.After(now) {
		n++
	}
	out := slices.Clone(p.rows[:n])
	p.rows = slices.Delete(p.rows, 0, n)
	p.number.Store(int64(len(p.rows)))
	return out
}

// jittered spreads d by a fifth to both sides: rows that were refused together
// need not all come again at once.
func jittered(d time.Duration) time.Duration { return d*4/5 + rand.N(d*2/5+1) }

// keep parks the refused rows of a load whose shards have moved past them.
func (w *Worker) keep(ctx context.Context, l *load, moved map[*shard]move) {
	for _, r := range l.refused {
		if _, in := moved[r.shard]; !in {
			continue // who owns the shard next reads the record again
		}
		row := &parkedRow{row: cloneRow(r.row), letter: r.letter}
		row.letter.Data = nil
		if w.parked.add(row, time.Now()) {
			continue
		}
		w.log.Error("too many refused records to try them again by itself: this one's dead letter is final", "parked", mostParked,
			"shard", row.letter.ShardID, "sequence_number", row.letter.SequenceNumber, "error", ErrFinal)
		w.mark(ctx, row, deadletter.Final)
	}
}

// retryParked tries rows again, together as long as that goes well.
func (w *Worker) retryParked(ctx context.Context) {
	p, started := &w.parked, time.Now()
	group := slices.DeleteFunc(p.take(started), func(r *parkedRow) bool {
		if r.fate != deadletter.Kept { // decided, but not noted yet
			w.mark(ctx, r, r.fate)
			return true
		}
		return false
	})
	if len(group) == 0 {
		return
	}
	rows := make([]warehouse.Row, len(group))
	for i, r := range group {
		rows[i] = r.row
	}
	w.pace.started(started)
	w.writes.began(started)
	stopWaiting := w.watch(ctx, started, "rows that were refused before")
	written, err := w.cfg.Warehouse.Retry(ctx, rows)
	stopWaiting()
	if ctx.Err() != nil {
		return // who ends leaves the letters as they are
	}
	now := time.Now()
	p.rest = now.Add(retryShare * now.Sub(started))
	switch {
	case err == nil:
		w.writes.ended(nil)
		w.pace.succeeded()
		w.evidence.wentIn(rows, written)
		w.retried(ctx, group)
	case len(group) > 1 && (refusesRows(err) || tooLarge(err)):
		w.writes.asked()
		p.together = len(group) / 2
		for _, r := range group {
			p.put(r, now)
		}
	case refusesRows(err):
		w.writes.asked()
		w.refusedAgain(ctx, group[0], err)
	default:
		w.retryFailed(group, err)
	}
}

// retried settles rows that went in, or were not needed any more.
func (w *Worker) retried(ctx context.Context, group []*parkedRow) {
	w.parked.together = min(mostTogether, 2*max(w.parked.together, len(group)))
	w.cfg.Metrics.RecordsRecovered.Add(len(group))
	for _, r := range group {
		w.log.Info("a record that the warehouse had refused went in; its dead letter is marked so", "shard", r.letter.ShardID,
			"sequence_number", r.letter.SequenceNumber, "refused_before", r.tries+1)
		w.mark(ctx, r, deadletter.Loaded)
	}
}

// refusedAgain settles a row that was refused alone once more. Before that
// becomes final, a probe must show that the warehouse takes rows now.
func (w *Worker) refusedAgain(ctx context.Context, r *parkedRow, cause error) {
	p := &w.parked
	if r.tries+1 >= len(p.after) {
		if err := w.probe(ctx, w.plainRow(r.row.Family)); err != nil {
			if ctx.Err() == nil {
				w.log.Error("the warehouse refuses a probe as well: the last try of a refused record does not count", "error", err)
				p.put(r, time.Now().Add(jittered(p.after[0])))
			}
			return
		}
	}
	r.tries++
	if r.tries < len(p.after) {
		p.put(r, time.Now().Add(jittered(p.after[r.tries])))
		return
	}
	w.log.Error("the warehouse refuses a record to the last try; it stays a dead letter", "shard", r.letter.ShardID,
		"sequence_number", r.letter.SequenceNumber, "error", fmt.Errorf("%w: %w", ErrFinal, cause))
	w.mark(ctx, r, deadletter.Final)
}

// retryFailed puts rows back after a try that says nothing about them.
func (w *Worker) retryFailed(group []*parkedRow, err error) {
	w.writes.ended(err)
	w.cfg.Metrics.WriteErrors.Add(1)
	w.log.Error("trying refused records again failed; it is repeated", "rows", len(group), "error", err)
	now := time.Now()
	if rest := now.Add(retryPause); rest.After(w.parked.rest) {
		w.parked.rest = rest
	}
	for _, r := range group {
		w.parked.put(r, now)
	}
}

// mark notes beside a letter what became of its row. A store that does not take
// the mark is asked again later, for as long as this process lives.
func (w *Worker) mark(ctx context.Context, r *parkedRow, fate deadletter.Fate) {
	err := w.cfg.Letters.MarkFate(ctx, r.letter, fate)
	if err == nil || ctx.Err() != nil {
		return
	}
	w.cfg.Metrics.WorkerErrors.Add(1)
	w.log.Error("the dead-letter store does not take a mark", "error", err)
	if r.fate = fate; len(w.parked.rows) < mostParked {
		w.parked.put(r, time.Now().Add(jittered(w.parked.after[0])))
	}
}
