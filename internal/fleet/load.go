package fleet

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// loadTries is how often a load fails, in a way that is nobody's fault, before its
// batches go back to their owners.
const loadTries = 2

// widestGap bounds the gap between loads that throttles widen.
const widestGap = 10 * time.Second

// load brings batches in, and tells their owners what became of them. What stays as
// it is is tried again in the next round.
func (f *Fleet) load(ctx context.Context, set []batch) {
	l := &f.loader
	l.started = time.Now()
	f.mu.Lock()
	if rest := max(f.c.LoadInterval, l.gap) - max(l.comeBack(), min(f.c.LoadInterval/10, gatherLast)); rest >= worthHolding {
		l.gathers = l.started.Add(rest)
	}
	f.mu.Unlock()
	l.last = nil
	for _, b := range set {
		if !b.News && !slices.Contains(l.last, b.Worker) {
			l.last = append(l.last, b.Worker)
		}
	}
	err := f.attempt(ctx, set)
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case errors.As(err, new(*warehouse.StagingError)) && f.refused(err): // it is no batch's fault
		return
	case refused(err):
		f.trace(ctx, set, err)
		return
	case tooMuch(err) && len(set) > 1:
		l.most = max(1, len(set)/2)
		f.c.Log.Warn("loads of the fleet are made smaller: the warehouse does not take this much at once", "batches", len(set), "from_now_on", l.most, "error", err)
		return
	case tooMuch(err):
		f.giveBack(ctx, set, err)
		return
	case errors.Is(err, warehouse.ErrThrottled):
		l.gap = min(widestGap, max(2*l.gap, f.c.LoadInterval, gatherTime))
	}
	if len(f.stillStaged(ctx, set)) < len(set) {
		f.c.Log.Info("another worker has loaded some of these batches meanwhile; the rest comes next", "batches", len(set), "error", err)
		return
	}
	l.failed++
	f.c.Log.Error("a load of the fleet failed; it is tried again, nothing is lost", "batches", len(set), "attempt", l.failed, "error", err)
	if l.failed >= loadTries {
		l.failed = 0
		f.giveBack(ctx, set, err)
	}
}

// stillStaged is what is left of a load's batches. Whoever has brought the others in
// meanwhile has removed their files, which a load that had begun before then misses:
// nothing is wrong with what is left.
func (f *Fleet) stillStaged(ctx context.Context, set []batch) []batch {
	if f.list(ctx) != nil {
		return set
	}
	return slices.DeleteFunc(slices.Clone(set), func(b batch) bool {
		_, there := f.loader.batches[b.ID]
		return b.folder != "" && !there
	})
}

// attempt runs one load and tells its outcome.
func (f *Fleet) attempt(ctx context.Context, set []batch) error {
	l, all := &f.loader, make([]warehouse.Staged, len(set))
	ids := make([]string, len(set))
	for i, b := range set {
		all[i], ids[i] = b.staged(), b.ID
	}
	f.mu.Lock()
	l.loading, l.since = ids, time.Now()
	f.mu.Unlock()
	if f.place().shared() {
		l.words.Go(func() { f.say(ctx) }) // so that nobody stages what would miss it
	}
	outcomes, written, err := f.c.Warehouse.LoadStaged(warehouse.Watched(ctx, f.gotTo), f.c.Copy, all)
	f.mu.Lock()
	l.loading, l.step = nil, nil
	if err == nil {
		if l.took = min(time.Since(l.since), time.Since(l.idle)); l.took >= worthHolding {
			f.over = time.Now()
		}
	}
	f.broadcast()
	f.mu.Unlock()
	if err != nil {
		return err
	}
	l.failed, l.gap = 0, l.gap-l.gap/8
	if l.most > 0 {
		l.most++
	}
	f.settle(ctx, set, outcomes, written)
	return nil
}

// gotTo notes how far the load under way has got.
func (f *Fleet) gotTo(p warehouse.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.Waits() {
		f.loader.idle = time.Now()
	}
	f.loader.step = &step{Started: p.Started, Statement: p.Statement, err: p.Err}
}

// settle tells what the warehouse answered for each batch, and has their objects
// removed: each of their moves is in, or stale by worker_checkpoints.
func (f *Fleet) settle(ctx context.Context, set []batch, outcomes [][]warehouse.Outcome, written warehouse.Written) {
	all := make([]outcome, len(set))
	whole, total := written.Total() >= 0, int64(0)
	for _, b := range set {
		total += int64(b.staged().Total())
	}
	alone := false // one batch has all of the rows
	for i, b := range set {
		all[i] = outcomeOf(b.ID, outcomes[i])
		all[i].Took = f.loader.took
		whole = whole && all[i].In
		if b.folder == "" {
			f.advanced(f.news.own, all[i])
		}
		if int64(b.staged().Total()) == total {
			all[i].Written, alone = (*[event.MaxFamilies]int64)(&written), true
		}
	}
	if whole && !alone { // else its owner counts
		f.c.Duplicates(int(total - written.Total()))
	}
	f.mu.Lock()
	f.loader.loads++
	f.mu.Unlock()
	f.c.Log.Debug("loaded for the fleet", "batches", len(set), "rows", total, "changed", written.Total(),
		"took", time.Since(f.loader.started).Round(time.Millisecond).String())
	f.tell(ctx, set, all)
}

// giveBack has the owners of batches load them by themselves.
func (f *Fleet) giveBack(ctx context.Context, set []batch, why error) {
	if len(set) == 0 {
		return
	}
	all := make([]outcome, len(set))
	for i, b := range set {
		all[i] = outcome{ID: b.ID, Back: why.Error(), at: time.Now()}
	}
	f.tell(ctx, set, all)
}

// tell makes outcomes known, and has removed what they are of.
func (f *Fleet) tell(ctx context.Context, set []batch, all []outcome) {
	l := &f.loader
	var names []string
	f.mu.Lock()
	for i, b := range set {
		if b.folder == "" { // of this worker's quiet shards
			continue
		}
		l.over[b.ID] = finished{until: time.Now().Add(keepWords), names: b.names()}
		delete(l.batches, b.ID)
		names = append(names, b.names()...)
		if _, ours := f.mine[b.ID]; ours {
			f.answers[b.ID] = all[i]
		}
		l.done = append(l.done, all[i])
	}
	f.broadcast()
	f.mu.Unlock()
	f.count(false)
	if f.say(ctx) { // else who loads next finds them, and tells
		f.c.Copy.Remove(ctx, names...)
	}
}

// trace brings in what it can of a load that the warehouse refused, and gives those
// batches back that it refuses. Their owners find the rows, by what they have always
// done: there is no need for certainty here.
func (f *Fleet) trace(ctx context.Context, set []batch, err error) {
	f.c.Log.Warn("the warehouse refuses a load of the fleet; looking for the batch that it refuses", "batches", len(set), "error", err)
	if left := f.stillStaged(ctx, set); len(left) < len(set) {
		if len(left) > 0 {
			f.part(ctx, left)
		}
		return
	}
	var named *warehouse.BatchesError
	if errors.As(err, &named) && len(named.Batches) < len(set) {
		var blamed, rest []batch
		for i, b := range set {
			if slices.Contains(named.Batches, i) {
				blamed = append(blamed, b)
			} else {
				rest = append(rest, b)
			}
		}
		f.giveBack(ctx, blamed, err)
		f.part(ctx, rest)
		return
	}
	if len(set) == 1 || !f.takesRows(ctx, set) {
		f.giveBack(ctx, set, err)
		return
	}
	f.halve(ctx, set, err)
}

// halve looks for a refused batch by halves. The second half holds it for certain
// where the first one went in whole.
func (f *Fleet) halve(ctx context.Context, set []batch, err error) {
	for ctx.Err() == nil && len(set) > 1 {
		head := set[:len(set)/2]
		set = set[len(set)/2:]
		if whole := f.part(ctx, head); !whole {
			f.part(ctx, set)
			return
		}
	}
	if ctx.Err() == nil {
		f.giveBack(ctx, set, err)
	}
}

// part loads some of the batches of a refused load. It reports whether all of them
// went in.
func (f *Fleet) part(ctx context.Context, set []batch) (whole bool) {
	err := f.attempt(ctx, set)
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
	case !refused(err), len(set) == 1:
		f.giveBack(ctx, set, err)
	default:
		var named *warehouse.BatchesError
		if errors.As(err, &named) {
			f.trace(ctx, set, err)
		} else {
			f.halve(ctx, set, err)
		}
	}
	return false
}

// takesRows asks whether the warehouse takes rows at all, of each family in a load.
func (f *Fleet) takesRows(ctx context.Context, set []batch) bool {
	var asked [event.MaxFamilies]bool
	for _, b := range set {
		for family, rows := range b.Rows {
			if rows == 0 || asked[family] {
				continue
			}
			asked[family] = true
			plain := event.Plain(event.Family(family), time.Now())
			sample := warehouse.Row{Family: event.Family(family), Line: f.c.Warehouse.Encoder().Append(nil, &plain)}
			if err := f.c.Warehouse.Probe(ctx, sample); err != nil {
				f.c.Log.Error("the warehouse refuses a probe as well; every batch goes back to its owner", "family", event.Family(family).String(), "error", err)
				return false
			}
		}
	}
	return true
}

// refused reports whether an error is the warehouse's refusal of what a load holds,
// as far as anybody can tell.
func refused(err error) bool {
	var statement *warehouse.StatementError
	return errors.As(err, &statement) && statement.Kind == nil
}

// tooMuch reports whether a smaller load may get through.
func tooMuch(err error) bool {
	return errors.Is(err, warehouse.ErrRejected) || errors.Is(err, warehouse.ErrEnded)
}
