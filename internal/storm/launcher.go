package storm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Warehouse is what the storm asks of the warehouse. Errors are those of the
// warehouse package: ErrThrottled (of which ErrTooMany says that too many
// statements are active), ErrUnavailable, ErrDenied.
type Warehouse interface {
	// Submit starts a query under a name that others can find it by, and returns
	// its id. It makes one call and repeats nothing.
	Submit(ctx context.Context, name, sql string) (id string, err error)
	// Look tells how a query stands now.
	Look(ctx context.Context, id string) (Statement, error)
	// Page fetches a part of a finished query's result. token is empty for the
	// first part; next is empty after the last.
	Page(ctx context.Context, id, token string) (rows warehouse.Result, bytes int, next string, err error)
	// Cancel asks for a query's end. One that has ended is no error.
	Cancel(ctx context.Context, id string) error
	// Unended lists the ids of queries that have not ended and whose names begin so.
	Unended(ctx context.Context, prefix string) ([]string, error)
}

// Statement is how a query stands.
type Statement struct {
	Ended     bool
	Err       error         // of one that ended without success
	HasResult bool          // there are pages to fetch
	Rows      int64         // of the result; below 0 = not known
	Waited    time.Duration // from its submission until it ran
	Ran       time.Duration
}

// The storm's share of the account's rates for the Data API, which hold for
// every caller together: 30 ExecuteStatement, 100 DescribeStatement, 20
// GetStatementResult and 3 CancelStatement a second. The rest is the workers'.
const (
	submitRate = 15
	lookRate   = 50
	pageRate   = 10
	cancelRate = 2
)

// Waits between looks at a query that runs, and after failures.
const (
	firstLook = 300 * time.Millisecond
	mostLook  = 5 * time.Second
	firstRest = 500 * time.Millisecond
	mostRest  = 10 * time.Second
	callTime  = 30 * time.Second
	// tries of a query that fails before it counts as lost.
	mostTries = 5
	listTries = 3 // of the list of what has not ended
)

// launcher keeps queries in flight in the warehouse, and reads their results.
type launcher struct {
	house  Warehouse
	name   string // that queries carry, and a number behind it
	queue  *backlog
	shelf  *shelf
	limit  *limit
	gate   *gate
	pool   *pool
	stats  *stats
	log    *slog.Logger
	submit *rate.Limiter // its limit is the loop's pace
	look   *rate.Limiter
	page   *rate.Limiter
	cancel *rate.Limiter

	mu      sync.Mutex         // guards what follows
	flying  map[string]*flight // the queries in the warehouse by id; nil of one that is known by its name alone
	highest int                // in the warehouse at once
	trouble error              // the last error of cancelling what is left
}

func newLauncher(c Config, p *pool, s *stats) *launcher {
	limiter := func(perSecond float64) *rate.Limiter {
		return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/5)))
	}
	return &launcher{
		house: c.Warehouse, name: c.Name, queue: &backlog{next: c.Sequence.Query}, shelf: newShelf(c.Duration),
		limit: newLimit(c.Concurrency, c.Leave), gate: newGate(),
		pool: p, stats: s, log: c.Log, flying: make(map[string]*flight),
		submit: rate.NewLimiter(firstPace, 1), look: limiter(lookRate), page: limiter(pageRate), cancel: limiter(cancelRate),
	}
}

// obey does what the loop wants.
func (l *launcher) obey(o orders) {
	l.submit.SetLimit(rate.Limit(o.pace))
	l.limit.cap(o.flight)
	l.gate.set(o.open)
}

// backlog hands queries out: first those that come back, then the sequence.
type backlog struct {
	next func(int) Query

	mu    sync.Mutex // guards what follows
	n     int
	again []attempt
}

// attempt is a query, and how often it has failed.
type attempt struct {
	Query
	failed int
}

func (b *backlog) take() attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.again) > 0 {
		a := b.again[0]
		b.again = b.again[1:]
		return a
	}
	a := attempt{Query: b.next(b.n)}
	b.n++
	return a
}

func (b *backlog) back(a attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = append(b.again, a)
}

// gate lets queries start while the loop says so.
type gate struct {
	mu     sync.Mutex    // guards opened
	opened chan struct{} // closed while queries may start
	open   bool
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case open == g.open:
	case open:
		close(g.opened)
	default:
		g.opened = make(chan struct{})
	}
	g.open = open
}

// pass waits until a query may start.
func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run starts queries and reads their results until ctx ends, and returns once none
// of its goroutines touches one any more. What is in flight then is left to cancelAll.
func (l *launcher) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	for range readers {
		all.Go(func() { l.read(ctx) })
	}
	rest := time.Duration(0) // after failures in a row
	for ctx.Err() == nil {
		f := &flight{attempt: l.queue.take()}
		f.due = f.Pages
		if err := l.ready(ctx, f); err != nil {
			return
		}
		err := l.start(ctx, f)
		if err == nil {
			rest = 0
			all.Go(func() { l.follow(ctx, f) })
			continue
		}
		l.refused(ctx, f, err)
		l.shelf.release(f.due)
		l.limit.give()
		rest = min(mostRest, max(firstRest, 2*rest))
		pause(ctx, rest/2+rand.N(rest/2))
	}
}

// refused notes that a query could not be started, and lets it be tried again.
func (l *launcher) refused(ctx context.Context, f *flight, err error) {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, warehouse.ErrTooMany):
		l.stats.refused()
		l.limit.full(time.Now())
		l.queue.back(f.attempt)
	case errors.Is(err, warehouse.ErrThrottled):
		l.stats.refused()
		l.limit.throttled(time.Now())
		l.queue.back(f.attempt)
	default:
		l.failed(f.attempt, err)
	}
}

// ready waits until a query may start, and takes its place.
func (l *launcher) ready(ctx context.Context, f *flight) error {
	if err := l.shelf.reserve(ctx, f.due); err != nil {
		return err
	}
	if err := l.limit.place(ctx); err != nil {
		l.shelf.release(f.due)
		return err
	}
	err := turn(ctx, l.submit)
	if err == nil {
		err = l.gate.pass(ctx)
	}
	if err != nil {
		l.shelf.release(f.due)
		l.limit.give()
	}
	return err
}

// start submits a query and notes it as in flight.
func (l *launcher) start(ctx context.Context, f *flight) error {
	// A submission whose reply is lost would run unknown: the call is seen to its
	// end even when the storm ends meanwhile.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	id, err := l.house.Submit(cctx, fmt.Sprintf("%s-%d-%s", l.name, f.Number, f.Kind), f.SQL)
	if err != nil {
		return err
	}
	f.id, f.began = id, time.Now()
	l.mu.Lock()
	l.flying[id] = f
	l.highest = max(l.highest, len(l.flying))
	l.mu.Unlock()
	l.limit.accepted(time.Now())
	l.stats.started()
	return nil
}

// state tells how many queries are in the warehouse, and how many were at once.
func (l *launcher) state() (flying, highest int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flying), l.highest
}

// landed forgets a query that has ended, and returns it if it is one that it started.
func (l *launcher) landed(id string) *flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.flying[id]
	delete(l.flying, id)
	return f
}

// follow follows a query to its end in the warehouse and puts its result on the
// shelf.
func (l *launcher) follow(ctx context.Context, f *flight) {
	s, err := l.await(ctx, f.id)
	l.limit.give()
	if err != nil {
		return // the storm ends: the query stays in flight for cancelAll
	}
	l.landed(f.id)
	switch {
	case s.Err != nil:
		l.shelf.release(f.due)
		l.stats.slow(f, s, endFailed)
		l.failed(f.attempt, s.Err)
	case !s.HasResult:
		l.shelf.release(f.due)
		l.stats.ran(f, s)
		l.stats.finished(f.Query, Checksum{})
	default:
		l.stats.ran(f, s)
		pages := f.due
		if s.Rows >= 0 { // what was a guess is known now
			pages = int(max(1, (s.Rows+pageRows-1)/pageRows))
		}
		l.shelf.arrive(f, pages)
	}
}

// await looks at a query until it has ended. A look that fails says nothing of the
// query.
func (l *launcher) await(ctx context.Context, id string) (Statement, error) {
	for wait := firstLook; ; wait = min(wait*3/2, mostLook) {
		pause(ctx, wait*4/5+rand.N(wait*2/5))
		if err := turn(ctx, l.look); err != nil {
			return Statement{}, err
		}
		s, err := l.house.Look(ctx, id)
		switch {
		case ctx.Err() != nil:
			return Statement{}, context.Cause(ctx)
		case err == nil:
			l.stats.answered()
			if s.Ended {
				return s, nil
			}
		case errors.Is(err, warehouse.ErrThrottled):
			// asked again
		default:
			l.stats.unanswered(fmt.Errorf("ask how a query stands: %w", err))
			l.log.Debug("cannot ask how a query stands; asking again", "id", id, "error", err)
		}
	}
}

// failed counts a failure and lets the query be tried again.
func (l *launcher) failed(a attempt, err error) {
	l.log.Debug("a query failed", "query", a.Number, "kind", a.Kind, "error", err)
	a.failed++
	l.stats.failed(a.Query, err, a.failed >= mostTries)
	if a.failed < mostTries {
		l.queue.back(a)
	}
}

// turn waits until the rate allows a call, or until ctx ends. The limiter's own
// Wait gives up at once where the turn would come after ctx's deadline, which is
// no failure of the call's.
func turn(ctx context.Context, rate *rate.Limiter) error {
	r := rate.Reserve()
	if pause(ctx, r.Delay()); ctx.Err() != nil {
		r.Cancel()
		return context.Cause(ctx)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
