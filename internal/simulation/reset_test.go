package simulation

import (
	"errors"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// TestG1_AWrongEndIsUndoneAfterASplit: a shard counts as read to its end although
// records lie in it, it is split, and its children are read. Setting the position
// back and opening the lease again brings in what lies between.
func TestG1_AWrongEndIsUndoneAfterASplit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	ctx := deadline(t)
	table := w.Account.LeaseTable(leaseTable)
	if err := table.Ensure(ctx); err != nil {
		t.Fatal(err)
	}
	g := made(5, 600, 0)
	put(t, w, g[:200])
	r := start(t, w, Worker{LeaseTable: leaseTable})
	settle(t, w, 200)
	if err := r.Drain(); err != nil {
		t.Fatal(err)
	}
	shard := openShards(t, w)[0]
	end := stream.Position{Sequence: stream.ShardEnd}
	rows, err := table.List(ctx)
	for _, row := range rows {
		if row.Shard == shard.ID {
			want := row
			want.Checkpoint = end
			_, err = table.Update(ctx, row, want)
		}
	}
	id, err2 := w.Stream.Identity(ctx)
	err3 := warehouse.ResetPositions(ctx, w.DB, StreamName, id, []warehouse.Reset{{Shard: shard.ID, To: end}}, false)
	if err := errors.Join(err, err2, err3); err != nil {
		t.Fatal(err)
	}
	put(t, w, g[200:400])
	if err := w.Stream.Split(ctx, shard); err != nil {
		t.Fatal(err)
	}
	put(t, w, g[400:])
	r = start(t, w, Worker{LeaseTable: leaseTable, Sync: leaseTime})
	children := 0
	err = Await(ctx, "the children are read", func() (bool, error) {
		children = 0
		for _, s := range r.Worker.Status().Shards {
			if s.ID > shard.ID && s.Position.IsSequence() {
				children++
			}
		}
		return children == 3, nil // the other shard, and two
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := w.Verify(ctx); err != nil || v.OK {
		t.Fatalf("nothing is missing that could be brought back: %+v, %v", v, err)
	}
	shard = func() stream.Shard {
		for _, s := range listed(t, w) {
			if s.ID == shard.ID {
				return s
			}
		}
		return stream.Shard{}
	}()
	horizon := stream.Position{Sequence: stream.TrimHorizon}
	if err := errors.Join(
		warehouse.ResetPositions(ctx, w.DB, StreamName, id, []warehouse.Reset{{Shard: shard.ID, To: horizon}}, false),
		lease.Reopen(ctx, table, id, shard, horizon),
	); err != nil {
		t.Fatal(err)
	}
	settle(t, w, 600)
}
