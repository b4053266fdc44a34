package simulation

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// Eight workers that start at the same moment, at Redshift's pace, soon share the shards
// and read all of them, be it that one of them reads all until then: each claims what it
// has in one transaction, as claims come one after another, between loads.
func TestWorkersThatStartAtOnceReadSoon(t *testing.T) {
	t.Parallel()
	const workers, shards = 8, 16
	for name, there := range map[string]int{"all": 0, "all but one": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newCrew(t, Options{Shards: shards, AtPace: true}, there, Worker{TTL: 10 * time.Second, PollInterval: time.Second, LoadInterval: time.Second})
				before, began := f.calls.Load(), time.Now()
				for range workers - there {
					f.begin()
				}
				await(t, "all shards are read by their owners", func() bool {
					var reads []string
					for _, r := range f.all {
						mine := r.Worker.Status().Shards
						if len(mine) != shards/workers {
							return false
						}
						for _, s := range mine {
							reads = append(reads, s.ID)
						}
					}
					slices.Sort(reads)
					return len(slices.Compact(reads)) == shards
				})
				took, claims := time.Since(began), f.calls.Load()-before
				t.Logf("it took %v, and %d transactions", took, claims)
				if took > 30*time.Second || claims > workers*3/2 { // a worker that another was ahead of looks again
					t.Errorf("it took %v and %d transactions, want 30 s and one of each worker, or little more", took, claims)
				}
			})
		})
	}
}

// A worker that has read nothing yet, as its claims wait, knows nothing of its shards,
// and does not say that all is well.
func TestNothingIsFineBeforeItIsRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newCrew(t, Options{Shards: 4, AtPace: true}, 0, Worker{TTL: 10 * time.Second, PollInterval: time.Second, LoadInterval: time.Second})
		put(t, f.w, spread(800, 40))
		strike(t, f.w, fault.Fault{Service: "kinesis", Operation: "GetRecords", Kind: fault.Delay, Delay: fault.Duration(2 * time.Second), Count: 4})
		r := f.begin()
		reads := func() bool {
			return slices.ContainsFunc(r.Worker.Status().Shards, func(s worker.ShardStatus) bool { return s.Read })
		}
		causes := map[verdict.Cause]bool{}
		await(t, "all shards are read", func() bool {
			v := r.Watch.Verdict()
			if v.State == verdict.Fine && !reads() {
				t.Errorf("nothing is read yet, and it says: %s", v.Says)
			}
			causes[v.Cause] = true
			if lag, known := r.Metrics.BehindCommitted.Value(); known && !r.Worker.Status().Read() && lag == 0 {
				t.Error("not all is read yet, and its metric says that nothing is behind")
			}
			return r.Worker.Status().Read()
		})
		if !causes[verdict.Starting] {
			t.Errorf("it says %v, and not that it is starting", causes)
		}
		f.settles(40)
		await(t, "all is well", func() bool { return r.Watch.Verdict().State == verdict.Fine })
	})
}

// A lease table that is older than the warehouse's tables, as after a change of schema,
// has a hole begin that nobody would see: it is told.
func TestTablesThatAreNewerThanTheLeasesAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told atomic.Int64
		log := slog.New(countsLines{"the warehouse does not know the shard": &told})
		f := newCrew(t, Options{Shards: 4, Log: log}, 1, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		put(t, f.w, spread(810, 40))
		f.settles(40)
		drainsWithin(t, f.all[0], drainTime)
		if n := told.Load(); n != 0 {
			t.Errorf("of shards that are new to all it is told %d times", n)
		}
		f.join()
		drainsWithin(t, f.all[1], drainTime)
		if n := told.Load(); n != 0 {
			t.Errorf("of shards that the warehouse knows it is told %d times", n)
		}
		if _, err := f.w.DB.Run(deadline(t), warehouse.Token(), []string{"DELETE FROM worker_checkpoints WHERE stream_name = '" + StreamName + "'"}); err != nil {
			t.Fatal(err)
		}
		f.join()
		await(t, "all shards are read", func() bool { return f.all[2].Worker.Status().Read() && len(f.all[2].Worker.Status().Shards) == 4 })
		if n := told.Load(); n != 4 {
			t.Errorf("it is told of %d shards, want 4", n)
		}
	})
}
