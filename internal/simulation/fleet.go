package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// The times of a simulated fleet. They are virtual, but each poll and renewal
// of them is a real call, so they are as long as the tests of faults allow.
const (
	leaseTime = 3 * time.Second
	scanTime  = 1500 * time.Millisecond
	syncTime  = 12 * time.Second
	pollTime  = 1500 * time.Millisecond
	// loadPatience is how long a worker waits for a sign of the one that loads.
	loadPatience = 1500 * time.Millisecond
	// settleTime is how long a fleet may take to settle once all faults have ended.
	// The longest wait there is: a call of 30 s that the SDK gives up. Where a load takes
	// ten seconds, and a refused row a dozen loads to be found, it is settleTimeAtPace.
	settleTime       = 3 * time.Minute
	settleTimeAtPace = 15 * time.Minute
	// drainLimit is how long a worker may drain that no notice gives more.
	drainLimit       = 12 * time.Second
	drainLimitAtPace = 2 * time.Minute
)

const (
	leaseTable  = "leases"
	lettersURL  = "s3://letters/rejected"
	stagingURL  = "s3://staging/orders"
	mostWorkers = 4
	mostOpen    = 4 // shards
	mostHosts   = 2 // that workers run on
)

// Fleet is some workers on one stream, and what they are to bring about. One
// goroutine uses it at a time.
type Fleet struct {
	world   *World
	renewed int    // how often
	leases  string // the name of the lease table
	seats   string // the folder of the workers' seats
	live    []*member
	ended   []*Running // whose goroutines may not have
	leaving []*member  // told to stop; they may have
	moody   bool       // the warehouse has moods
	// together says that most workers stage their batches for whoever loads; the
	// others are as those of older versions.
	together bool
	mixed    bool // what is published is of all kinds, and not of orders alone
	// restless says that since the last schedule somebody may have ended, or lost a
	// shard; orphans are the parked rows of before, which nobody tries any more.
	restless bool
	orphans  map[int]bool
	troubled time.Time // when something last stood in the way of calls; zero = never
	born     int
	shards   int // made so far
	expect   expectation
	pending  []timed // what ends later
	log      strings.Builder
	tally    *tally
	began    time.Time
	replays  *rand.Rand // when somebody loads a range again; nil = never
	// spoil stands between the workers and the wire, for tests of the oracle.
	spoil func(http.RoundTripper) http.RoundTripper
}

type member struct {
	name    string
	number  int // counted from 1
	link    *link
	machine *machine
	seat    service.Seat
	run     *Running

	told   time.Time // to stop; zero = not yet
	notice aws.Notice
}

// timed is something to do at a time.
type timed struct {
	at time.Time
	do func(context.Context) error
}

// NewFleet starts a local AWS in memory, with a stream, a lease table and
// buckets. At Redshift's pace its loads take longer than its leases last. The
// caller closes the Fleet.
func NewFleet(ctx context.Context, shards int, atPace bool) (*Fleet, error) {
	w, err := NewWorld(ctx, Options{Shards: shards, InMemory: true, Tiny: true, Letters: lettersURL, AtPace: atPace})
	if err != nil {
		return nil, err
	}
	f := &Fleet{world: w, leases: leaseTable, tally: newTally()}
	if f.seats, err = os.MkdirTemp("", "seats"); err != nil {
		return nil, f.fail(err)
	}
	f.begin()
	for _, url := range []string{lettersURL, stagingURL} {
		b, err := w.Account.Bucket(url)
		if err == nil {
			err = b.EnsureBucket(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("make the bucket of %s: %w", url, f.fail(err))
		}
	}
	if err := w.Account.LeaseTable(f.leases).Ensure(ctx); err != nil {
		return nil, f.fail(err)
	}
	return f, nil
}

// begin forgets what was: nothing is published, and nobody born.
func (f *Fleet) begin() {
	f.live, f.ended, f.leaving, f.pending, f.born = nil, nil, nil, nil, 0
	f.restless, f.orphans, f.troubled = false, make(map[int]bool), time.Time{}
	f.shards, f.began = f.world.Options.Shards, time.Now()
	f.expect = expectation{things: make(map[thing][]happened)}
	f.log.Reset()
}

// renew kills what runs and gives the fleet a world as good as new.
func (f *Fleet) renew(ctx context.Context) error {
	f.end()
	f.begin()
	f.renewed++
	f.leases = fmt.Sprintf("%s-%d", leaseTable, f.renewed)
	return errors.Join(
		f.world.renew(ctx, fmt.Sprintf("%s-%d", StreamName, f.renewed)),
		f.world.Account.LeaseTable(f.leases).Ensure(ctx),
	)
}

func (f *Fleet) fail(err error) error {
	return errors.Join(err, f.world.Close(), os.RemoveAll(f.seats))
}

// Close kills what runs and ends the local AWS.
func (f *Fleet) Close() error {
	f.end()
	return errors.Join(f.world.Close(), os.RemoveAll(f.seats))
}

// end kills what runs, and waits for the end of what ran.
func (f *Fleet) end() {
	for len(f.live) > 0 {
		f.crash(0)
	}
	for _, r := range f.ended {
		r.Kill() // one that was told to stop may not have ended yet
	}
}

// note writes a line of the story that a failure tells.
func (f *Fleet) note(format string, args ...any) {
	fmt.Fprintf(&f.log, "%8.3fs  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}

// Run lets the schedule happen, ends all faults, and asks the oracle, which
// goes by the checker too where full is set.
func (f *Fleet) Run(ctx context.Context, s schedule, rng *rand.Rand, full bool) error {
	for size := pick(rng, 1, 1, 2, 2, 3); f.count() < size; {
		if err := f.start(ctx, 1); err != nil {
			return err
		}
	}
	for _, st := range s {
		if err := f.until(ctx, time.Now().Add(st.wait)); err != nil {
			return err
		}
		f.note("%s", st)
		if err := f.take(ctx, st, rng); err != nil {
			return fmt.Errorf("%s: %w", st, err)
		}
		if f.replays != nil && f.replays.IntN(4) == 0 {
			if err := f.replayAtRandom(ctx, f.replays); err != nil {
				return err
			}
		}
	}
	// What was begun with an end of its own is seen to its end, in half of the
	// schedules; in the others the end comes sooner.
	if rng.IntN(2) == 0 {
		for len(f.pending) > 0 {
			if err := f.until(ctx, f.pending[0].at); err != nil {
				return err
			}
		}
	}
	if err := f.settle(ctx, full); err != nil {
		return err
	}
	return f.forgetParked(ctx)
}

// until waits until t and does what falls due on the way.
func (f *Fleet) until(ctx context.Context, t time.Time) error {
	for {
		at, due := t, false
		if len(f.pending) > 0 && !f.pending[0].at.After(t) {
			at, due = f.pending[0].at, true
		}
		if err := sleep(ctx, time.Until(at)); err != nil {
			return err
		}
		if !due {
			return nil
		}
		p := f.pending[0]
		f.pending = f.pending[1:]
		if err := p.do(ctx); err != nil {
			return err
		}
	}
}

func (f *Fleet) later(d time.Duration, do func(context.Context) error) {
	f.pending = append(f.pending, timed{time.Now().Add(d), do})
	slices.SortStableFunc(f.pending, func(a, b timed) int { return a.at.Compare(b.at) })
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *Fleet) drainLimit() time.Duration {
	if f.world.Options.AtPace {
		return drainLimitAtPace
	}
	return drainLimit
}

// patience is how long the fleet may take to settle.
func (f *Fleet) patience() time.Duration {
	if f.world.Options.AtPace {
		return settleTimeAtPace
	}
	return settleTime
}

func (f *Fleet) count() int { return len(f.live) }

// take makes one step happen.
func (f *Fleet) take(ctx context.Context, s step, rng *rand.Rand) error {
	if len(f.live) == 0 && s.verb != doStart {
		if err := f.start(ctx, 1); err != nil {
			return err
		}
	}
	switch s.verb {
	case doPublish, doFault, doMood, doVerify, doLinger:
	default:
		f.restless = true
	}
	switch s.verb {
	case doFreeze, doCut, doFault:
		f.troubled = time.Now()
	}
	switch s.verb {
	case doMood:
		return f.fall(s)
	case doPublish:
		f.tally.event("a burst of records")
		return f.publish(ctx, s.n, rng)
	case doSplit, doMerge:
		return f.reshard(ctx, s)
	case doStart:
		if f.count() < mostWorkers {
			f.tally.event("a worker more")
			if s.pace != 1 {
				f.tally.struck("a worker whose clock is off")
			}
			return f.start(ctx, s.pace)
		}
	case doDrain:
		f.drain(s.n % f.count())
	case doCrash:
		f.tally.struck("a worker killed")
		f.crash(s.n % f.count())
		f.later(s.lasts, func(ctx context.Context) error { return f.start(ctx, 1) })
	case doFreeze:
		m := f.live[s.n%f.count()]
		m.link.freeze()
		f.later(s.lasts, func(context.Context) error { f.troubled = time.Now(); m.link.thaw(); return nil })
	case doCut:
		m := f.live[s.n%f.count()]
		m.link.cut(s.service, s.how)
		f.later(s.lasts, func(context.Context) error { f.troubled = time.Now(); m.link.heal(s.service); return nil })
	case doFault:
		if s.alone {
			s.fault.Caller = f.live[s.n%f.count()].name
		}
		f.tally.arm(s.fault)
		return f.world.Local.Faults().Put(append(f.world.Local.Faults().List(), s.fault))
	case doKCL:
		return f.leaveToKCL(ctx, rng)
	case doVerify:
		return f.glance(ctx)
	}
	return nil
}

// start starts a worker. A clock that runs at another pace than the others'
// shows in every wait of the worker's; there is no other time of day that a
// worker goes by.
func (f *Fleet) start(ctx context.Context, pace float64) error {
	f.born++
	f.restless = f.restless || f.count() > 0
	m := &member{name: fmt.Sprintf("worker-%d", f.born), number: f.born, machine: newMachine()}
	var err error
	if m.seat, err = service.TakeSeat(f.seats, fmt.Sprintf("%s-host-%d", f.leases, f.born%mostHosts), m.name); err != nil {
		return fmt.Errorf("seat %s: %w", m.name, err)
	}
	client := f.world.Client(func(next http.RoundTripper) http.RoundTripper {
		if f.spoil != nil {
			next = f.spoil(next)
		}
		m.link = newLink(signedAs{next, m.name}, f.tally)
		return m.link
	})
	scaled := func(d time.Duration) time.Duration { return time.Duration(float64(d) / pace) }
	c := Worker{
		Client: client, Name: m.name, Seat: m.seat, Instance: m.machine, LeaseTable: f.leases, DrainTimeout: f.drainLimit(),
		TTL: scaled(leaseTime), Scan: scaled(scanTime), Sync: scaled(syncTime), PollInterval: scaled(pollTime), BatchSize: 100,
		Patience: scaled(loadPatience), RetryAfter: retryTimes,
	}
	if f.together && f.born%4 != 3 {
		c.Staging, c.LoadInterval = stagingURL, scaled(pollTime/3)
	}
	switch f.born % 8 {
	case 0, 4:
		c.Staging = stagingURL
	case 1:
		c.BatchSize = 6 // several loads of one burst
	case 2, 5:
		c.LoadRows = 3 // loads that end within a record
	}
	if m.run, err = f.world.Start(context.WithoutCancel(ctx), c); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	f.live = append(f.live, m)
	f.note("%s starts", m.name)
	return nil
}

// crash ends a worker's process as far as the world can tell; its goroutines
// end once they notice.
func (f *Fleet) crash(i int) {
	m := f.live[i]
	f.live = slices.Delete(f.live, i, i+1)
	f.note("%s dies", m.name)
	f.restless = true
	m.kill()
	f.ended = append(f.ended, m.run)
}

// reshard splits or merges open shards that lie side by side.
func (f *Fleet) reshard(ctx context.Context, s step) error {
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	switch {
	case s.verb == doSplit && len(open) < mostOpen:
		f.tally.event("a split")
		f.shards += 2
		return f.world.Stream.Split(ctx, open[s.n%len(open)])
	case s.verb == doMerge && len(open) > 1:
		i := s.n % (len(open) - 1)
		f.tally.event("a merge")
		f.shards++
		return f.world.Stream.Merge(ctx, open[i], open[i+1])
	}
	return nil
}

// openShards lists the open shards by the keys that they hold.
func (f *Fleet) openShards(ctx context.Context) ([]stream.Shard, error) {
	// Faults of listing strike the fleet, not its surroundings.
	var shards []stream.Shard
	err := f.insist(ctx, func() (err error) {
		shards, err = f.world.Stream.Shards(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	open := slices.DeleteFunc(shards, func(s stream.Shard) bool { return s.Closed })
	slices.SortFunc(open, func(a, b stream.Shard) int { return stream.CompareSequence(a.HashStart, b.HashStart) })
	return open, nil
}

// insist tries a few times.
func (f *Fleet) insist(ctx context.Context, do func() error) (err error) {
	for range 5 {
		if err = do(); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// standing are the faults that no healing ends.
func (f *Fleet) standing() []fault.Fault {
	if f.moody {
		return []fault.Fault{forGood, forGoodByCopy}
	}
	return nil
}

// heal ends every fault.
func (f *Fleet) heal(ctx context.Context) error {
	f.tally.disarm(f.world.Local.Faults().List())
	if len(f.world.Local.Faults().List()) > 0 || slices.ContainsFunc(f.live, func(m *member) bool { return m.link.troubled() }) {
		f.troubled = time.Now()
	}
	if err := f.world.Local.Faults().Put(f.standing()); err != nil {
		return err
	}
	for _, m := range f.live {
		m.link.restore()
	}
	pending := f.pending
	f.pending = nil
	for _, p := range pending {
		if err := p.do(ctx); err != nil {
			return err
		}
	}
	if f.count() == 0 {
		return f.start(ctx, 1)
	}
	for f.count() > mostWorkers-1 {
		f.drain(0)
	}
	return nil
}
