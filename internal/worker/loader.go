package worker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
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
	progress := newProgress(w.log, w.cfg.Metrics)
	for ctx.Err() == nil {
		pulse.Beat(ctx)
		select { // claims first: a backlog must not keep a shard from starting
		case c := <-w.claims:
			w.answerClaims(ctx, c)
			continue
		default:
		}
		due, changed := w.queue.due(time.Now(), w.cfg.BatchSize, w.cfg.PollInterval)
		if due >= 0 {
			due = max(due, w.pace.wait(time.Now()))
		}
		if due == 0 {
			w.pace.started(time.Now())
			w.loadSpans(ctx, w.queue.take(takeRecords(w.cfg.PageBytes)))
			progress.tell(w.Status())
		}
		retry := w.parked.wait(time.Now())
		if retry == 0 && !w.queue.hurried() { // who is told to stop does not begin with what may wait
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
		case <-fired:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return nil
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

// load is spans as the warehouse takes them.
type load struct {
	spans   []span
	batch   warehouse.Batch
	owners  []*shard                       // of batch.Moves
	letters map[*shard][]deadletter.Letter // rejected records, to be stored before the batch goes in
	places  []place                        // where each of batch.Rows came from
	rejects int                            // letters in all
	refused []refusedRow                   // of the letters, those of rows that the warehouse refused
	joined  bool                           // once its only row is parked, its spans go in with those behind it
}

// refusedRow is a row that the warehouse refused, and what of its letter names it.
type refusedRow struct {
	shard  *shard
	order  *event.Order
	letter deadletter.Letter
}

// place is a record in load.spans.
type place struct{ span, record int }

// build turns spans into a batch. Spans of shards that are no longer ours are
// left out: the next owner reads them again.
func (w *Worker) build(spans []span) *load {
	l := &load{spans: spans, letters: make(map[*shard][]deadletter.Letter)}
	l.batch.Stream = w.cfg.Stream
	moves := make(map[*shard]int)
	total := 0
	for _, sp := range spans {
		total += sp.hi - sp.lo
	}
	l.batch.Rows = make([]warehouse.Row, 0, total)
	l.places = make([]place, 0, total)
	for i, sp := range spans {
		s := sp.shard
		at, ours := w.queue.standing(s)
		if !ours {
			continue
		}
		m, seen := moves[s]
		if !seen {
			m = len(l.batch.Moves)
			moves[s] = m
			l.owners = append(l.owners, s)
			l.batch.Moves = append(l.batch.Moves, warehouse.Move{Shard: s.term.Shard.ID, Term: s.term.N, From: at, To: at})
		}
		w.buildSpan(l, i, m)
	}
	w.advanceIdle(l, moves)
	return l
}

func (w *Worker) buildSpan(l *load, i, m int) {
	sp := l.spans[i]
	rejects := sp.rejects
	for r := sp.lo; r < sp.hi; r++ {
		for len(rejects) > 0 && rejects[0].record < r {
			rejects = rejects[1:]
		}
		if len(rejects) > 0 && rejects[0].record == r {
			letter := w.letter(sp.chunk, r, string(rejects[0].Reason), rejects[0].Detail)
			l.letters[sp.shard] = append(l.letters[sp.shard], letter)
			l.rejects++
			if rejects[0].Reason == deadletter.RefusedByWarehouse {
				l.refused = append(l.refused, refusedRow{sp.shard, &sp.orders[r], letter})
			}
			continue
		}
		l.batch.Rows = append(l.batch.Rows, warehouse.Row{Move: m, Order: &sp.orders[r]})
		l.places = append(l.places, place{i, r})
	}
	move := &l.batch.Moves[m]
	if sp.hi > sp.lo {
		last := sp.records[sp.hi-1]
		move.To = stream.After(last)
		if last.ArrivedAt.After(move.ArrivedUntil) {
			move.ArrivedUntil = last.ArrivedAt
		}
	}
	if sp.ends && sp.last() {
		move.To = stream.Position{Sequence: stream.ShardEnd}
	}
}

// advanceIdle lets shards that are caught up and have nothing to load tell so
// in passing, so that one quiet shard does not hold the completeness watermark
// back. A wholly idle stream costs no loads.
func (w *Worker) advanceIdle(l *load, inBatch map[*shard]int) {
	if len(l.batch.Moves) == 0 {
		return
	}
	for _, s := range w.owned() {
		if _, busy := inBatch[s]; busy {
			continue
		}
		at, until, idle := w.queue.idle(s, w.cfg.PollInterval)
		if !idle {
			continue
		}
		l.owners = append(l.owners, s)
		l.batch.Moves = append(l.batch.Moves, warehouse.Move{Shard: s.term.Shard.ID, Term: s.term.N, From: at, To: at, ArrivedUntil: until})
	}
}

func (w *Worker) letter(c *chunk, record int, reason, detail string) deadletter.Letter {
	r := c.records[record]
	return deadletter.Letter{
		Reason: reason, Detail: detail, Stream: w.cfg.Stream, ShardID: c.shard.term.Shard.ID,
		SequenceNumber: r.SequenceNumber, SubSequenceNumber: r.SubSequence, PartitionKey: r.PartitionKey,
		ArrivedAt: r.ArrivedAt, RejectedAt: time.Now().UTC(), Data: r.Data,
	}
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
			w.turn(ctx)
		}
	}
}

// cut splits spans before the record at p.
func cut(spans []span, p place) (head, rest []span) {
	head = append(head, spans[:p.span]...)
	sp := spans[p.span]
	if p.record > sp.lo {
		head = append(head, span{sp.chunk, sp.lo, p.record})
	}
	rest = append(rest, span{sp.chunk, p.record, sp.hi})
	return head, append(rest, spans[p.span+1:]...)
}

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
			"error", err, "hint", hint(err))
		switch {
		case rows > 1 && refusesRows(err):
			w.bisect(ctx, l, err)
			return false
		case rows == 1 && (refusesRows(err) || errors.Is(err, warehouse.ErrEnded) && failures >= stubborn):
			if w.bisecting == 0 {
				w.evidence.took = false // what went in before the refusal does not count
			}
			if w.isPoison(ctx, err) {
				w.park(l, err)
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

// turn waits until the next load may start, and starts it.
func (w *Worker) turn(ctx context.Context) {
	w.pause(ctx, w.pace.wait(time.Now()))
	w.pace.started(time.Now())
}

// step waits until the next load of a search may start, and starts it.
func (w *Worker) step(ctx context.Context) {
	w.pause(ctx, w.pace.press(time.Now()))
	w.pace.started(time.Now())
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
	loaded, err := w.cfg.Warehouse.Load(ctx, l.batch)
	stopWaiting()
	switch {
	case ctx.Err() != nil:
	case refusesRows(err):
		w.writes.asked() // a row's fault, until it is shown that it is not
	default:
		w.writes.ended(err)
	}
	if err != nil {
		w.cfg.Metrics.WriteErrors.Add(1)
		return err
	}
	w.letters.passed()
	w.pace.succeeded()
	w.size.wentIn(len(l.batch.Rows))
	w.evidence.wentIn(l.batch.Rows, loaded.Changed)
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
					"what", what, "waiting", time.Since(started).Round(time.Second).String(),
					"hint", "is the cluster paused, resizing or overloaded, or does a session hold worker_load_lock? analytics-worker doctor tells")
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

// hint is what whoever is woken up can do about an error of the warehouse.
func hint(err error) string {
	var other *OtherStreamError
	switch {
	case errors.As(err, &other):
		return other.Next()
	case errors.Is(err, warehouse.ErrDenied):
		return "if the error names credentials, renew them; else allow what is denied to the worker's role or database user. analytics-worker doctor shows what else is missing"
	case errors.Is(err, fs.ErrNotExist):
		return "create the bucket that the error names, in AWS_REGION, or correct STAGING_URL or DEAD_LETTER_URL"
	case errors.Is(err, fs.ErrPermission):
		return "allow what the error names to the worker's role; analytics-worker doctor shows what else is missing"
	case errors.Is(err, warehouse.ErrThrottled):
		return "it passes; if it stays, raise LOAD_INTERVAL: the Data API's rates hold for the whole account"
	case errors.Is(err, warehouse.ErrConflict):
		return "it passes; if it stays, see who else writes to the tables"
	case errors.Is(err, warehouse.ErrNoTable):
		return "analytics-worker schema --apply"
	case errors.Is(err, warehouse.ErrUnavailable):
		return "is the cluster paused, resizing or overloaded, or does a session hold worker_load_lock? analytics-worker doctor tells"
	}
	return "analytics-worker doctor compares the tables with what the worker expects"
}

// settle takes the warehouse's answer: shards that went in move on, shards that
// were refused are given up.
func (w *Worker) settle(ctx context.Context, l *load, loaded warehouse.Loaded, started time.Time) {
	moved := make(map[*shard]move)
	for i, o := range loaded.Outcomes {
		s, m := l.owners[i], l.batch.Moves[i]
		if o.Verdict == warehouse.Committed {
			moved[s] = move{m.To, m.ArrivedUntil}
			w.cfg.Note(m.Shard, m.To)
			continue
		}
		w.log.Warn("the warehouse refused a shard's rows; giving the shard up", "shard", m.Shard, "term", m.Term,
			"from", m.From.String(), "warehouse_term", o.Term, "warehouse_position", o.Position.String())
		w.queue.drop(s)
		s.stop(errRefused)
	}
	w.count(l, loaded.Changed, moved, started)
	w.keep(ctx, l, moved)
	w.queue.settle(l.spans, moved)
}

func (w *Worker) count(l *load, changed int64, moved map[*shard]move, started time.Time) {
	m, now := w.cfg.Metrics, time.Now()
	m.WriteDuration.Observe(now.Sub(started), 1)
	records := 0
	for _, sp := range l.spans {
		if _, in := moved[sp.shard]; !in {
			continue
		}
		records += sp.hi - sp.lo
		w.countLatency(sp, now)
	}
	rejected := 0
	for s, letters := range l.letters {
		if _, in := moved[s]; in {
			rejected += len(letters)
			for _, l := range letters {
				m.RejectedBy.Add(l.Reason, 1)
			}
		}
	}
	written := records - rejected
	m.RecordsProcessed.Add(records)
	m.RecordsRejected.Add(rejected)
	m.EventsWritten.Add(written)
	if changed >= 0 {
		m.DuplicateEvents.Add(written - int(changed))
	}
	w.log.Debug("loaded", "records", records, "rejected", rejected, "changed", changed,
		"took", now.Sub(started).Round(time.Millisecond).String())
}

// countLatency observes runs of records that arrived in the same instant together.
func (w *Worker) countLatency(sp span, now time.Time) {
	for i := sp.lo; i < sp.hi; {
		at, n := sp.records[i].ArrivedAt, 1
		for i+n < sp.hi && sp.records[i+n].ArrivedAt.Equal(at) {
			n++
		}
		w.cfg.Metrics.EndToEnd.Observe(now.Sub(at), n)
		i += n
	}
}

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
