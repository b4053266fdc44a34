package simulation

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// At Redshift's pace there is time for two loads within a drain: the one under way, and
// one with what was read meanwhile. So all workers have to be in the second one, though
// each call to the bucket takes its time.
func TestAFleetDrainsDuringALoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		workers := withDetector(4, 8)
		f := newCrew(t, Options{Shards: 8, AtPace: true}, workers, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
		waiting := func() int64 { return f.sum(func(r *Running) int64 { return int64(r.Worker.Status().Waiting) }) }
		settled := int64(0)
		for try := 0; ; try++ { // until a load is under way that has all of them
			before := f.calls.Load()
			put(t, f.w, spread(610+try, 80))
			await(t, "a load is under way", func() bool { return f.calls.Load() > before })
			if f.all[f.loader()].Fleet.Status().Waiting == workers {
				break
			}
			settled += 80
			f.settles(settled)
		}
		strike(t, f.w, fault.Fault{Service: "s3", Kind: fault.Delay, Delay: fault.Duration(300 * time.Millisecond)})
		put(t, f.w, spread(700, 80))
		await(t, "all is read", func() bool { return waiting() == 160 })
		var drained sync.WaitGroup
		for _, r := range f.all {
			drained.Go(func() { drainsWithin(t, r, drainTime) })
		}
		drained.Wait()
		if n := f.processed(); n != settled+160 {
			t.Errorf("%d of %d records are loaded", n, settled+160)
		}
		checkOK(t, f.w)
	})
}

// A worker that is told to stop in the midst of a load, and has read more since, begins
// no second one that it has no time for: the next owner of its shards reads on where the
// first one ends, and nothing is cut off in the midst.
func TestALeaverBeginsNoLoadThatItHasNoTimeFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second // a load takes 6 s
		f := newCrew(t, Options{Shards: 4, AtPace: true}, 1, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second, DrainTimeout: limit})
		put(t, f.w, spread(710, 40))
		f.settles(40)
		before := f.calls.Load()
		put(t, f.w, spread(711, 40))
		await(t, "a load is under way", func() bool { return f.calls.Load() > before })
		put(t, f.w, spread(712, 40))
		await(t, "more is read", func() bool { return f.all[0].Worker.Status().Waiting == 80 })
		drainsWithin(t, f.all[0], limit)
		if n := f.processed(); n != 80 {
			t.Errorf("%d records are loaded, want those of two loads, 80", n)
		}
		f.join()
		f.settles(120)
	})
}

// The interval between loads may be longer than a worker has time to stop: it is not
// waited for, by the worker itself or by the one that loads for it.
func TestALeaverDoesNotWaitForTheLoadInterval(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		workers int
		loader  bool // it is the one that loads that stops
	}{
		"alone":              {workers: 1, loader: true},
		"one of four":        {workers: 4},
		"the one that loads": {workers: 4, loader: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newCrew(t, Options{Shards: 4, AtPace: true}, c.workers, Worker{PollInterval: time.Second, LoadInterval: 2 * time.Minute, TTL: 10 * time.Second})
				put(t, f.w, spread(720, 40))
				f.settles(40)
				put(t, f.w, spread(721, 40))
				await(t, "more is read", func() bool { return f.sum(func(r *Running) int64 { return int64(r.Worker.Status().Waiting) }) == 40 })
				<-time.After(5 * time.Second)
				leaver := f.loader()
				if !c.loader {
					leaver = (leaver + 1) % c.workers
				}
				waiting := int64(f.all[leaver].Worker.Status().Waiting)
				before := f.all[leaver].Metrics.RecordsProcessed.Value()
				drainsWithin(t, f.all[leaver], drainTime)
				if n := f.all[leaver].Metrics.RecordsProcessed.Value() - before; n != waiting {
					t.Errorf("%d of the %d records that it had read are loaded", n, waiting)
				}
				checkOK(t, f.w)
			})
		})
	}
}
