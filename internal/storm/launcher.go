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
}

// Statement is how a query stands.
type Statement struct {
	Ended     bool
	Err       error         // of one that ended without success
	HasResult bool          // there are pages to fetch
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
)

// launcher keeps queries in flight.
type launcher struct {
	house  Warehouse
	name   string // that queries carry, and a number behind it
	queue  *backlog
	limit  *limit
	gate   *gate
	pool   *pool
	stats  *stats
	log    *slog.Logger
	submit *rate.Limiter
	look   *rate.Limiter
	page   *rate.Limiter
	cancel *rate.Limiter

	mu     sync.Mutex // guards flying
	flying map[string]time.Time
}

func newLauncher(c Config, p *pool, s *stats) *launcher {
	limiter := func(perSecond float64) *rate.Limiter {
		return rate.NewLimiter(rate.Limit(perSecond), max(1, int(perSecond/5)))
	}
	return &launcher{
		house: c.Warehouse, name: c.Name, queue: &backlog{next: c.Sequence.Query}, limit: newLimit(c.Concurrency, c.Leave), gate: newGate(),
		pool: p, stats: s, log: c.Log, flying: make(map[string]time.Time),
		submit: limiter(submitRate), look: limiter(lookRate), page: limiter(pageRate), cancel: limiter(cancelRate),
	}
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

// gate lets as many queries start as the loop has granted for the time until its
// next measurement.
type gate struct {
	mu      sync.Mutex // guards what follows
	left    int
	changed chan struct{}
}

func newGate() *gate { return &gate{changed: make(chan struct{})} }

// set grants starts, in place of those that were not used.
func (g *gate) set(starts int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = starts
	close(g.changed)
	g.changed = make(chan struct{})
}

// pass waits until a query may start, and uses one of the starts.
func (g *gate) pass(ctx context.Context) error {
	for {
		g.mu.Lock()
		left, changed := g.left, g.changed
		if left > 0 {
			g.left--
		}
		g.mu.Unlock()
		if left > 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// run starts queries until ctx ends, and returns once none of its goroutines
// touches one any more. What is in flight then is left to cancelAll.
func (l *launcher) run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	rest := time.Duration(0) // after failures in a row
	for ctx.Err() == nil {
		if err := l.ready(ctx); err != nil {
			return
		}
		a := l.queue.take()
		id, err := l.start(ctx, a)
		switch {
		case err == nil:
			rest = 0
			all.Go(func() {
				defer l.limit.give()
				l.finish(ctx, a, id)
			})
			continue
		case ctx.Err() != nil:
			l.limit.give()
			return
		case errors.Is(err, warehouse.ErrTooMany):
			l.stats.refused()
			l.limit.full()
			l.queue.back(a)
		case errors.Is(err, warehouse.ErrThrottled):
			l.stats.refused()
			l.limit.throttled(time.Now())
			l.queue.back(a)
		default:
			l.failed(a, err)
		}
		l.limit.give()
		rest = min(mostRest, max(firstRest, 2*rest))
		pause(ctx, rest/2+rand.N(rest/2))
	}
}

// ready waits until a query may start, and takes its place.
func (l *launcher) ready(ctx context.Context) error {
	for {
		ok, freed := l.limit.take()
		if ok {
			break
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := turn(ctx, l.submit)
	if err == nil {
		err = l.gate.pass(ctx)
	}
	if err != nil {
		l.limit.give()
	}
	return err
}

// start submits a query and notes it as in flight.
func (l *launcher) start(ctx context.Context, a attempt) (string, error) {
	// A submission whose reply is lost would run unknown: the call is seen to its
	// end even when the storm ends meanwhile.
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	id, err := l.house.Submit(cctx, fmt.Sprintf("%s-%d-%s", l.name, a.Number, a.Kind), a.SQL)
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	l.flying[id] = time.Now()
	l.mu.Unlock()
	l.limit.accepted()
	l.stats.started()
	return id, nil
}

func (l *launcher) landed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.flying, id)
}

// finish follows a query to its end and has its result processed.
func (l *launcher) finish(ctx context.Context, a attempt, id string) {
	s, err := l.follow(ctx, id)
	if err != nil {
		return // the storm ends: the query stays in flight for cancelAll
	}
	l.landed(id)
	if s.Err != nil {
		l.failed(a, s.Err)
		return
	}
	l.stats.ran(a.Query, s)
	sum, err := l.consume(ctx, a, id, s.HasResult)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		l.failed(a, err)
	default:
		l.stats.finished(a.Query, sum)
	}
}

// follow looks at a query until it has ended. A look that fails says nothing of
// the query.
func (l *launcher) follow(ctx context.Context, id string) (Statement, error) {
	for wait := firstLook; ; wait = min(wait*3/2, mostLook) {
		pause(ctx, wait*4/5+rand.N(wait*2/5))
		if err := turn(ctx, l.look); err != nil {
			return Statement{}, err
		}
		s, err := l.house.Look(ctx, id)
		switch {
		case ctx.Err() != nil:
			return Statement{}, context.Cause(ctx)
		case err == nil && s.Ended:
			return s, nil
		case err != nil:
			l.log.Debug("cannot ask how a query stands; asking again", "id", id, "error", err)
		}
	}
}

// consume fetches the result page by page and hands each to the processors. It
// fetches no page before there is room for it, so that memory is bounded whatever
// the result is, and returns when all of them are processed.
func (l *launcher) consume(ctx context.Context, a attempt, id string, has bool) (Checksum, error) {
	var (
		sum     Checksum
		failed  error
		mu      sync.Mutex // guards sum and failed
		pending sync.WaitGroup
		token   string
	)
	defer pending.Wait()
	for has {
		if err := turn(ctx, l.page); err != nil {
			return sum, err
		}
		rows, bytes, next, err := l.fetch(ctx, id, token)
		if err != nil {
			return sum, fmt.Errorf("fetch the result of query %d (%s): %w", a.Number, a.Kind, err)
		}
		pending.Add(1)
		p := page{query: a.Number, columns: rows.Columns, rows: rows.Rows, bytes: bytes, done: func(out processed, err error) {
			defer pending.Done()
			if err == nil {
				l.stats.processed(out)
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(out.sum)
			failed = errors.Join(failed, err)
		}}
		select {
		case l.pool.pages <- p:
		case <-ctx.Done():
			pending.Done()
			return sum, context.Cause(ctx)
		}
		if token = next; token == "" {
			break
		}
	}
	pending.Wait()
	return sum, failed
}

// fetch gets one page, again while the service throttles.
func (l *launcher) fetch(ctx context.Context, id, token string) (rows warehouse.Result, bytes int, next string, err error) {
	for rest := firstRest; ; rest = min(mostRest, 2*rest) {
		rows, bytes, next, err = l.house.Page(ctx, id, token)
		if err == nil || !errors.Is(err, warehouse.ErrThrottled) || ctx.Err() != nil {
			return rows, bytes, next, err
		}
		l.stats.refused()
		pause(ctx, rest/2+rand.N(rest/2))
	}
}

// failed counts a failure and lets the query be tried again.
func (l *launcher) failed(a attempt, err error) {
	l.stats.failed(a.Query, err)
	l.log.Debug("a query failed", "query", a.Number, "kind", a.Kind, "error", err)
	if a.failed++; a.failed < mostTries {
		l.queue.back(a)
	}
}

// cancelAll ends what is in flight, and reports how much of it did not. told is
// called with what is left, again and again.
func (l *launcher) cancelAll(ctx context.Context, told func(left int)) (left int) {
	l.mu.Lock()
	ids := make([]string, 0, len(l.flying))
	for id := range l.flying {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	left = len(ids)
	for _, id := range ids {
		if l.cancelOne(ctx, id) {
			left--
		}
		told(left)
	}
	return left
}

// cancelOne ends one query and sees that it has ended.
func (l *launcher) cancelOne(ctx context.Context, id string) bool {
	asked := false
	for wait := firstLook; ; wait = min(2*wait, mostLook) {
		if turn(ctx, l.look) != nil {
			return false
		}
		if s, err := l.house.Look(ctx, id); err == nil && s.Ended {
			l.landed(id)
			return true
		}
		if !asked {
			if turn(ctx, l.cancel) != nil {
				return false
			}
			err := l.house.Cancel(ctx, id)
			asked = err == nil
			if err != nil {
				l.log.Debug("cannot cancel a query yet", "id", id, "error", err)
			}
			continue
		}
		if pause(ctx, wait); ctx.Err() != nil {
			return false
		}
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
