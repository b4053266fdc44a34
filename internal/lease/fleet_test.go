package lease_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

const ttl = 10 * time.Second

// fleet is several Holders over one table, in virtual time, and what they did.
type fleet struct {
	t       *testing.T
	table   *lease.Memory
	initial stream.Position
	latency time.Duration // of a call to the table
	linger  time.Duration // how long an Own takes to return; set before the first start

	predecessor string // of the workers that are started next
	remake      func(context.Context) error
	past        func(context.Context) ([]lease.Row, error)

	mu     sync.Mutex // guards what follows
	stream stream.Identity
	shards []stream.Shard
	full   map[string]bool // shards that Own reads to their end
	news   chan struct{}   // closed and replaced when full changes
	terms  map[string]int64
	active map[string]*owning
	writes map[string]int // Updates by shard
	takes  int
	// tableLost: the rows of leases that are trusted were deleted. The warehouse
	// alone keeps their owners from the next ones until they notice.
	tableLost bool
	own       func(context.Context, *owning) error // replaces reading, if set
}

// owning is one call of Own.
type owning struct {
	worker *worker
	term   lease.Term
	ctx    context.Context
	since  time.Time
}

type worker struct {
	f      *fleet
	name   string
	holder *lease.Holder
	stop   context.CancelFunc
	done   chan struct{} // closed when Run has returned err
	err    error

	mu      sync.Mutex // guards what follows
	hook    lease.Hook
	reasons map[string]string // why each shard was taken last
	said    []string          // warnings and errors: level, message, and the attributes of interest
	counted int               // errors
}

// Enabled, Handle, WithAttrs and WithGroup make the worker the handler of its
// Holder's log, which says why a lease is taken.
func (w *worker) Enabled(context.Context, slog.Level) bool { return true }

func (w *worker) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]string{}
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value.String(); return true })
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		w.said = append(w.said, strings.Join([]string{r.Level.String(), r.Message, attrs["shard"], attrs["what"], attrs["error"]}, " | "))
	}
	// A lease that is ours from before came by the reason of a try whose reply
	// was lost, unless it was held in between.
	switch id, why := attrs["shard"], attrs["reason"]; {
	case r.Message == "taking a lease" && why != "ours from before":
		w.reasons[id] = why
	case strings.HasPrefix(r.Message, "lease lost"):
		w.reasons[id] = "lost"
	}
	return nil
}

func (w *worker) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *worker) WithGroup(string) slog.Handler      { return w }

func (w *worker) count() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted++
}

// tells is how often the worker has said a line that holds all of the texts.
func (w *worker) tells(texts ...string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, line := range w.said {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			n++
		}
	}
	return n
}

func (w *worker) reason(shard string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reasons[shard]
}

func newFleet(t *testing.T, shards ...stream.Shard) *fleet {
	return &fleet{
		news: make(chan struct{}),
		t:    t, table: lease.NewMemory(), shards: shards,
		full: map[string]bool{}, terms: map[string]int64{}, active: map[string]*owning{}, writes: map[string]int{},
	}
}

func open(n int) []stream.Shard {
	out := make([]stream.Shard, n)
	for i := range out {
		out[i].ID = fmt.Sprintf("shardId-%012d", i)
	}
	return out
}

func (f *fleet) start(name string) *worker { return f.startWith(name, nil) }

// startWith starts a worker whose calls to the table go through hook.
func (f *fleet) startWith(name string, hook lease.Hook) *worker {
	w := &worker{f: f, name: name, done: make(chan struct{}), hook: hook, reasons: map[string]string{}}
	h, err := lease.New(lease.Config{
		Table: lease.Via(f.table, w.call), Shards: f.list, Identity: f.identity, Remake: f.remake, Past: f.past,
		Self: name, Predecessor: f.predecessor, TTL: ttl, Count: w.count,
		Initial: func(stream.Shard) stream.Position { return f.initial },
		Own:     w.own, Log: slog.New(w), Word: func() string { return "the word of " + name },
	})
	if err != nil {
		f.t.Fatal(err)
	}
	w.holder = h
	var ctx context.Context
	ctx, w.stop = context.WithCancel(context.Background())
	go func() {
		defer close(w.done)
		w.err = h.Run(ctx)
	}()
	f.t.Cleanup(w.end) // also after a failure: a bubble ends only with all its goroutines
	return w
}

// end drains the worker and waits for its Run.
func (w *worker) end() {
	w.f.t.Helper()
	w.stop()
	<-w.done
	if w.err != nil {
		w.f.t.Errorf("%s: Run = %v", w.name, w.err)
	}
}

// behave makes hook decide over the worker's calls to the table; nil: no faults.
func (w *worker) behave(hook lease.Hook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

var errCut = errors.New("no route to the table")

func cut(context.Context, lease.Call, func() error) error { return errCut }

func (w *worker) call(ctx context.Context, c lease.Call, do func() error) error {
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	f := w.f
	if f.latency > 0 {
		time.Sleep(f.latency/2 + rand.N(f.latency))
	}
	counted := func() error {
		if c.Op == "Update" {
			f.mu.Lock()
			f.writes[c.Shard]++
			f.mu.Unlock()
		}
		return do()
	}
	if hook != nil {
		return hook(ctx, c, counted)
	}
	return counted()
}

func (f *fleet) identity(context.Context) (stream.Identity, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stream, nil
}

func (f *fleet) list(context.Context) ([]stream.Shard, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.shards), nil
}

// own checks what must hold at the start of every term, and then stands for the
// work on the shard.
func (w *worker) own(ctx context.Context, term lease.Term) error {
	f, id := w.f, term.Shard.ID
	o := &owning{worker: w, term: term, ctx: ctx, since: time.Now()}
	f.mu.Lock()
	if ctx.Err() == nil {
		f.takes++
	}
	if last := f.terms[id]; term.N <= last {
		f.t.Errorf("%s: term %d of %s after term %d", w.name, term.N, id, last)
	}
	f.terms[id] = term.N
	if other := f.active[id]; other != nil {
		f.overlap(other, o)
	}
	for _, p := range term.Shard.Parents {
		if !f.full[p] {
			f.t.Errorf("%s: %s started before its parent %s ended", w.name, id, p)
		}
	}
	f.active[id] = o
	own := f.own
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.active[id] == o {
			delete(f.active, id)
		}
	}()
	if own != nil {
		return own(ctx, o)
	}
	return f.read(ctx, id)
}

// overlap judges two terms of one shard at one time. The caller holds f.mu.
func (f *fleet) overlap(old, o *owning) {
	switch {
	case old.worker == o.worker:
		f.t.Errorf("%s runs two Owns of %s", o.worker.name, o.term.Shard.ID)
	case f.tableLost:
	case old.ctx.Err() == nil && !strings.HasPrefix(o.worker.reason(o.term.Shard.ID), "stolen"):
		// A steal overlaps until its victim looks at the table; the warehouse
		// keeps them apart. Nothing else may.
		f.t.Errorf("%s took %s (%s) while %s still trusted its lease (held for %s)",
			o.worker.name, o.term.Shard.ID, o.worker.reason(o.term.Shard.ID), old.worker.name, time.Since(old.since))
	}
}

// read stands for reading a shard until it ends or ctx does.
func (f *fleet) read(ctx context.Context, id string) error {
	for {
		f.mu.Lock()
		full, news := f.full[id], f.news
		f.mu.Unlock()
		if full {
			return lease.ErrEnded
		}
		select {
		case <-news:
		case <-ctx.Done():
			time.Sleep(f.linger)
			return context.Cause(ctx)
		}
	}
}

// close lets the shards be read to their ends.
func (f *fleet) close(ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		f.full[id] = true
	}
	close(f.news)
	f.news = make(chan struct{})
}

// reshard closes the parents in favour of the children.
func (f *fleet) reshard(children ...stream.Shard) {
	f.mu.Lock()
	f.shards = append(f.shards, children...)
	f.mu.Unlock()
	for _, c := range children {
		f.close(c.Parents...)
	}
}

// loads returns how many shards each of the workers owns and trusts, sorted.
func (f *fleet) loads(ws ...*worker) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]int, len(ws))
	for _, o := range f.active {
		if i := slices.Index(ws, o.worker); i >= 0 && o.ctx.Err() == nil {
			out[i]++
		}
	}
	slices.Sort(out)
	return out
}

func sum(ns []int) (n int) {
	for _, v := range ns {
		n += v
	}
	return n
}

// within waits until ok, for d at most, and returns how long it took.
func (f *fleet) within(d time.Duration, what string, ok func() bool) time.Duration {
	f.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > d {
			f.t.Fatalf("not within %s: %s; rows %+v", d, what, f.rows())
		}
		time.Sleep(25 * time.Millisecond)
	}
	return time.Since(began)
}

func (f *fleet) rows() map[string]lease.Row {
	rows, err := f.table.List(context.Background())
	if err != nil {
		f.t.Fatal(err)
	}
	out := map[string]lease.Row{}
	for _, r := range rows {
		out[r.Shard] = r
	}
	return out
}

// virtual runs the test in a bubble of virtual time.
func virtual(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}
