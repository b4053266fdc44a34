package vitals

import (
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
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

// A table that was deleted and made anew has no row of a worker that hangs. One that
// gets no lease again, where another has two, is lost; one that gets one is not.
func TestWhoIsNotInATableMadeAnewIsLost(t *testing.T) {
	p, at := newPeers(), noon
	const ttl = 10 * time.Second
	see := func(rows ...lease.Row) {
		at = at.Add(time.Second)
		v := lease.View{At: at, TTL: ttl}
		for _, r := range rows {
			v.Rows = append(v.Rows, lease.Seen{Row: r, Changed: at})
		}
		p.see(at, v, "me")
	}
	row := func(shard, owner string, counter int64) lease.Row {
		return lease.Row{Shard: shard, Owner: owner, Counter: counter}
	}
	for range 5 {
		see(row("1", "me", 50), row("2", "vm-7-AAAAAA", 60), row("3", "vm-8-BBBBBB", 70))
	}
	see() // the table is gone
	see(row("1", "me", 1), row("2", "", 0), row("3", "", 0))
	for i := range 25 {
		if got := p.missed(at); i < 20 && len(got) > 0 {
			t.Fatalf("%d s after: %+v", i, got)
		}
		see(row("1", "me", 1), row("2", "vm-8-BBBBBB", 1), row("3", "me", 1))
	}
	if got := p.missed(at); len(got) != 1 || got[0].Worker != "vm-7-AAAAAA" {
		t.Errorf("one that hung meanwhile: %+v", got)
	}
	see(row("1", "me", 2), row("2", "vm-8-BBBBBB", 2), row("3", "vm-7-AAAAAA", 2))
	if got := p.missed(at); len(got) != 0 {
		t.Errorf("it goes on: %+v", got)
	}
	see(row("1", "me", 1), row("2", "vm-8-BBBBBB", 1), row("3", "other-9-CCCCCC", 1))
	for range 25 {
		see(row("1", "me", 2), row("2", "vm-8-BBBBBB", 2), row("3", "other-9-CCCCCC", 2))
	}
	if got := p.missed(at); len(got) != 0 {
		t.Errorf("one that stands by, as each has one shard: %+v", got)
	}
}

// What a table said that cannot be read any more is no sign of who has died since.
func TestNobodyIsDeadWhoCannotBeSeen(t *testing.T) {
	w := &Watch{c: Config{Worker: "me", Shared: true}, peers: newPeers()}
	view := lease.View{At: noon, TTL: 10 * time.Second, Rows: []lease.Seen{{Row: lease.Row{Shard: "1", Owner: "vm-7-AAAAAA"}, Changed: noon.Add(-3 * time.Second)}}}
	for _, later := range []time.Duration{0, 8 * time.Second, time.Minute} {
		now := noon.Add(later)
		w.peers.see(now, view, "me")
		if l := w.leases(now, worker.Status{}, view); len(l.Dead) > 0 || len(l.Missed) > 0 || l.Unowned > 0 {
			t.Errorf("%v after the table was read last: %+v", later, l)
		}
	}
	view.At = noon.Add(8 * time.Second)
	if l := w.leases(view.At, worker.Status{}, view); len(l.Dead) != 1 {
		t.Errorf("the table was read, and it did not renew: %+v", l)
	}
}
