package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// A load of the fleet that takes minutes and is known to run, or to wait in the
// warehouse, is waited for: loads of each worker's own would wait behind it, and take
// the time of a load each.
func TestALoadThatRunsIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]fault.Fault{
		"runs":   {Service: "redshift-data", Kind: fault.StatementSlow, Match: "LOCK TABLE", Delay: fault.Duration(3 * time.Minute), Count: 1},
		"queued": {Service: "redshift-data", Kind: fault.Paused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newCrew(t, Options{Shards: 4}, 4, Worker{PollInterval: time.Second, LoadInterval: time.Second, TTL: 10 * time.Second})
				put(t, f.w, spread(600, 40)) // so that all of them are in the last load
				f.settles(40)
				put(t, f.w, spread(601, 40))
				f.settles(80)
				strike(t, f.w, slow)
				before := f.calls.Load()
				put(t, f.w, spread(602, 40))
				<-time.After(2 * time.Minute)
				put(t, f.w, spread(603, 40)) // which the workers read, and stage when the load is in
				<-time.After(2 * time.Minute)
				strike(t, f.w)
				f.settles(160)
				if n := f.calls.Load() - before; n > 3 { // two, and one for who came late
					t.Errorf("it took %d loads", n)
				}
			})
		})
	}
}
