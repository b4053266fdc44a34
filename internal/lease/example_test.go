package lease_test

import (
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Two shards after a split: the parent is read to its end, one child is another
// worker's, and nobody has the other.
func ExamplePlan() {
	now := time.Date(2026, 11, 20, 8, 15, 30, 0, time.UTC)
	horizon := stream.Position{Sequence: stream.TrimHorizon}
	view := lease.View{
		At: now, TTL: 10 * time.Second, Synced: true,
		Shards: []stream.Shard{{ID: "shard-1", Parents: []string{"shard-0"}}, {ID: "shard-2", Parents: []string{"shard-0"}}},
		Rows: []lease.Seen{
			{Row: lease.Row{Shard: "shard-1", Parents: []string{"shard-0"}, Owner: "worker-b", Term: 1, Counter: 9, Checkpoint: horizon}, Changed: now.Add(-time.Second)},
			{Row: lease.Row{Shard: "shard-2", Parents: []string{"shard-0"}, Checkpoint: horizon}, Changed: now.Add(-time.Second)},
		},
	}
	for _, a := range lease.Plan(view, "worker-a", now) {
		fmt.Println(a.Kind, a.Row.Shard)
	}
	// An owner that has not renewed for the lease time counts as dead.
	view.Rows[0].Changed = now.Add(-time.Minute)
	for _, a := range lease.Plan(view, "worker-a", now) {
		fmt.Println("later:", a.Kind, a.Row.Shard)
	}
	// Unordered output:
	// take shard-2
	// later: take shard-2
	// later: take shard-1
}
