package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

const (
	fleetShards = 8
	leaseTime   = 10 * time.Second // of a worker as it is set by default

	// afterCrash bounds the time until others have the shards of a worker that ended
	// without a word: somebody waits for its leases to run out, and no longer.
	afterCrash = leaseTime * 2
)

// fleet is workers that share a stream, each a process.
type fleet struct {
	*machine
	stream *aws.Stream
	db     *aws.Redshift
}

// member is one worker of a fleet.
type member struct {
	*process
	fleet *fleet
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	return newFleetOf(t, fleetShards)
}

func newFleetOf(t *testing.T, shards int) *fleet {
	t.Helper()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", strconv.Itoa(shards), "--file", "/dev/null")
	// The SDK reads one environment for the whole test process, so the way to this
	// machine is in the client.
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(m.url, "http://"))
	}}
	account, err := aws.Open(t.Context(), aws.Options{Region: "us-east-1", HTTPClient: &http.Client{Transport: local{transport}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	return &fleet{m, account.Stream("order-events"), account.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"})}
}

// local asks under a name that the local AWS answers to.
type local struct{ *http.Transport }

func (l local) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Host = "127.0.0.1"
	return l.Transport.RoundTrip(r)
}

func (f *fleet) join(settings ...string) *member {
	f.t.Helper()
	return &member{f.worker(append(settings, anyAddr)...), f}
}

// onEC2 is what makes a worker see the instance's notices.
func (f *fleet) onEC2() []string {
	return []string{"AWS_EC2_METADATA_DISABLED=false", "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + f.url}
}

// shards are those that the worker reads now, by its own account.
func (m *member) shards() []string {
	s, err := m.fleet.status(m.address())
	if err != nil { // it is stopped
		return nil
	}
	var ids []string
	for _, shard := range s.Shards {
		ids = append(ids, shard.ID)
	}
	return ids
}

// open are the shards that take records.
func (f *fleet) open() []stream.Shard {
	f.t.Helper()
	all, err := f.stream.Shards(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(s stream.Shard) bool { return s.Closed })
}

// held waits until the members read all open shards between them, each shard
// once, and within so many of each other.
func (f *fleet) held(within int, members ...*member) {
	f.t.Helper()
	var want []string
	for _, s := range f.open() {
		want = append(want, s.ID)
	}
	var shares [][]string
	f.await(fmt.Sprintf("%d workers hold %d shards within %d of each other", len(members), len(want), within), func() (bool, error) {
		var all []string
		shares = nil
		least, most := len(want), 0
		for _, m := range members {
			mine := m.shards()
			shares, all = append(shares, mine), append(all, mine...)
			least, most = min(least, len(mine)), max(most, len(mine))
		}
		slices.Sort(all)
		return slices.Equal(all, want) && most-least <= within, nil
	})
	f.t.Logf("shares: %q", shares)
}

// taking is an entry of a worker's log: it has taken a lease.
type taking struct {
	Time                       time.Time
	Msg, Shard, Worker, Reason string
}

// takings are the leases that the members have taken so far.
func takings(members ...*member) (out []taking) {
	for _, m := range members {
		for _, line := range strings.Split(m.output(), "\n") {
			var entry taking
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "lease taken" {
				out = append(out, entry)
			}
		}
	}
	return out
}

// took is how long after that time the last of the members' leases was taken, by the
// clock that all share.
func (f *fleet) took(since time.Time, members ...*member) time.Duration {
	f.t.Helper()
	last := time.Duration(-1 << 63)
	for _, taken := range takings(members...) {
		last = max(last, taken.Time.Sub(since))
	}
	f.t.Logf("the last shard was taken after %v", last.Round(time.Millisecond))
	return last
}

// handed fails the test if the members had the shards of a worker that has left otherwise
// than from its hand. On a free machine it takes a fraction of a second, and on any nobody
// waits for a lease to run out.
func (f *fleet) handed(left *member, at time.Time, members ...*member) {
	f.t.Helper()
	f.took(at, members...)
	for _, taken := range takings(members...) {
		if strings.Contains(taken.Reason, left.name()+" stopped renewing") || taken.Time.After(at) && taken.Reason == "nobody took it for long" {
			f.t.Errorf("the lease of %s had to run out: %+v", taken.Shard, taken)
		}
	}
}

// flow puts orders on the stream while the test goes on; the returned function
// waits for the last of them.
func (f *fleet) flow(count, rate int) (published func()) {
	f.t.Helper()
	p := start(f.t, f.env, "analytics-worker", "publish", "--count", strconv.Itoa(count), "--rate", strconv.Itoa(rate), "--bad", "0.01", "--seed", "31")
	return func() {
		f.t.Helper()
		if status := p.exit(patience); status != 0 {
			f.t.Fatalf("publish ended with status %d: %s", status, p.output())
		}
	}
}

// began is the worker's first word. Until its program has come up seconds pass on a machine
// that does much else.
func (m *member) began() (first taking) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(m.await(`"msg":"starting"`)), &first); err != nil {
		m.t.Fatal(err)
	}
	return first
}

func (m *member) name() string { return m.began().Worker }

// leave waits for the worker's own clean end.
func (m *member) leave() time.Time {
	m.t.Helper()
	if status := m.exit(patience); status != 0 {
		m.t.Errorf("status %d, want 0", status)
	}
	return time.Now()
}

func (f *fleet) lifecycleCalls() (summaries []string) {
	f.t.Helper()
	var calls []struct{ Summary string }
	if err := json.Unmarshal(f.admin(http.MethodGet, "/_localaws/calls?operation=CompleteLifecycleAction", ""), &calls); err != nil {
		f.t.Fatal(err)
	}
	for _, c := range calls {
		summaries = append(summaries, c.Summary)
	}
	return summaries
}

// Workers come and go in every clean way while orders flow and shards split and merge.
func TestG1_G2_FleetHandsOver(t *testing.T) {
	t.Parallel()
	const orders = 4000
	f := newFleet(t)
	published := f.flow(orders, 250)
	a, b, c := f.join(), f.join(), f.join(f.onEC2()...)
	f.held(1, a, b, c)

	a.signal(syscall.SIGTERM)
	left := a.leave()
	f.held(1, b, c)
	f.handed(a, left, b, c)

	open := f.open()
	if err := f.stream.Split(t.Context(), open[0]); err != nil {
		t.Fatal(err)
	}
	if err := f.stream.WaitActive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.stream.Merge(t.Context(), open[3], open[4]); err != nil {
		t.Fatal(err)
	}
	if err := f.stream.WaitActive(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.held(1, b, c)

	f.admin(http.MethodPut, "/_localaws/imds", `{"spot/instance-action":{"action":"terminate","time":"2026-11-23T08:00:00Z"}}`)
	left = c.leave()
	c.await("taking this Spot instance back")
	f.held(0, b)
	f.handed(c, left, b)
	if calls := f.lifecycleCalls(); len(calls) > 0 {
		t.Errorf("a Spot interruption waits for nobody, yet: %q", calls)
	}
	f.admin(http.MethodDelete, "/_localaws/imds", "")

	d := f.join(f.onEC2()...)
	f.held(1, b, d)
	f.admin(http.MethodPut, "/_localaws/imds", `{"autoscaling/target-lifecycle-state":"Terminated"}`)
	left = d.leave()
	f.held(0, b)
	f.handed(d, left, b)
	if calls := f.lifecycleCalls(); len(calls) != 1 || !strings.Contains(calls[0], "i-0123456789abcdef0 CONTINUE") {
		t.Errorf("lifecycle calls %q, want one", calls)
	}

	published()
	f.settled(orders)
	b.signal(syscall.SIGTERM)
	b.leave()
}

// Workers end without a word, or stand still and come back.
func TestG1_G2_G4_FleetCrashAndFreeze(t *testing.T) {
	t.Parallel()
	const orders, late = 2500, 400
	f := newFleet(t)
	published := f.flow(orders, 250)
	a, b, c := f.join(), f.join(), f.join()
	f.held(1, a, b, c)

	best := time.Hour
	for tries := 0; tries < 3 && best > leaseTime/2; tries++ {
		a.kill()
		a = f.join() // on the same machine: it knows that its predecessor has ended
		f.held(1, a, b, c)
		best = min(best, f.took(a.began().Time, a, b, c))
	}
	if best > leaseTime/2 {
		t.Errorf("a worker had the shards of its predecessor after %v, want at most %v", best, leaseTime/2)
	}
	published()
	f.settled(orders)

	// The next load reaches the warehouse late: when others have its shards, which is
	// after afterCrash at the latest. Its worker freezes meanwhile, and another one
	// ends without a word.
	f.faults(fmt.Sprintf(`[{"service":"redshift-data","operation":"BatchExecuteStatement","fault":"delay","count":1,"delay":%q}]`, afterCrash+leaseTime))
	f.must("publish", "--count", strconv.Itoa(late), "--seed", "32")
	frozen, others := f.waiting(2*time.Second, a, b, c)
	frozen.signal(syscall.SIGSTOP)
	others[0].kill()
	killed := time.Now()
	f.held(0, others[1])
	if took := f.took(killed, others[1]); took > afterCrash {
		t.Errorf("the shards were taken %v after the worker had been killed, want at most %v", took, afterCrash)
	}
	frozen.signal(syscall.SIGCONT)
	frozen.await("lease lost")
	frozen.await("the warehouse refused a shard's rows")
	others[0] = f.join()
	f.held(1, frozen, others[0], others[1]) // it works on
	f.settled(orders + late)
	for _, m := range append(others, frozen) {
		m.signal(syscall.SIGTERM)
		m.leave()
	}
}

// waiting is the member that has waited for the warehouse for so long, while no other one
// does, and the others. So it is the one whose load is held up: on a loaded machine
// others wait that long, too, and have their answer before it.
func (f *fleet) waiting(long time.Duration, members ...*member) (one *member, others []*member) {
	f.t.Helper()
	f.await("a load is held up", func() (bool, error) {
		var all []*member
		longest := int64(0)
		for _, m := range members {
			s, err := f.status(m.address())
			if err != nil {
				return false, nil
			}
			if s.Warehouse.WaitingMillis > 0 {
				all, longest = append(all, m), max(longest, s.Warehouse.WaitingMillis)
			}
		}
		if len(all) != 1 || longest < long.Milliseconds() {
			return false, nil
		}
		one = all[0]
		others = slices.DeleteFunc(slices.Clone(members), func(m *member) bool { return m == one })
		return true, nil
	})
	return one, others
}
