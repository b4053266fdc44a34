package vitals

import (
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

func TestMembersAreThoseWithALease(t *testing.T) {
	said := verdict.Finding{Cause: verdict.Quiet, State: verdict.Fine, Says: "well"}
	self := verdict.Self{Version: "v2", Since: time.Unix(1, 0).UTC(), Rate: 3}
	seen := func(r lease.Row) lease.Seen { return lease.Seen{Row: r} }
	rows := []lease.Seen{
		seen(lease.Row{Shard: "1", Owner: "b", Word: verdict.Word(said, self)}),
		seen(lease.Row{Shard: "2", Owner: "b"}),
		seen(lease.Row{Shard: "3", Owner: "a", Word: `{"cause":"caught-up","state":"fine","says":"well"}`}), // of the version before
		seen(lease.Row{Shard: "4", Owner: "c"}),
		seen(lease.Row{Shard: "5"}),
		seen(lease.Row{Shard: "6", Owner: "d", Checkpoint: stream.Position{Sequence: stream.ShardEnd}}),
		{Row: lease.Row{Shard: "7", Owner: "e"}, Foreign: true},
		seen(lease.Row{Shard: "8", Owner: "f", Unreadable: "odd"}),
	}
	got := Members(rows, func(r lease.Seen) bool { return r.Shard == "2" || r.Owner == "a" })
	if len(got) != 3 {
		t.Fatalf("%+v, want a, b and c", got)
	}
	a, b, c := got[0], got[1], got[2]
	if a.Worker != "a" || !a.Alive || a.Shards != 1 || a.Says == nil || a.Self != nil {
		t.Errorf("a is %+v", a)
	}
	if b.Worker != "b" || !b.Alive || b.Shards != 2 || *b.Says != said || *b.Self != self {
		t.Errorf("b is %+v", b)
	}
	if c.Worker != "c" || c.Alive || c.Says != nil || c.Self != nil {
		t.Errorf("c is %+v", c)
	}
}
