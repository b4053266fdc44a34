package storm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Config is what a storm needs. All of it is required but Freshness and Show.
type Config struct {
	Warehouse   Warehouse
	Name        string // prefix of the queries' names
	Sequence    Sequence
	Duration    time.Duration
	Target      float64 // of the CPU, 0.1 to 1
	Concurrency int     // queries in flight at most
	Leave       int     // room for others' statements once the service has refused one
	Seed        uint64
	// Freshness is how old the pipeline's completeness watermark is.
	Freshness func(context.Context) (age time.Duration, known bool)
	Show      func(Snapshot) // called about every ShowEvery; must not block
	ShowEvery time.Duration  // default 1 s
	Metrics   *metrics.Storm
	Log       *slog.Logger
}

// Second is what was measured over one second of a storm.
type Second struct {
	CPU       float64 `json:"cpu"`       // percent
	Own       float64 `json:"own"`       // of it this process's
	Freshness float64 `json:"freshness"` // seconds; -1 = not known
}

// Snapshot is a storm while it runs.
type Snapshot struct {
	Elapsed, Left time.Duration
	Target, CPU   float64 // percent; the CPU's mean over the last second
	History       []Second
	Counts        Counts
	InFlight      int
	Allowed       int  // queries that may be in flight now
	Unread        int  // pages of results that were asked for and not yet fetched
	Full          bool // no query starts, as there are enough of them
	WaitP50       time.Duration
	RunP50        time.Duration
	RunP95        time.Duration
	RowsPerSecond float64
	Made          float64 // share of the processors' work that was made up, 0 to 1
	Freshness     time.Duration
	FreshKnown    bool
	Held          bool // queries are held back: the CPU is above the target
	Down          bool // the warehouse takes no query, for a while
	Failing       bool // it takes queries, and all of them fail
	LastError     string
	Cancelling    int // queries still to be cancelled at the end
}

// ErrCutShort is the cause to end a storm with before its time.
var ErrCutShort = errors.New("the storm was cut short")

// storm is one run.
type storm struct {
	c        Config
	stats    *stats
	pool     *pool
	launcher *launcher
	meter    *Meter
	began    time.Time

	mu        sync.Mutex // guards what follows
	seconds   []Second
	cpu       float64 // of the last tick, 0 to 1
	held      bool
	freshness time.Duration
	fresh     bool // freshness is known
	before    float64
}

// Run runs a storm until its time is over or ctx ends, cancels what is in flight
// then, and reports. The report is whole also when ctx ended. An error says that
// no storm took place.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.ShowEvery == 0 {
		c.ShowEvery = time.Second
	}
	meter, err := NewMeter()
	if err != nil {
		return nil, err
	}
	s := &storm{c: c, stats: newStats(c.Metrics), pool: newPool(), meter: meter}
	s.launcher = newLauncher(c, s.pool, s.stats)
	s.lookAtFreshness(ctx)
	s.before = s.freshAge()
	s.began = time.Now()
	running, stop := context.WithTimeoutCause(ctx, c.Duration, errTimeIsOver)
	defer stop()
	var all sync.WaitGroup
	fed := make(chan struct{})
	all.Go(func() { s.pool.run(running, c.Seed, fed) })
	all.Go(func() { defer close(fed); s.launcher.run(running) })
	all.Go(func() { s.govern(running) })
	all.Go(func() { s.watchFreshness(running) })
	all.Go(func() { s.show(running) })
	<-running.Done()
	whole := errors.Is(context.Cause(running), errTimeIsOver)
	took := time.Since(s.began)
	all.Wait()
	left := s.cancel(ctx)
	s.lookAtFreshness(context.WithoutCancel(ctx))
	c.Metrics.Completed.From(func() (float64, bool) {
		if whole {
			return 1, true
		}
		return 0, true
	})
	return s.report(took, whole, left), nil
}

var errTimeIsOver = errors.New("the storm's time is over")

// govern measures and steers until ctx ends.
func (s *storm) govern(ctx context.Context) {
	loop := newControl(s.c.Target, float64(runtime.GOMAXPROCS(0))/s.meter.Cores())
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var second mean
	blind := false // the CPU could not be measured the last time
	for last := time.Now(); ; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		load, err := s.meter.Load()
		if err != nil {
			if !blind {
				s.c.Log.Error("the CPU cannot be measured; the load stays as it is", "error", err)
			}
			blind = true
			continue
		}
		blind = false
		now := time.Now()
		over := now.Sub(last)
		last = now
		flying, _ := s.launcher.state()
		o := loop.step(load.Busy, load.Own, over, flying)
		s.pool.setDuty(o.duty)
		s.launcher.obey(o)
		second.add(load, over)
		s.note(load, !o.open, &second, now)
	}
}

// mean is the mean load over some ticks.
type mean struct {
	sum  Load // times seconds
	over time.Duration
}

func (m *mean) add(l Load, over time.Duration) {
	m.sum.Busy += l.Busy * over.Seconds()
	m.sum.Own += l.Own * over.Seconds()
	m.over += over
}

func (m *mean) load() Load {
	return Load{m.sum.Busy / m.over.Seconds(), m.sum.Own / m.over.Seconds()}
}

// note keeps what was measured, and the mean once a second is over. A process that
// was not scheduled for seconds has the same for each of them.
func (s *storm) note(l Load, held bool, second *mean, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cpu, s.held = l.Busy, held
	due := int(now.Sub(s.began) / time.Second)
	if len(s.seconds) >= due {
		return
	}
	m := second.load()
	*second = mean{}
	entry := Second{CPU: 100 * m.Busy, Own: 100 * m.Own, Freshness: -1}
	if s.fresh {
		entry.Freshness = s.freshness.Seconds()
	}
	for len(s.seconds) < due {
		s.seconds = append(s.seconds, entry)
		s.c.Metrics.CPU.Observe(entry.CPU)
	}
}

// freshnessEvery is how often the pipeline is looked at.
const freshnessEvery = 5 * time.Second

func (s *storm) watchFreshness(ctx context.Context) {
	for ctx.Err() == nil {
		pause(ctx, freshnessEvery)
		s.lookAtFreshness(ctx)
	}
}

func (s *storm) lookAtFreshness(ctx context.Context) {
	if s.c.Freshness == nil {
		return
	}
	asking, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	age, known := s.c.Freshness(asking)
	if !known && ctx.Err() != nil {
		return // the storm ended while it was asked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freshness, s.fresh = age, known
}

// freshAge is the last known age in seconds, or -1.
func (s *storm) freshAge() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fresh {
		return -1
	}
	return s.freshness.Seconds()
}

// show calls Show until ctx ends, and once more. A call that comes late on a loaded
// machine is of the time at which it was due, so that the times do not drift.
func (s *storm) show(ctx context.Context) {
	if s.c.Show == nil {
		return
	}
	ticker := time.NewTicker(s.c.ShowEvery)
	defer ticker.Stop()
	rows, at := int64(0), time.Now()
	for ctx.Err() == nil {
		var due time.Time
		select {
		case due = <-ticker.C:
		case <-ctx.Done():
			due = time.Now()
		}
		snap := s.snapshot(due)
		now := time.Now()
		snap.RowsPerSecond = float64(snap.Counts.Rows-rows) / now.Sub(at).Seconds()
		rows, at = snap.Counts.Rows, now
		s.c.Show(snap)
	}
}

// historySeconds is how much of the past a Snapshot has.
const historySeconds = 600

// downAfter is after what time of nothing but failures the storm says so.
const downAfter = 10 * time.Second

func (s *storm) snapshot(now time.Time) Snapshot {
	l := s.launcher.limit.state()
	s.stats.mu.Lock()
	counts := s.stats.counts
	s.stats.mu.Unlock()
	down, failing, last := s.stats.trouble(now)
	flying, _ := s.launcher.state()
	unread, most := s.launcher.shelf.state()
	m := s.c.Metrics
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Snapshot{
		Unread: unread, Full: unread >= most,
		Elapsed: now.Sub(s.began), Left: max(0, s.c.Duration-now.Sub(s.began)), Target: 100 * s.c.Target, CPU: 100 * s.cpu,
		History: slices.Clone(s.seconds[max(0, len(s.seconds)-historySeconds):]), Counts: counts, InFlight: flying, Allowed: l.most,
		WaitP50: m.QueueTime.Quantile(0.5), RunP50: m.ExecutionTime.Quantile(0.5), RunP95: m.ExecutionTime.Quantile(0.95),
		Made: s.madeShare(), Freshness: s.freshness, FreshKnown: s.fresh, Held: s.held,
		Down: down, Failing: failing, LastError: last,
	}
	if n := len(s.seconds); n > 0 {
		out.CPU = s.seconds[n-1].CPU
	}
	return out
}

func (s *storm) madeShare() float64 {
	realNanos, madeNanos := float64(s.pool.real.nanos.Load()), float64(s.pool.made.nanos.Load())
	if realNanos+madeNanos == 0 {
		return 0
	}
	return madeNanos / (realNanos + madeNanos)
}

// cancelTime bounds the cancelling of what is in flight at the end: with 500
// queries and 2 calls a second it takes minutes.
const cancelTime = 6 * time.Minute

// cancel ends what is in flight, also when ctx has ended.
func (s *storm) cancel(ctx context.Context) (left int) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	return s.launcher.cancelAll(ctx, func(left int) {
		if s.c.Show != nil {
			snap := s.snapshot(time.Now())
			snap.Cancelling = left
			s.c.Show(snap)
		}
	})
}

// String names the storm for logs.
func (c Config) String() string {
	return fmt.Sprintf("%s at %.0f %% CPU, up to %s", c.Duration, 100*c.Target, plural.Either(c.Concurrency, "query", "queries"))
}
