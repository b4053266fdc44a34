package lease_test

import (
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestPredecessorsLeasesAreFreeAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(8)...)
		for _, sh := range f.shards { // as a process that was killed leaves them
			row := lease.Row{Shard: sh.ID, Owner: "a", Counter: 5, Term: 3, Checkpoint: stream.Position{Sequence: stream.TrimHorizon}}
			if _, err := f.table.Create(t.Context(), row); err != nil {
				t.Fatal(err)
			}
		}
		f.predecessor = "a"
		next := f.start("b")
		took := f.within(2*time.Second, "taken over", func() bool { return sum(f.loads(next)) == 8 })
		t.Logf("taken over %s after the restart", took)
		next.end()
	})
}
