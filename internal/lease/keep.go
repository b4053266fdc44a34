package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// held is one lease while this worker keeps it.
type held struct {
	h     *Holder
	shard stream.Shard
	// trusted ends, with cause ErrLost, when the lease can no longer be believed
	// in; owned is its child, and is what Own runs under.
	trusted context.Context
	lost    context.CancelCauseFunc
	owned   context.Context
	drain   context.CancelCauseFunc
	expiry  *time.Timer   // ends trusted
	writing chan struct{} // held by whoever writes the row: one write at a time

	mu    sync.Mutex // guards what follows
	row   Row        // as last written
	noted stream.Position
	asked time.Time // when the last write that succeeded was sent
	// failed is what the last Own returned that did not come to work, and since
	// when that is so; nil once one has noted a position.
	failed error
	since  time.Time
}

func newHeld(ctx context.Context, h *Holder, shard stream.Shard, row Row, asked time.Time) *held {
	l := &held{h: h, shard: shard, row: row, asked: asked, writing: make(chan struct{}, 1)}
	l.trusted, l.lost = context.WithCancelCause(ctx)
	l.owned, l.drain = context.WithCancelCause(context.WithValue(l.trusted, lostKey{}, l.trusted.Done()))
	l.expiry = time.AfterFunc(time.Until(asked.Add(h.c.trust())), l.expire)
	return l
}

type lostKey struct{}

// Lost returns a channel that is closed once the lease that Own was given ctx
// for can no longer be believed in. It tells so of a lease that is being handed
// over too, whose ctx has ended already. Nil for a context of another kind: such
// a lease is never lost.
func Lost(ctx context.Context) <-chan struct{} {
	lost, _ := ctx.Value(lostKey{}).(<-chan struct{})
	return lost
}

// keep renews the lease while it runs Own, and gives the lease back when Own is
// through. When it returns, nothing of ours touches the shard.
func (l *held) keep() {
	var renewing sync.WaitGroup
	renewing.Go(l.renew)
	ended := errors.Is(l.work(), ErrEnded)
	if l.trusted.Err() == nil {
		l.release(ended)
	}
	l.lost(ErrLost) // ends the renewing
	renewing.Wait()
	l.expiry.Stop()
	l.h.forget(l, ended)
}

// work runs Own, again and again, until the lease is lost, the Holder drains or
// the shard has ended.
func (l *held) work() error {
	limit := l.h.c.TTL / 2
	first := limit / 64
	backoff := first
	for l.owned.Err() == nil {
		began := time.Now()
		err := l.h.c.Own(l.owned, l.current())
		if l.owned.Err() != nil || errors.Is(err, ErrEnded) {
			return err
		}
		var behind *TermBehindError
		next := int64(0)
		if errors.As(err, &behind) {
			next = behind.Warehouse
			l.h.c.Log.Info("the warehouse is ahead of the lease table; raising the term", "shard", l.shard.ID, "warehouse_term", next)
		} else if limit = l.failure(err); limit < l.h.c.TTL {
			l.h.c.Log.Warn("work on a shard failed; it will be started again", "shard", l.shard.ID, "error", err)
		}
		if time.Since(began) > limit {
			backoff = first
		}
		if behind == nil || backoff > first { // the first raise needs no pause
			sleep(l.owned, backoff)
		}
		backoff = min(backoff*2, limit)
		// A new term for every start: a load of the last one that is still under
		// way in the warehouse can then not get in between.
		if err := l.write(func(r *Row) { r.Term = max(r.Term, next) + 1 }); err != nil {
			return err
		}
	}
	return context.Cause(l.owned)
}

// failure notes how an Own failed, and returns the longest pause before the
// next: a contradiction waits for somebody to do something, which takes longer.
func (l *held) failure(err error) (pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.since = time.Now()
	}
	l.failed = err
	var c *Contradiction
	if errors.As(err, &c) && !c.News {
		return l.h.c.TTL
	}
	return l.h.c.TTL / 2
}

// trouble is why the shard is not worked on, where that has to be told: a
// contradiction at once, what may still pass once it has lasted.
func (l *held) trouble(now time.Time, patience time.Duration) (Contradiction, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var c *Contradiction
	is := errors.As(l.failed, &c)
	switch {
	case l.failed == nil, (!is || c.News) && now.Sub(l.since) < patience:
		return Contradiction{}, false
	case is:
		out := *c
		out.Shard, out.Since = l.shard.ID, l.since
		return out, true
	}
	return Contradiction{
		Shard: l.shard.ID, Since: l.since, What: "cannot be worked on: " + l.failed.Error(), Err: l.failed,
	}, true
}

// current is the term to start Own with.
func (l *held) current() Term {
	shard := l.h.shard(l.shard)
	l.mu.Lock()
	defer l.mu.Unlock()
	start := l.row.Checkpoint
	if !l.noted.IsZero() {
		start = l.noted
	}
	switch {
	case start.IsZero():
		start.Sequence = stream.TrimHorizon
	case start.Sequence == stream.AtTimestamp && start.Sub == 0:
		// KCL writes no time beside AT_TIMESTAMP: it has it from its settings.
		if initial := l.h.initial(l.shard); initial.Sequence == stream.AtTimestamp {
			start = initial
		}
	}
	return Term{Shard: shard, N: l.row.Term, Start: start, Stream: l.row.Stream}
}

// renew writes the row whenever its last write is a renewal interval old.
func (l *held) renew() {
	for l.trusted.Err() == nil {
		l.mu.Lock()
		wait := time.Until(l.asked.Add(l.h.c.renewEvery()))
		l.mu.Unlock()
		if wait > 0 {
			sleep(l.trusted, wait)
			continue
		}
		if err := l.write(func(*Row) {}); err != nil {
			return
		}
	}
}

// release gives the lease back; ended says that nothing is left in the shard.
func (l *held) release(ended bool) {
	var children []string
	if ended {
		children = l.createChildren()
	}
	err := l.write(func(r *Row) {
		r.Owner = ""
		if ended {
			r.Checkpoint, r.OwnerSwitches = stream.Position{Sequence: stream.ShardEnd}, 0
			if len(children) > 0 {
				r.Children = children
			}
		}
	})
	if err == nil {
		l.h.c.Log.Info("lease released", "shard", l.shard.ID, "ended", ended)
	}
}

// createChildren creates the rows of the shard's children, before the shard's own row
// says that it has ended (KCL's order), and returns their names. It goes on
// without them when the Holder drains or the listing does not show them: our
// row alone makes everyone create them rightly.
func (l *held) createChildren() []string {
	for pause := l.h.c.Scan; ; pause = min(2*pause, l.h.c.TTL/2) {
		children, settled, err := l.tryCreateChildren()
		if err == nil && settled || l.owned.Err() != nil || l.trusted.Err() != nil || pause >= l.h.c.TTL/2 {
			return children
		}
		if err != nil {
			l.h.c.Log.Warn("cannot create the leases of a finished shard's children yet", "shard", l.shard.ID, "error", err)
		}
		sleep(l.owned, pause)
	}
}

func (l *held) tryCreateChildren() (children []string, settled bool, err error) {
	shards, err := l.h.list(l.trusted)
	if err != nil {
		return nil, false, err
	}
	listed := false
	for _, s := range shards {
		listed = listed || s.ID == l.shard.ID
		if !slices.Contains(s.Parents, l.shard.ID) {
			continue
		}
		r := newRow(s)
		r.Checkpoint, r.Stream = stream.Position{Sequence: stream.TrimHorizon}, l.h.stream()
		if _, err := l.h.create(l.trusted, r); err != nil {
			return children, false, err
		}
		children = append(children, s.ID)
	}
	slices.Sort(children)
	// A shard past the retention may have no children left; any other has some.
	return children, len(children) > 0 || !listed, nil
}

// write changes the row and renews the lease by it, again and again until that
// succeeded or the lease is lost.
func (l *held) write(change func(*Row)) error {
	select {
	case l.writing <- struct{}{}:
		defer func() { <-l.writing }()
	case <-l.trusted.Done():
		return ErrLost
	}
	failed := false
	for backoff := l.h.c.TTL / 200; ; backoff = min(2*backoff, l.h.c.TTL/10) {
		done, err := l.try(change)
		switch {
		case l.trusted.Err() != nil:
			return ErrLost
		case done:
			return nil
		case err != nil && !failed:
			failed = true
			l.h.c.Log.Warn("cannot renew a lease; trying on while it can be trusted", "shard", l.shard.ID, "error", err)
		}
		if err != nil {
			sleep(l.trusted, backoff/2+rand.N(backoff/2+1))
		}
	}
}

// try makes one attempt at a write.
func (l *held) try(change func(*Row)) (done bool, err error) {
	select {
	case l.h.renewing <- struct{}{}:
		defer func() { <-l.h.renewing }()
	case <-l.trusted.Done():
		return false, nil
	}
	word, until := l.h.says(l)
	l.mu.Lock()
	seen := l.row
	want := l.wanted(seen, change)
	l.mu.Unlock()
	if want.Word = word; want.Owner == "" {
		want.Word = ""
	}
	if until.After(want.Until) {
		want.Until = until
	}
	if seen.Owner == "" {
		return true, nil // given back already, while this write waited for its turn
	}
	ctx, cancel := context.WithTimeout(l.trusted, l.h.c.TTL/5)
	defer cancel()
	asked := time.Now()
	now, err := l.h.c.Table.Update(ctx, seen, want)
	if err == nil {
		l.renewed(now, asked)
		return true, nil
	}
	var conflict *ConflictError
	if !errors.As(err, &conflict) {
		return false, err
	}
	now = conflict.Now
	switch {
	case !conflict.Found:
		l.lose(slog.LevelWarn, "its row is gone")
	case now.Owner == "" && want.Owner == "":
		return true, nil // given back by a try whose reply was lost
	case now.Owner != l.h.c.Self || now.Term < seen.Term || now.Term > want.Term:
		l.taken(now.Owner)
	default:
		// Still ours: an earlier try took effect although its reply was lost.
		// From when to trust it is hard to say, so it is written once more.
		l.mu.Lock()
		l.row = now
		l.mu.Unlock()
	}
	return false, nil
}

// wanted is the row that a write should leave: the position noted rides along.
func (l *held) wanted(r Row, change func(*Row)) Row {
	r = r.clone()
	if !l.noted.IsZero() && r.Checkpoint != l.noted {
		r.Checkpoint, r.OwnerSwitches = l.noted, 0
	}
	change(&r)
	return r
}

// renewed notes that the row was written by an attempt that was sent at asked,
// and trusts the lease anew.
func (l *held) renewed(now Row, asked time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.row, l.asked = now, asked
	l.expiry.Reset(time.Until(asked.Add(l.h.c.trust())))
}

// expire ends the trust in the lease unless a renewal came in between.
func (l *held) expire() {
	l.mu.Lock()
	left := time.Until(l.asked.Add(l.h.c.trust()))
	l.mu.Unlock()
	if left > 0 {
		l.expiry.Reset(left)
		return
	}
	l.lose(slog.LevelWarn, "it could not be renewed in time")
}

// taken ends the work on the shard because another worker has it now. That is how a
// worker that joins gets its share, and no reason to look.
func (l *held) taken(by string) { l.lose(slog.LevelInfo, fmt.Sprintf("owner is now %q", by)) }

// lose ends the work on the shard.
func (l *held) lose(level slog.Level, why string) {
	if l.trusted.Err() == nil {
		l.h.c.Log.Log(l.trusted, level, "lease lost; what was not committed will be read again by its next owner", "shard", l.shard.ID, "reason", why)
	}
	l.lost(ErrLost)
}

func (l *held) note(p stream.Position) {
	if p.Sequence == stream.ShardEnd {
		return // written when Own says so, after the children's rows
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.noted, l.failed = p, nil
}

func (l *held) term() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.row.Term
}

// isBehind reports whether r is a later state of the row than our last write.
func (l *held) isBehind(r Row) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return r.Counter > l.row.Counter || r.Counter == l.row.Counter && r.Owner != l.row.Owner
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
