package lease

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Writes to the table at one time: for the plan's actions, and apart from them
// for renewals, which never wait for anything else.
const (
	maxActing   = 16
	maxRenewing = 50
)

// Holder takes and keeps a fair share of the leases, and runs Own for each.
type Holder struct {
	c        Config
	renewing chan struct{} // slots for renewals
	again    chan struct{} // asks for a round at once
	keeping  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	held    map[string]*held
	view    View
	listed  time.Time // when the shards were last listed
	relist  bool      // list them in the next round
	failing failing   // of rounds

	// Of Run's goroutine alone.
	told  map[string]time.Time // contradictions by their texts, and when they were told last
	past  []Row                // the answer of Config.Past, while the table stays empty
	asked time.Time            // when it was asked; zero = not since the table was empty
}

// New returns a Holder, or everything that is wrong with c.
func New(c Config) (*Holder, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	return &Holder{
		c:        c,
		renewing: make(chan struct{}, maxRenewing),
		again:    make(chan struct{}, 1),
		held:     make(map[string]*held),
		told:     make(map[string]time.Time),
		view:     View{TTL: c.TTL, Ended: c.Predecessor, Patience: 2 * c.Sync},
	}, nil
}

// Run takes leases and keeps them until ctx ends. Then it ends every Own with
// the cause ErrDraining, waits for all of them, releases their leases with the
// positions noted, and returns nil. It is called once.
func (h *Holder) Run(ctx context.Context) error {
	// What was begun is finished: an acquisition cut short would block a shard
	// for a whole lease time.
	lasting := pulse.Without(context.WithoutCancel(ctx)) // renewals and Own show nothing of the rounds
	for ctx.Err() == nil {
		pulse.Beat(ctx)
		hurry, err := h.round(ctx, lasting)
		if ctx.Err() == nil {
			h.tell(err)
		}
		h.pause(ctx, hurry)
	}
	h.drain()
	h.watch(lasting)
	return nil
}

// watch reads the table, and changes nothing but what is held, until the work on every
// shard has ended: who else is alive is asked during a drain too, and by what was read
// before it nobody is after a lease time.
func (h *Holder) watch(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.keeping.Wait()
		cancel()
	}()
	for h.pause(ctx, false); ctx.Err() == nil; h.pause(ctx, false) {
		_, listing, err := h.look(ctx)
		if ctx.Err() == nil {
			h.tell(errors.Join(listing, err))
		}
	}
	<-ended
}

// drain ends the work on every shard held: what was read is loaded first.
func (h *Holder) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		l.drain(ErrDraining)
	}
}

// pause waits for the next round. Even in a hurry it waits a little, and never
// for the same time as the other workers.
func (h *Holder) pause(ctx context.Context, hurry bool) {
	wait := h.c.Scan - rand.N(h.c.Scan/5+1)
	if hurry {
		wait = rand.N(h.c.Scan/10 + 1)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-h.again:
	case <-t.C:
	}
}

// round looks at the table once, plans, and acts. It asks for the next one soon
// if it created rows, or met other workers that it did not know of.
func (h *Holder) round(ctx, lasting context.Context) (hurry bool, err error) {
	v, listing, err := h.look(ctx)
	if err != nil {
		return false, errors.Join(listing, err)
	}
	if !v.Other().IsZero() {
		h.drain() // it was not so before, or nothing would be held
	}
	if len(v.Rows) == 0 {
		hurry, err = h.seed(ctx, lasting, v)
	} else {
		h.asked = time.Time{} // an answer is good for one emptiness
	}
	if !hurry && err == nil {
		hurry, err = h.act(ctx, lasting, Plan(v, h.c.Self, time.Now()))
	}
	return hurry, errors.Join(listing, err)
}

// notice ends the work on leases that the table shows in other hands. A row
// older than our own last write to it shows nothing. The caller holds h.mu.
func (h *Holder) notice(v View) {
	for _, s := range v.Rows {
		l := h.held[s.Shard]
		if l != nil && s.Owner != h.c.Self && s.Owner != "" && l.isBehind(s.Row) {
			l.taken(s.Owner)
		}
	}
}

// wake asks for a round at once.
func (h *Holder) wake() {
	select {
	case h.again <- struct{}{}:
	default:
	}
}

// act carries out the plan. Failures of single steps do not stop the others,
// except that rows are created in order.
func (h *Holder) act(ctx, lasting context.Context, plan []Action) (hurry bool, err error) {
	var mu sync.Mutex // guards hurry and errs
	var errs []error
	wave := 0
	group := new(errgroup.Group)
	group.SetLimit(maxActing)
	for _, a := range plan {
		if a.Kind == Create && a.Wave != wave {
			_ = group.Wait() // the steps keep their errors themselves
			wave = a.Wave
			if errs != nil {
				break
			}
		}
		mu.Lock()
		// Whoever got in first changed what is fair: look again, then plan again.
		stop := ctx.Err() != nil || hurry && a.Kind == Take
		mu.Unlock()
		if stop {
			break
		}
		group.Go(func() error {
			soon, err := h.step(lasting, a)
			pulse.Beat(ctx)
			mu.Lock()
			defer mu.Unlock()
			hurry = hurry || soon
			if err != nil {
				errs = append(errs, err)
			}
			if err != nil && a.Kind != Take {
				h.askListing() // nothing else would plan the step again soon
			}
			return nil
		})
	}
	_ = group.Wait()
	again := errs == nil && slices.ContainsFunc(plan, func(a Action) bool { return a.Again })
	return hurry || again, errors.Join(errs...)
}

// step makes one write of the plan.
func (h *Holder) step(lasting context.Context, a Action) (hurry bool, err error) {
	ctx, cancel := context.WithTimeout(lasting, h.c.TTL/3)
	defer cancel()
	switch a.Kind {
	case Create:
		if a.Row.Checkpoint.IsZero() {
			a.Row.Checkpoint = h.initial(a.Shard)
		}
		a.Row.Stream = h.stream()
		var made bool
		if made, err = h.create(ctx, a.Row); made {
			h.c.Log.Info("lease created", "shard", a.Row.Shard, "position", a.Row.Checkpoint.String(), "reason", a.Why)
		}
		hurry = true
	case Delete:
		if err = h.c.Table.Delete(ctx, a.Row); err == nil {
			h.c.Log.Info("lease of a finished shard removed", "shard", a.Row.Shard, "reason", a.Why)
		}
	case Expire:
		err = h.expire(ctx, a)
	case Take:
		err = h.take(ctx, lasting, a)
	}
	if errors.Is(err, ErrConflict) {
		return true, nil
	}
	if err != nil {
		return hurry, fmt.Errorf("%s the lease of %s: %w", a.Kind, a.Row.Shard, err)
	}
	return hurry, nil
}

// take makes this worker the owner, under the next term, and starts to keep
// the lease.
func (h *Holder) take(ctx, lasting context.Context, a Action) error {
	want := a.Row
	want.Owner, want.Term, want.Word = h.c.Self, a.Row.Term+1, h.word(a.Row.Shard) // what it says is the last owner's
	if id := h.stream(); !id.IsZero() {
		want.Stream = id
	}
	if !a.Begin.IsZero() {
		want.Checkpoint, want.Children = a.Begin, nil
		if a.Begin.Sequence == stream.AtTimestamp {
			want.Checkpoint = stream.AtTime(h.c.StreamTime(a.Begin.Time()))
		}
	}
	if a.Row.Owner != "" && a.Row.Owner != h.c.Self {
		want.OwnerSwitches++
	}
	h.c.Log.Debug("taking a lease", "shard", want.Shard, "term", want.Term, "reason", a.Why)
	asked := time.Now()
	row, err := h.c.Table.Update(ctx, a.Row, want)
	var conflict *ConflictError
	if errors.As(err, &conflict) && conflict.Found && conflict.Now.Owner == want.Owner &&
		conflict.Now.Term == want.Term && conflict.Now.Counter == a.Row.Counter+1 {
		row, err = conflict.Now, nil // our own write, sent twice by the layer below
	}
	if err != nil {
		return err
	}
	h.c.Log.Info("lease taken", "shard", row.Shard, "term", row.Term, "reason", a.Why)
	l := newHeld(lasting, h, a.Shard, row, asked)
	h.mu.Lock()
	h.held[row.Shard] = l
	h.mu.Unlock()
	h.keeping.Go(l.keep)
	return nil
}

// expire ends a shard that vanished while nobody owned it, and says so: it has
// no owner who would. That its row says SHARD_END lets it be cleaned up with the
// others, once its children are under way.
func (h *Holder) expire(ctx context.Context, a Action) error {
	want := a.Row
	want.Owner, want.OwnerSwitches, want.Checkpoint = "", 0, stream.Position{Sequence: stream.ShardEnd}
	_, err := h.c.Table.Update(ctx, a.Row, want)
	var conflict *ConflictError
	if errors.As(err, &conflict) && conflict.Found && conflict.Now.Ended() && conflict.Now.Counter == a.Row.Counter+1 {
		err = nil // our own write, sent twice by the layer below
	}
	if err == nil {
		h.c.Count()
		h.c.Log.Error("a shard vanished from the stream while no worker owned it: what was not loaded of it is lost",
			"shard", a.Row.Shard, "position", a.Row.Checkpoint.String(), "error", ErrVanished)
	}
	return err
}

// create writes a new row. Its deadline, like that of every call to the table,
// keeps one lost packet from blocking a shard.
func (h *Holder) create(ctx context.Context, r Row) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, h.c.TTL/3)
	defer cancel()
	return h.c.Table.Create(ctx, r)
}

// stream is the stream whose shards are looked after, as far as it is known.
func (h *Holder) stream() stream.Identity {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.view.Stream
}

// shard is the shard as it was last listed, or else as it was once.
func (h *Holder) shard(once stream.Shard) stream.Shard {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.IndexFunc(h.view.Shards, func(s stream.Shard) bool { return s.ID == once.ID }); i >= 0 {
		return h.view.Shards[i]
	}
	return once
}

func (h *Holder) initial(s stream.Shard) stream.Position {
	p := h.c.Initial(s)
	if p.IsZero() {
		p.Sequence = stream.TrimHorizon
	}
	return p
}

// Note tells how far the shard has been committed. The position goes into the
// lease table with the next renewal, or with the release.
func (h *Holder) Note(shard string, p stream.Position) {
	h.mu.Lock()
	l := h.held[shard]
	h.mu.Unlock()
	if l != nil {
		l.note(p)
	}
}

// View returns what this worker last saw of the leases, and what it holds now.
// The caller must not change what the View refers to.
func (h *Holder) View() View {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := h.view
	v.Held = make(map[string]int64, len(h.held))
	for id, l := range h.held {
		v.Held[id] = l.term()
	}
	return v
}

// Holds returns the shards that this worker has now, with their terms.
func (h *Holder) Holds() map[string]int64 { return h.View().Held }

// forget ends the keeping of a lease.
func (h *Holder) forget(l *held, relist bool) {
	h.mu.Lock()
	delete(h.held, l.shard.ID)
	h.relist = h.relist || relist
	h.mu.Unlock()
	h.wake()
}
