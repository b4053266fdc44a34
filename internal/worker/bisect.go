package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// The warehouse's refusals come as text without a code, so their meaning cannot
// be looked up: "value too long" is a row's fault, "disk full" is not, and new
// ones appear with every release. So a refused load is bisected, and what goes
// in meanwhile shows that the warehouse takes rows: a row that it refuses alone
// is then the poison record. It is parked (parked.go): its letter is stored, its
// neighbours go on, and it is tried again later. When nothing goes in, a probe
// is asked; and when row after row is refused with one message, only a probe
// with the values of another row that waits can say that it is not the warehouse.

// probedRows is how many rows in turn may be parked on the word of a probe
// alone, if the warehouse refused all of them with one message and nothing went
// in between: after that it may well be the warehouse that is in trouble.
const probedRows = 3

// sampleTries is how often the queue is asked for a row that waits.
const sampleTries = 8

// evidence is what shows that the warehouse takes rows of a family, or takes none.
// Each family has a table of its own, and rights of its own to it.
type evidence [event.MaxFamilies]struct {
	took   bool          // a load wrote rows since the last refusal that was judged
	inTurn int           // rows parked in turn, nothing having gone in between
	shape  string        // of the messages with which they were refused
	good   warehouse.Row // a row that went in before, and its own memory
	known  bool          // that there is one
}

// forget says that nothing of what went in before counts.
func (e *evidence) forget() {
	for i := range e {
		e[i].took = false
	}
}

// wentIn notes a load that wrote so many rows. One that wrote none of a family
// shows nothing of it: its rows may all have been older than what is held.
func (e *evidence) wentIn(rows []warehouse.Row, written warehouse.Written) {
	var had [event.MaxFamilies]int64
	for _, r := range rows {
		had[r.Family]++
	}
	for f, n := range written {
		if n <= 0 {
			continue
		}
		e[f].took, e[f].inTurn = true, 0
		if n == had[f] {
			last := slices.IndexFunc(rows, func(r warehouse.Row) bool { return int(r.Family) == f })
			e[f].good, e[f].known = cloneRow(rows[last]), true
		}
	}
}

// refusesRows reports whether an error is the warehouse's refusal of what a
// load holds, as far as anybody can tell.
func refusesRows(err error) bool {
	var refused *warehouse.StatementError
	return errors.As(err, &refused) && refused.Kind == nil
}

// bisect brings in a refused load by halves, one after the other, as the order
// of each shard asks. It ends when each of its rows is in or parked, or ctx has
// ended. A half that holds the reason for the refusal for certain, as the other
// one went in whole, is not tried before it is halved.
//
// Where the error names rows, they are cut out first. That is believed only until
// a row is named in vain: the search then halves, which needs nobody's word.
func (w *Worker) bisect(ctx context.Context, l *load, cause error) {
	if w.bisecting == 0 {
		w.log.Warn("the warehouse refuses a load; looking for the row that it refuses", "rows", len(l.batch.Rows), "error", cause)
		w.evidence.forget() // what went in before does not count
		w.misled = false
	}
	w.bisecting++
	defer func() { w.bisecting-- }()
	lo, hi := w.named(cause, len(l.batch.Rows))
	for ctx.Err() == nil && len(l.batch.Rows) > 1 {
		at := lo
		if at == 0 {
			at = max(1, hi/2)
		}
		head, rest := cut(l.spans, l.places[at])
		parked, part := w.nparked, w.build(head)
		part.joined = len(part.batch.Rows) == 1
		w.step(ctx)
		whole := w.load(ctx, part)
		if w.nparked != parked && part.joined {
			rest = append(slices.Clone(head), rest...) // its letter goes along with them
		}
		left := len(l.batch.Rows) - at
		l = w.build(rest)
		if !whole || w.nparked != parked {
			break // the reason was in the first part: nothing is known of the second
		}
		if hi <= at { // what was named went in
			w.misled = true
		}
		lo, hi = behind(at, lo, hi, left, len(l.batch.Rows))
	}
	w.step(ctx)
	w.load(ctx, l)
}

// behind is where the named rows are once the first at rows of a load are in, and
// so many are left of it. Fewer than that may have been built again, as a shard
// was lost meanwhile: then nothing is named any more, nor where they went in.
func behind(at, lo, hi, left, built int) (from, to int) {
	if built != left || hi <= at {
		return 0, built
	}
	return max(0, lo-at), hi - at
}

// named is where among so many rows the one is that the warehouse refused, as far
// as the error says.
func (w *Worker) named(cause error, rows int) (lo, hi int) {
	var named *warehouse.RowsError
	if w.misled || !errors.As(cause, &named) || named.From < 0 || named.From >= named.To || named.To > rows {
		return 0, rows
	}
	return named.From, named.To
}

// isPoison judges a row of that family that the warehouse refused alone: whether it
// is the row, and not the warehouse that takes none.
func (w *Worker) isPoison(ctx context.Context, family event.Family, cause error) bool {
	e := &w.evidence[family]
	var refused *warehouse.StatementError
	shape := ""
	if errors.As(cause, &refused) {
		shape = refused.Shape()
	}
	if e.inTurn > 0 && e.shape != shape {
		e.inTurn = 0
	}
	if !e.took {
		sample, known := w.plainRow(family), true
		if e.inTurn >= probedRows {
			sample, known = w.rowOfOurs(family)
		}
		if !known || !w.takes(ctx, sample, cause) {
			return false
		}
		if e.inTurn >= probedRows {
			e.inTurn = 0 // another row of ours goes in
		}
	}
	e.took, e.shape = false, shape
	e.inTurn++
	return true
}

// takes reports whether the warehouse takes a row with the values of the sample,
// and says so if it does not.
func (w *Worker) takes(ctx context.Context, sample warehouse.Row, cause error) bool {
	w.step(ctx)
	err := w.probe(ctx, sample)
	if err != nil && ctx.Err() == nil {
		w.log.Error("the warehouse refuses row after row, a probe as well; no record is put into the dead letters for it, waiting until it takes rows again",
			"family", sample.Family.String(), "error", cause, "probe", err, "parked_before", w.evidence[sample.Family].inTurn, "hint", hint(cause))
	}
	return err == nil
}

// probe is a probe that is watched as a load is.
func (w *Worker) probe(ctx context.Context, sample warehouse.Row) error {
	defer w.watch(ctx, time.Now(), "probe")()
	return w.cfg.Warehouse.Probe(ctx, sample)
}

// plainRow is a row that every warehouse takes that takes any of the family.
func (w *Worker) plainRow(family event.Family) warehouse.Row {
	e := event.Plain(family, time.Now())
	return warehouse.Row{Family: family, Line: w.cfg.Warehouse.Encoder().Append(nil, &e)}
}

// rowOfOurs is a row for a probe to borrow its values: one that went in before,
// or one that waits. Where there is neither, nothing tells the row's fault from
// the warehouse's.
func (w *Worker) rowOfOurs(family event.Family) (warehouse.Row, bool) {
	waits, ok := w.queue.sample(family)
	if e := w.evidence[family]; e.known && (!ok || rand.IntN(2) == 0) {
		return e.good, true
	}
	return waits, ok
}
