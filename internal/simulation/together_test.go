package simulation

import (
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// togetherWorld is a world in a bubble with workers that load together.
func togetherWorld(t *testing.T, shards, workers int, c Worker) (*World, []*Running) {
	t.Helper()
	o := Options{Shards: shards, InMemory: true, Tiny: true, Dir: t.TempDir()}
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
	c.Staging, c.LeaseTable, c.TTL = stagingBucket(t, w), leaseTable, leaseTime
	if err := w.Account.LeaseTable(c.LeaseTable).Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	var all []*Running
	for i := range workers {
		c.Name = fmt.Sprintf("worker-%d", i+1)
		r, err := w.Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Kill)
		all = append(all, r)
		await(t, "the worker has its share", func() bool { return len(r.Worker.Status().Shards) > 0 })
	}
	await(t, "the shards are shared", func() bool {
		for _, r := range all {
			if len(r.Worker.Status().Shards) != shards/workers {
				return false
			}
		}
		return true
	})
	return w, all
}

// TestWorkersLoadTogether: four workers are always in one load, so that there are
// about as many loads as one worker would make.
func TestWorkersLoadTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bursts = 10
		w, all := togetherWorld(t, 4, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second})
		for n := range bursts {
			put(t, w, plain(100+n))
			put(t, w, plain(200+n))
			<-time.After(3 * time.Second)
		}
		sum := func(of func(r *Running) int64) (n int64) {
			for _, r := range all {
				n += of(r)
			}
			return n
		}
		await(t, "all is loaded", func() bool {
			return sum(func(r *Running) int64 { return r.Metrics.EventsWritten.Value() }) == bursts*20
		})
		checkOK(t, w)
		alone, together := int64(0), sum(func(r *Running) int64 { return r.Fleet.Status().Loads })
		for _, r := range all {
			if r.Fleet.Status().Loader != all[0].Fleet.Status().Loader {
				t.Errorf("who loads is %s to one and %s to another", all[0].Fleet.Status().Loader, r.Fleet.Status().Loader)
			}
		}
		t.Log(alone, together)
	})
}
