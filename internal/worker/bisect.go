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
// with the values of another row that waits can say that it is not the warehouse,
// or, for a while, rows of another family.

// probedRows is how many rows in turn may be parked on the word of a probe
// alone, if the warehouse refused all of them with one message and nothing went
// in between: after that it may well be the warehouse that is in trouble.
const probedRows = 3

// sparedRows is the same where the warehouse takes rows of another family, and of
// this one nothing but plain ones: a few rows that are all poison must not keep the
// others, and a table that takes none of its rows must not empty the stream into
// the dead letters.
const sparedRows = 25

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
		w.misled, w.searched = false, l
	}
	w.bisecting++
	defer func() {
		if w.bisecting--; w.bisecting == 0 {
			w.searched = nil
		}
	}()
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

// isPoison judges a row that the warehouse refused alone: whether it is the row, and
// not the warehouse that takes none.
func (w *Worker) isPoison(ctx context.Context, row warehouse.Row, cause error) bool {
	e := &w.evidence[row.Family]
	var refused *warehouse.StatementError
	shape := ""
	if errors.As(cause, &refused) {
		shape = refused.Shape()
	}
	if e.inTurn > 0 && e.shape != shape {
		e.inTurn = 0
	}
	if !e.took && !w.vouched(ctx, row, cause) {
		return false
	}
	e.took, e.shape = false, shape
	e.inTurn++
	return true
}

// vouched reports whether a probe shows that the refusal of a row is the row's own
// fault, where nothing of its family went in meanwhile, and says so if none does.
func (w *Worker) vouched(ctx context.Context, row warehouse.Row, cause error) bool {
	family := row.Family
	e := &w.evidence[family]
	err := errNoOther
	if e.inTurn >= probedRows {
		if sample, known := w.rowOfOurs(family, row); known {
			if err = w.ask(ctx, sample); err == nil {
				e.inTurn = 0 // another row of ours goes in
				return true
			}
		}
	}
	// Rows of the other families must not wait for ever where all of this one are
	// poison: it may have no other.
	if e.inTurn < probedRows || e.inTurn < sparedRows && w.takesOthers(ctx, row) {
		err = w.ask(ctx, w.plainRow(family))
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("the warehouse refuses row after row, a probe as well; no record is put into the dead letters for it, waiting until it takes rows again",
			"family", family.String(), "error", cause, "probe", err, "parked_before", e.inTurn)
	}
	return err == nil
}

// errNoOther stands for the refusal of a probe that there is no row for.
var errNoOther = errors.New("there is no other row of the family to probe with")

// takesOthers reports whether the warehouse takes rows of another family: then it
// is not in trouble as a whole.
func (w *Worker) takesOthers(ctx context.Context, row warehouse.Row) bool {
	for _, other := range event.Families() {
		if other == row.Family {
			continue
		}
		if w.evidence[other].took {
			return true
		}
		if sample, known := w.rowOfOurs(other, row); known && w.ask(ctx, sample) == nil {
			return true
		}
	}
	return false
}

// ask is what the warehouse says of a row with the values of the sample.
func (w *Worker) ask(ctx context.Context, sample warehouse.Row) error {
	w.step(ctx)
	return w.probe(ctx, sample)
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

// rowOfOurs is a row for a probe to borrow its values, and not that one: one that
// went in before, or one that waits, be it in the load that is searched. Where there
// is none, nothing tells the row's fault from the warehouse's.
func (w *Worker) rowOfOurs(family event.Family, not warehouse.Row) (warehouse.Row, bool) {
	waits, ok := w.searchedRow(family, not)
	if !ok || rand.IntN(2) == 0 {
		if other, queued := w.queue.sample(family); queued {
			waits, ok = other, true
		}
	}
	if e := w.evidence[family]; e.known && (!ok || rand.IntN(2) == 0) {
		return e.good, true
	}
	return waits, ok
}

// searchedRow is a row of the load that is searched, which is not that one and was
// not parked.
func (w *Worker) searchedRow(family event.Family, not warehouse.Row) (r warehouse.Row, ok bool) {
	if w.searched == nil {
		return r, false
	}
	rows := w.searched.batch.Rows
	for _, at := range rand.Perm(len(rows)) {
		p := w.searched.places[at]
		c := w.searched.spans[p.span].chunk
		if _, parked := c.rejected(p.record); parked || rows[at].Family != family || &rows[at].Line[0] == &not.Line[0] {
			continue
		}
		return rows[at], true
	}
	return r, false
}
