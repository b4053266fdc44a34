package simulation

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// drainTime is how long a worker has to drain, as it is set by default.
const drainTime = 25 * time.Second

// crew are workers of a world in a bubble that load together.
type crew struct {
	t     *testing.T
	w     *World
	as    Worker // how its workers are
	all   []*Running
	links []*link
	calls atomic.Int64 // of BatchExecuteStatement
}

// countsBatches counts calls of BatchExecuteStatement.
type countsBatches struct {
	next http.RoundTripper
	n    *atomic.Int64
}

func (c countsBatches) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".BatchExecuteStatement") {
		c.n.Add(1)
	}
	return c.next.RoundTrip(r)
}

// newCrew starts workers that share shards of which each has as many.
func newCrew(t *testing.T, o Options, workers int, c Worker) *crew {
	t.Helper()
	o.InMemory, o.Tiny, o.Dir = true, true, t.TempDir()
	if os.Getenv("SIMULATION_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w, err := NewWorld(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Staging, c.LeaseTable = stagingBucket(t, w), leaseTable
	if c.TTL == 0 {
		c.TTL = leaseTime
	}
	if err := w.Account.LeaseTable(c.LeaseTable).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &crew{t: t, w: w, as: c}
	for range workers {
		f.join()
	}
	await(t, "the shards are shared", func() bool {
		return !slices.ContainsFunc(f.all, func(r *Running) bool { return len(r.Worker.Status().Shards) != o.Shards/workers })
	})
	return f
}

// join starts one more worker, and waits until it has a share.
func (f *crew) join() {
	f.t.Helper()
	r := f.begin()
	await(f.t, "the worker has a share", func() bool { return len(r.Worker.Status().Shards) > 0 })
}

// begin starts one more worker.
func (f *crew) begin() *Running {
	f.t.Helper()
	c := f.as
	c.Name = fmt.Sprintf("worker-%d", len(f.all)+1)
	var l *link
	c.Client = f.w.Client(func(next http.RoundTripper) http.RoundTripper {
		l = newLink(countsBatches{next, &f.calls}, newTally())
		return l
	})
	r, err := f.w.Start(f.t.Context(), c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(r.Kill)
	f.all, f.links = append(f.all, r), append(f.links, l)
	return r
}

// loader is which worker loads, by what all of them say.
func (f *crew) loader() int {
	f.t.Helper()
	name := f.all[0].Fleet.Status().Loader
	for i, r := range f.all {
		if s := r.Fleet.Status(); s.Loader != name {
			f.t.Errorf("who loads is %s to worker-1 and %s to worker-%d", name, s.Loader, i+1)
		}
	}
	var i int
	if _, err := fmt.Sscanf(name, "worker-%d", &i); err != nil {
		f.t.Fatal(err)
	}
	return i - 1
}

func (f *crew) sum(of func(r *Running) int64) (n int64) {
	for _, r := range f.all {
		n += of(r)
	}
	return n
}

func (f *crew) processed() int64 {
	return f.sum(func(r *Running) int64 { return r.Metrics.RecordsProcessed.Value() })
}

// settles waits until so many records are settled, and asks the checker.
func (f *crew) settles(records int64) {
	f.t.Helper()
	await(f.t, fmt.Sprintf("%d records are settled", records), func() bool { return f.processed() == records })
	checkOK(f.t, f.w)
}

// catchesUp waits until so many shards are read and nothing waits, and asks the checker.
// A worker that lost its shard before it heard that its batch is in has counted none of
// it, and nobody else has.
func (f *crew) catchesUp(shards int) {
	f.t.Helper()
	await(f.t, "all is loaded", func() bool {
		read := make(map[string]bool)
		for _, r := range f.all {
			for _, s := range r.Worker.Status().Shards {
				if !s.Read || s.Lag > 0 || s.Waiting > 0 {
					return false
				}
				read[s.ID] = true
			}
		}
		return len(read) == shards
	})
	checkOK(f.t, f.w)
}

// A worker that loads for the others and freezes holds them up for no longer than
// they wait for a sign. What it does when it wakes up changes nothing.
func TestAFrozenLoaderHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, plain(300))
		f.settles(10)
		frozen := f.loader()
		f.links[frozen].freeze()
		began := time.Now()
		put(t, f.w, spread(301, 40))
		others := func() (n int64) {
			for i, r := range f.all {
				if i != frozen {
					n += int64(r.Worker.Status().Waiting)
				}
			}
			return n
		}
		await(t, "the others have read", func() bool { return others() > 0 })
		await(t, "the others have loaded", func() bool { return others() == 0 })
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("it took the others %v", took)
		}
		<-time.After(15 * time.Second)
		f.links[frozen].thaw()
		f.settles(50)
		put(t, f.w, spread(302, 40))
		f.settles(90)
	})
}

// A row of one worker that the warehouse refuses holds the rows of others up for two
// loads: one that is refused, and one without its batch.
func TestOneWorkersPoisonHoldsTheOthersUpForTwoLoads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var refused, loaded atomic.Int64 // loads of the fleet, and not those by which the owner looks for the row
		log := slog.New(countsLines{"the warehouse refuses a load of the fleet": &refused, "loaded for the fleet": &loaded})
		f := newCrew(t, Options{Shards: 4, Log: log}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second, RetryAfter: retryTimes})
		put(t, f.w, spread(400, 40)) // so that all of them are in the last load
		f.settles(40)
		put(t, f.w, spread(401, 40))
		f.settles(80)
		strike(t, f.w, forGoodByCopy)
		before := loaded.Load()
		put(t, f.w, append(spread(402, 40), order("o-poison", poisonCustomer, 1)))
		await(t, "the good rows of three workers are in", func() bool {
			settled := 0
			for _, r := range f.all {
				if s := r.Worker.Status(); s.Waiting == 0 && r.Metrics.RecordsProcessed.Value() > 0 {
					settled++
				}
			}
			return settled >= 3 && f.processed() > 80
		})
		if n, no := loaded.Load()-before, refused.Load(); n > 2 || no > 1 { // one, and one for who came late, who may be the one with the poison
			t.Errorf("it took %d loads, and %d that were refused, until the other workers' rows were in", n, no)
		}
		f.settles(121)
		if no := refused.Load(); no != 1 {
			t.Errorf("%d loads were refused, want one", no)
		}
		if n := f.sum(func(r *Running) int64 { return r.Metrics.RecordsRejected.Value() }); n != 1 {
			t.Errorf("%d rows count as rejected, want the one", n)
		}
	})
}

// spread makes orders that lie in all shards.
func spread(batch, n int) []aws.Entry {
	var out []aws.Entry
	for i := range n / 10 {
		out = append(out, plain(100*batch+i)...)
	}
	return out
}

// Quiet shards of workers that have nothing to load follow the loads of the others:
// the completeness watermark is the fleet's.
func TestQuietShardsFollowTheFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const poll = 2 * time.Second
		f := newCrew(t, Options{Shards: 4}, 4, Worker{PollInterval: poll, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, plain(1))
		f.settles(10)
		for n := range 30 { // all in one shard
			var busy []aws.Entry
			for _, e := range plain(10 + n) {
				busy = append(busy, aws.Entry{PartitionKey: "k", Data: e.Data})
			}
			put(t, f.w, busy)
			<-time.After(time.Second)
			if n < 10 {
				continue
			}
			at, err := warehouse.ParseTimestamp(scalar(t, f.w, "SELECT MIN(arrived_until) FROM worker_checkpoints WHERE stream_name <> '*'"))
			if err != nil {
				t.Fatal(err)
			}
			if behind := time.Since(at); behind > 4*poll {
				t.Fatalf("after %d s all that arrived %v ago is known to be queryable, and no more", n, behind)
			}
		}
		f.settles(310)
		for _, r := range f.all {
			for _, s := range r.Worker.Status().Shards {
				if behind := time.Since(s.ArrivedUntil); behind > 5*poll {
					t.Errorf("the owner of %s believes that it stands at %v ago", s.ID, behind)
				}
			}
		}
	})
}

// A worker that is told to stop while the one that loads is frozen loads what it has
// staged by itself, in time.
func TestADrainBesideAFrozenLoader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4, AtPace: true}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, spread(500, 40))
		f.settles(40)
		frozen := f.loader()
		f.links[frozen].freeze()
		put(t, f.w, spread(501, 40))
		leaver := (frozen + 1) % 4
		await(t, "the leaver has something to load", func() bool { return f.all[leaver].Worker.Status().Waiting > 0 })
		drainsWithin(t, f.all[leaver], drainTime)
		if n := f.all[leaver].Worker.Status().Waiting; n != 0 {
			t.Errorf("%d records were left", n)
		}
		f.links[frozen].thaw()
		f.catchesUp(4)
	})
}

// The whole fleet is told to stop at once, with something to load everywhere.
func TestAFleetDrainsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 8, AtPace: true}, 8, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, spread(510, 80))
		f.settles(80)
		put(t, f.w, spread(511, 80))
		await(t, "all is read", func() bool { return f.sum(func(r *Running) int64 { return int64(r.Worker.Status().Waiting) }) == 80 })
		before := f.calls.Load()
		var drained sync.WaitGroup
		for _, r := range f.all {
			drained.Go(func() { drainsWithin(t, r, drainTime) })
		}
		drained.Wait()
		// One load has them all; one more may begin where who loads next has not heard of it.
		if loads := f.calls.Load() - before; loads > 4 {
			t.Errorf("%d loads were submitted for what one has room for", loads)
		}
		if n := f.processed(); n != 160 {
			t.Errorf("%d of 160 records are loaded", n)
		}
		checkOK(t, f.w)
	})
}

// What a worker staged that died is loaded, or found stale, and removed.
func TestWhatTheDeadStagedIsSwept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, spread(600, 40))
		f.settles(40)
		strike(t, f.w, fault.Fault{Service: "redshift-data", Kind: fault.Paused})
		put(t, f.w, spread(601, 40))
		dead := (f.loader() + 1) % 4
		await(t, "it has staged a batch", func() bool { return f.all[dead].Fleet.Status().Waiting > 0 })
		f.links[dead].kill()
		f.all[dead].Kill()
		<-time.After(3 * time.Second)
		strike(t, f.w)
		await(t, "all is in", func() bool { return scalar(t, f.w, "SELECT COUNT(*) FROM fact_orders") == "80" })
		bucket, err := f.w.Account.Bucket(stagingURL)
		if err != nil {
			t.Fatal(err)
		}
		await(t, "nothing is left in the bucket but words, and news of quiet shards", func() bool {
			names, err := bucket.List(t.Context(), "")
			return err == nil && !slices.ContainsFunc(names, func(name string) bool {
				body, err := bucket.Get(t.Context(), name)
				return err == nil && !strings.HasSuffix(name, "/word.json") && !strings.Contains(string(body), `"News":true`)
			})
		})
		checkOK(t, f.w)
	})
}

// Whoever waits for the load of the fleet tells what that waits for, and does not take
// it for a warehouse that gives no answer.
func TestEachWorkerTellsWhatTheFleetsLoadWaitsFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4, AtPace: true}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, spread(800, 40))
		f.settles(40)
		all := func(what string, is func(v verdict.Verdict, s verdict.Staged) bool) {
			t.Helper()
			await(t, "all say that "+what, func() bool {
				return !slices.ContainsFunc(f.all, func(r *Running) bool { return !is(r.Watch.Verdict(), r.Staged()) })
			})
		}
		strike(t, f.w, fault.Fault{Service: "redshift-data", Kind: fault.Paused})
		put(t, f.w, spread(801, 40))
		all("the warehouse is paused", func(v verdict.Verdict, s verdict.Staged) bool {
			return v.Cause == verdict.WarehousePaused && strings.Contains(v.Says, "has not started it") && s.Batches > 0 && s.Oldest() > 7*time.Second
		})
		strike(t, f.w)
		f.settles(80)

		stranger := []string{"LOCK TABLE worker_load_lock"} // for half a minute, at the pace of writes
		for range 39 {
			stranger = append(stranger, "DELETE FROM fact_orders WHERE 1 = 0")
		}
		var held sync.WaitGroup
		held.Go(func() {
			if _, err := f.w.DB.Run(t.Context(), warehouse.Token(), stranger); err != nil {
				t.Error(err)
			}
		})
		put(t, f.w, spread(802, 40))
		all("somebody holds the lock", func(v verdict.Verdict, _ verdict.Staged) bool { return v.Cause == verdict.WarehouseLocked })
		held.Wait()
		f.settles(120)
		for i, r := range f.all { // neither the lock nor the load before it counts
			if took := r.Worker.Status().Writes.Took; took <= 0 || took > 8*time.Second {
				t.Errorf("worker-%d says that a load took %v", i+1, took)
			}
		}
		all("nothing waits any more", func(v verdict.Verdict, s verdict.Staged) bool {
			return v.State == verdict.Fine && s.Loader != "" && s.Batches == 0
		})
	})
}

// Workers whose role is of an older version may put and delete in the bucket, and not
// list and read: they load for themselves, and wait for nobody.
func TestWithoutTheRightToReadEachLoadsForItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		strike(t, f.w,
			fault.Fault{Service: "s3", Operation: "ListObjectsV2", Kind: fault.AccessDenied},
			fault.Fault{Service: "s3", Operation: "GetObject", Kind: fault.AccessDenied})
		for n := range 5 {
			put(t, f.w, spread(700+n, 40))
			began := time.Now()
			f.settles(int64(40 * (n + 1)))
			if took := time.Since(began); n > 0 && took > 4*time.Second {
				t.Errorf("burst %d took %v", n, took)
			}
		}
	})
}
