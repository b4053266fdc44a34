package lease_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

var (
	orders   = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:1:stream/orders", Created: time.UnixMilli(1_700_000_000_000).UTC()}
	remade   = stream.Identity{ARN: orders.ARN, Created: orders.Created.Add(time.Hour)}
	payments = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:1:stream/payments", Created: orders.Created}
)

// starts notes where each Own begins, by shard.
func (f *fleet) starts() func() map[string][]stream.Position {
	out := map[string][]stream.Position{}
	f.own = func(ctx context.Context, o *owning) error {
		f.mu.Lock()
		out[o.term.Shard.ID] = append(out[o.term.Shard.ID], o.term.Start)
		f.mu.Unlock()
		return f.read(ctx, o.term.Shard.ID)
	}
	return func() map[string][]stream.Position {
		f.mu.Lock()
		defer f.mu.Unlock()
		copied := map[string][]stream.Position{}
		for id, ps := range out {
			copied[id] = slices.Clone(ps)
		}
		return copied
	}
}

// A shard that KCL left at LATEST begins at one time for all of its owners,
// none of whom has loaded anything.
func TestLatestIsOneTimeForAllOwners(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(4)...)
		f.stream = orders
		for _, s := range f.shards {
			if _, err := f.table.Create(t.Context(), lease.Row{Shard: s.ID, Counter: 41, Checkpoint: stream.Position{Sequence: stream.Latest}}); err != nil {
				t.Fatal(err)
			}
		}
		starts := f.starts()
		began := time.Now()
		a := f.start("a")
		f.within(ttl, "all owned", func() bool { return sum(f.loads(a)) == 4 })
		time.Sleep(time.Hour)
		a.behave(cut) // a crash, as far as anybody can see
		b := f.start("b")
		f.within(2*ttl, "b has them", func() bool { return sum(f.loads(b)) == 4 })
		c := f.start("c")
		f.within(3*ttl, "c has its share", func() bool { return slices.Equal(f.loads(b, c), []int{2, 2}) })
		for id, ps := range starts() {
			for _, p := range ps {
				if p != ps[0] || p.Sequence != stream.AtTimestamp || p.Time().After(began) || began.Sub(p.Time()) > 3*time.Second {
					t.Errorf("%s began at %v; want a time just before %v each time", id, ps, began.UTC())
				}
			}
			if len(ps) < 2 {
				t.Errorf("%s had one owner", id)
			}
			if r := f.rows()[id]; r.Checkpoint != ps[0] {
				t.Errorf("the row of %s says %v", id, r.Checkpoint)
			}
		}
		a.end()
		b.end()
		c.end()
	})
}

func TestRowsLearnTheirStream(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(2)...)
		f.stream = orders
		if _, err := f.table.Create(t.Context(), lease.Row{Shard: f.shards[0].ID, Term: 7, Checkpoint: stream.Position{Sequence: "5"}}); err != nil {
			t.Fatal(err)
		}
		w := f.start("w")
		f.within(ttl, "both owned", func() bool { return sum(f.loads(w)) == 2 })
		rows := f.rows()
		for _, s := range f.shards {
			if !rows[s.ID].Stream.Equal(orders) {
				t.Errorf("row %+v", rows[s.ID])
			}
		}
		if r := rows[f.shards[0].ID]; r.Checkpoint.Sequence != "5" || r.Term != 8 {
			t.Errorf("the adopted row: %+v", r)
		}
		w.end()
	})
}

// Two streams on one table: the second is refused, also where both begin in an
// empty one at once, and the first reads all of its shards.
func TestASecondStreamIsRefused(t *testing.T) {
	for _, together := range []bool{false, true} {
		t.Run(fmt.Sprint("together=", together), func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				first, second := newFleet(t, open(6)...), newFleet(t, open(6)...)
				first.stream, second.stream, second.table = orders, payments, first.table
				first.latency, second.latency = 20*time.Millisecond, 20*time.Millisecond
				a := first.start("a")
				if !together {
					first.within(ttl, "all owned", func() bool { return sum(first.loads(a)) == 6 })
				}
				b := second.start("b")
				time.Sleep(time.Minute)
				// Whose row comes first has the table.
				if first.rows()["shardId-000000000000"].Stream.ARN == payments.ARN {
					first, second, a, b = second, first, b, a
				}
				if n, m := sum(first.loads(a)), sum(second.loads(b)); n != 6 || m != 0 {
					t.Errorf("the first works on %d shards, the second on %d", n, m)
				}
				if n := b.tells("ERROR", first.stream.ARN, second.stream.ARN, "two streams cannot share one"); n < 3 {
					t.Errorf("the second has told it %d times in a minute: %q", n, b.said)
				}
				if len(b.holder.Alarms()) != 1 || b.counted == 0 || len(a.holder.Alarms()) != 0 {
					t.Errorf("alarms %v and %v, %d counted", a.holder.Alarms(), b.holder.Alarms(), b.counted)
				}
				a.end()
				b.end()
			})
		})
	}
}

// A stream that is deleted and made anew under running workers: the work on the
// old one's shards ends in order, and the new one's are read from the beginning,
// whatever the old rows say.
func TestAStreamMadeAnewUnderRunningWorkers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, stream.Shard{ID: "s0", Closed: true}, stream.Shard{ID: "s1", Parents: []string{"s0"}}, stream.Shard{ID: "s2", Parents: []string{"s0"}}, stream.Shard{ID: "s3"})
		f.stream, f.full["s0"] = orders, true
		f.initial = stream.AtTime(orders.Created)
		causes := make(chan error, 100)
		var starts atomic.Pointer[map[string]stream.Position]
		starts.Store(&map[string]stream.Position{})
		f.own = func(ctx context.Context, o *owning) error {
			if o.term.Stream.Equal(remade) {
				next := map[string]stream.Position{o.term.Shard.ID: o.term.Start}
				for id, p := range *starts.Load() {
					next[id] = p
				}
				starts.Store(&next)
				<-ctx.Done()
				return nil
			}
			err := f.read(ctx, o.term.Shard.ID)
			if !errors.Is(err, lease.ErrEnded) {
				causes <- err
			}
			return err
		}
		w := f.start("w")
		f.within(2*ttl, "three owned, s0 read to its end", func() bool { return sum(f.loads(w)) == 3 && f.rows()["s0"].Ended() })
		for _, id := range []string{"s1", "s2", "s3"} {
			w.holder.Note(id, stream.Position{Sequence: "77"})
		}
		f.mu.Lock()
		f.stream, f.shards = remade, []stream.Shard{{ID: "s0"}, {ID: "s1"}}
		f.full = map[string]bool{}
		f.terms = map[string]int64{} // a new row may begin at a low term: the warehouse knows better
		f.mu.Unlock()
		f.within(time.Minute, "the new stream's two shards are owned", func() bool { return len(*starts.Load()) == 2 && sum(f.loads(w)) == 2 })
		for range 3 {
			if cause := <-causes; !errors.Is(cause, lease.ErrDraining) {
				t.Errorf("the old shards' work ended by %v, want ErrDraining: what was read can still be loaded", cause)
			}
		}
		for id, p := range *starts.Load() {
			if p.Sequence != stream.TrimHorizon {
				t.Errorf("%s begins at %v", id, p)
			}
		}
		f.within(time.Minute, "the old rows are gone", func() bool {
			rows := f.rows()
			return len(rows) == 2 && rows["s0"].Stream.Equal(remade) && rows["s1"].Stream.Equal(remade)
		})
		if n := w.tells("ERROR", "deleted and made anew"); n != 1 {
			t.Errorf("told %d times: %q", n, w.said)
		}
		w.end()
	})
}

// The warehouse says that an open shard has ended. That is told once it has
// lasted, and the work begins by itself when the position is mended there.
func TestAnOpenShardAtItsEndIsToldAndRecovers(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(2)...)
		var mended atomic.Bool
		f.own = func(ctx context.Context, o *owning) error {
			if o.term.Shard.ID == f.shards[0].ID && !mended.Load() {
				c := lease.OpenEnded(o.term.Shard.ID, time.Time{})
				return &c
			}
			o.worker.holder.Note(o.term.Shard.ID, stream.Position{Sequence: "1"})
			return f.read(ctx, o.term.Shard.ID)
		}
		w := f.start("w")
		time.Sleep(50 * time.Second)
		if a := w.holder.Alarms(); len(a) != 0 {
			t.Errorf("an alarm over what may be late news: %v", a)
		}
		time.Sleep(time.Minute)
		if a := w.holder.Alarms(); len(a) != 1 || a[0].Shard != f.shards[0].ID || a[0].Wrong != lease.ReadToItsEnd {
			t.Errorf("alarms %v", a)
		}
		if n := w.tells("ERROR", f.shards[0].ID, "read to its end"); n < 2 || n > 5 || w.counted != 1 {
			t.Errorf("told %d times in 50 s, counted %d: %q", n, w.counted, w.said)
		}
		mended.Store(true)
		f.within(ttl, "the work begins", func() bool { return len(w.holder.Alarms()) == 0 && sum(f.loads(w)) == 2 })
		w.end()
	})
}

// The lease says it, and the warehouse does not: nothing needs to be done, and
// no lease row to be touched by hand.
func TestAnOpenShardWhoseRowIsAtItsEndIsTaken(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(2)...)
		row := lease.Row{Shard: f.shards[0].ID, Term: 9, Checkpoint: stream.Position{Sequence: stream.ShardEnd}, Children: []string{"x", "y"}}
		if _, err := f.table.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		starts := f.starts()
		w := f.start("w")
		f.within(100*time.Second, "both owned", func() bool { return sum(f.loads(w)) == 2 })
		if p := starts()[row.Shard]; len(p) != 1 || p[0].Sequence != stream.TrimHorizon {
			t.Errorf("it begins at %v", p)
		}
		w.end()
	})
}

// A shard that vanished with nobody to say so is told by one of the workers,
// once, and its row goes.
func TestAVanishedShardIsToldOnce(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, stream.Shard{ID: "b", Parents: []string{"a"}}, stream.Shard{ID: "c", Parents: []string{"a"}})
		f.full["a"] = true // for the harness: nobody will read it
		row := lease.Row{Shard: "a", Owner: "dead", Term: 3, Checkpoint: stream.Position{Sequence: "495"}}
		if _, err := f.table.Create(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		ws := []*worker{f.start("u"), f.start("v"), f.start("w")}
		f.within(2*ttl, "the children are owned", func() bool { return sum(f.loads(ws...)) == 2 })
		f.within(4*time.Minute, "its row is gone", func() bool { return len(f.rows()) == 2 })
		told, counted := 0, 0
		for _, w := range ws {
			told += w.tells("ERROR", "vanished from the stream while no worker owned it", "| a |")
			counted += w.counted
			if len(w.holder.Alarms()) != 0 {
				t.Errorf("alarms %v", w.holder.Alarms())
			}
		}
		if told != 1 || counted != 1 {
			t.Errorf("told %d times, counted %d", told, counted)
		}
		for _, w := range ws {
			w.end()
		}
	})
}

func TestAnUnreadableRowIsToldAgainAndAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(2)...)
		if _, err := f.table.Create(t.Context(), lease.Row{Shard: f.shards[0].ID, Unreadable: "leaseOwner is not a string"}); err != nil {
			t.Fatal(err)
		}
		w := f.start("w")
		time.Sleep(65 * time.Second)
		if n := w.tells("ERROR", f.shards[0].ID, "leaseOwner is not a string"); n < 4 || n > 6 || w.counted != 1 {
			t.Errorf("told %d times in 65 s, counted %d: %q", n, w.counted, w.said)
		}
		if err := f.table.Delete(t.Context(), lease.Row{Shard: f.shards[0].ID}); err != nil {
			t.Fatal(err)
		}
		f.within(time.Minute, "it is made anew and owned", func() bool { return sum(f.loads(w)) == 2 && len(w.holder.Alarms()) == 0 })
		w.end()
	})
}

// DynamoDB is away for long: the log says so as long as it lasts.
func TestALongOutageIsToldAgainAndAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(2)...)
		w := f.start("w")
		f.within(ttl, "owned", func() bool { return sum(f.loads(w)) == 2 })
		w.behave(cut)
		time.Sleep(2 * time.Minute)
		if n := w.tells("ERROR", "cannot look after the leases"); n < 6 || n > 8 {
			t.Errorf("told %d times in 2 min: %q", n, w.said)
		}
		if a := w.holder.Alarms(); len(a) != 1 || !strings.Contains(a[0].What, errCut.Error()) {
			t.Errorf("alarms %v", a)
		}
		w.behave(nil)
		f.within(2*ttl, "owned again", func() bool { return sum(f.loads(w)) == 2 && len(w.holder.Alarms()) == 0 })
		w.end()
	})
}

// A table that is deleted under running workers is made again by whoever
// notices, with the positions that the warehouse knows: a child that nobody has
// claimed yet begins at its oldest record then, and not at the initial position.
func TestADeletedTableIsMadeAgain(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, stream.Shard{ID: "p", Closed: true}, stream.Shard{ID: "q"}, stream.Shard{ID: "c", Parents: []string{"p", "q"}})
		f.full["p"] = true
		f.initial = stream.AtTime(time.UnixMilli(1_700_000_000_000))
		var deleted atomic.Bool
		var remakes atomic.Int64
		gone := func(_ context.Context, _ lease.Call, do func() error) error {
			if deleted.Load() {
				return fmt.Errorf("read the table: %w", stream.ErrGone)
			}
			return do()
		}
		f.remake = func(ctx context.Context) error { // the new table is empty
			if remakes.Add(1) > 1 {
				return nil
			}
			rows, err := f.table.List(ctx)
			for _, r := range rows {
				err = errors.Join(err, f.table.Delete(ctx, r))
			}
			deleted.Store(false)
			return err
		}
		warehouse := []lease.Row{
			{Shard: "q", Checkpoint: stream.Position{Sequence: "495"}, Term: 4},
			{Shard: "p", Checkpoint: stream.Position{Sequence: stream.ShardEnd}, Term: 3},
			{Shard: "long-ago", Checkpoint: stream.Position{Sequence: stream.ShardEnd}, Term: 3},
		}
		past := []lease.Row(nil)
		f.past = func(context.Context) ([]lease.Row, error) { return past, nil }
		ws := []*worker{f.startWith("a", gone), f.startWith("b", gone)}
		f.within(2*ttl, "q is owned", func() bool { return sum(f.loads(ws...)) == 1 && f.rows()["p"].Ended() })
		past = warehouse
		f.mu.Lock()
		f.terms = map[string]int64{} // they begin again at the warehouse's
		f.tableLost = true
		f.mu.Unlock()
		deleted.Store(true)
		took := f.within(ttl, "q is owned again", func() bool { return f.rows()["q"].Term == 5 && sum(f.loads(ws...)) == 1 })
		t.Logf("owned again after %s", took)
		if n := ws[0].tells("the lease table is gone") + ws[1].tells("the lease table is gone"); n == 0 {
			t.Errorf("nobody said so: %q, %q", ws[0].said, ws[1].said)
		}
		f.within(time.Minute, "the child has its row", func() bool { return f.rows()["c"].Shard == "c" })
		if p := f.rows()["c"].Checkpoint; p.Sequence != stream.TrimHorizon {
			t.Errorf("the child begins at %v", p)
		}
		for _, w := range ws {
			w.end()
		}
	})
}
