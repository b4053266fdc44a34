package lease_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestNewReportsEverythingWrong(t *testing.T) {
	_, err := lease.New(lease.Config{TTL: time.Millisecond, Scan: time.Hour, Sync: -1})
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, want := range []string{"Table", "Self", "lease time", "scan interval", "listing interval"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %q: %v", want, err)
		}
	}
}

func TestOneWorkerTakesAllAndWritesOnceAnInterval(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(200)...)
		f.latency = 5 * time.Millisecond
		w := f.start("w1")
		f.within(2*time.Second, "all 200 taken", func() bool { return sum(f.loads(w)) == 200 })
		f.mu.Lock()
		clear(f.writes)
		f.mu.Unlock()
		for i := range 100 { // positions noted often must not add writes
			time.Sleep(ttl / 10)
			for _, s := range f.shards {
				w.holder.Note(s.ID, stream.Position{Sequence: fmt.Sprint(1000 + i)})
			}
		}
		// 100 s of renewals every TTL/3 - 25 ms.
		f.mu.Lock()
		for id, n := range f.writes {
			if n < 29 || n > 31 {
				t.Errorf("%s was written %d times in 100 s; want one for each 3.3 s", id, n)
			}
		}
		if len(f.writes) != 200 {
			t.Errorf("%d leases renewed", len(f.writes))
		}
		f.mu.Unlock()
		w.end()
		for id, r := range f.rows() {
			if r.Owner != "" || r.Checkpoint.Sequence != "1099" || r.Term != 1 {
				t.Errorf("%s after the release: %+v", id, r)
			}
		}
	})
}

func TestFleetBalancesFromAColdStart(t *testing.T) {
	for _, c := range []struct {
		name  string
		delay time.Duration // between the starts
	}{{"at once", 0}, {"one after the other", 700 * time.Millisecond}, {"four join a settled one", 0}} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				f := newFleet(t, open(200)...)
				f.latency = 5 * time.Millisecond
				ws := []*worker{f.start("w0")}
				if c.name == "four join a settled one" {
					f.within(2*time.Second, "all taken", func() bool { return sum(f.loads(ws...)) == 200 })
				}
				for i := range 4 {
					time.Sleep(c.delay)
					ws = append(ws, f.start(fmt.Sprintf("w%d", i+1)))
				}
				took := f.within(3*ttl, "balanced within one", func() bool {
					l := f.loads(ws...)
					return sum(l) == 200 && l[4]-l[0] <= 1
				})
				t.Logf("balanced after %s", took)
				f.mu.Lock()
				takes := f.takes
				f.mu.Unlock()
				time.Sleep(4 * ttl)
				f.mu.Lock()
				if f.takes != takes {
					t.Errorf("%d leases moved after the fleet was balanced", f.takes-takes)
				}
				f.mu.Unlock()
				for _, w := range ws {
					w.end()
				}
			})
		})
	}
}

func TestCleanHandoverWithinTwoSeconds(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(9)...)
		f.linger = 3 * time.Second // a load in flight
		ws := []*worker{f.start("a"), f.start("b"), f.start("c")}
		f.within(3*ttl, "balanced", func() bool { return slices.Equal(f.loads(ws...), []int{3, 3, 3}) })
		time.Sleep(ttl)
		ws[0].end()
		took := f.within(2*time.Second, "taken over", func() bool { return sum(f.loads(ws[1:]...)) == 9 })
		t.Logf("taken over %s after the release", took)
		ws[1].end()
		ws[2].end()
	})
}

// Who else is alive is asked while a worker drains, too: one that had stopped to read
// the table took everybody for dead once its drain was longer than a lease time.
func TestADrainingWorkerSeesTheOthersAlive(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(4)...)
		f.linger = 4 * ttl // a load in flight
		a, b := f.start("a"), f.start("b")
		f.within(3*ttl, "balanced", func() bool { return slices.Equal(f.loads(a, b), []int{2, 2}) })
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.end()
		}()
		for range 6 {
			time.Sleep(ttl / 2)
			if got := a.holder.View().Owners(time.Now()); len(got) != 2 {
				t.Fatalf("alive are %q, want a and b", got)
			}
		}
		<-ended
		b.end()
	})
}

func TestCrashIsTakenOverInOneAndAHalfLeaseTimes(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(8)...)
		ws := []*worker{f.start("a"), f.start("b"), f.start("c")}
		f.within(3*ttl, "balanced", func() bool { l := f.loads(ws...); return sum(l) == 8 && l[0] >= 2 })
		for i := range 5 {
			time.Sleep(ttl + time.Duration(i)*777*time.Millisecond)
			dead := ws[0]
			dead.behave(cut)
			took := f.within(ttl*3/2, "taken over", func() bool { return sum(f.loads(ws[1:]...)) == 8 })
			t.Logf("taken over %s after the crash", took)
			dead.end()
			ws = append(ws[1:], f.start(fmt.Sprint("new", i)))
			f.within(3*ttl, "balanced", func() bool { l := f.loads(ws...); return sum(l) == 8 && l[0] >= 2 })
		}
		for _, w := range ws {
			w.end()
		}
	})
}

func TestPartitionedWorkerStopsBeforeOthersStart(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(4)...)
		causes := make(chan error, 100)
		f.own = func(ctx context.Context, o *owning) error {
			<-ctx.Done()
			if o.worker.name == "a" {
				causes <- context.Cause(ctx)
			}
			return context.Cause(ctx)
		}
		a, b := f.start("a"), f.start("b")
		f.within(3*ttl, "balanced, and a knows", func() bool {
			return slices.Equal(f.loads(a, b), []int{2, 2}) && len(a.holder.Holds()) == 2
		})
		for len(causes) > 0 { // of leases that b took from a to have its share
			<-causes
		}
		hang := func(ctx context.Context, _ lease.Call, _ func() error) error {
			<-ctx.Done() // packets vanish
			return ctx.Err()
		}
		a.behave(hang)
		f.within(ttl, "a lost its leases", func() bool { return len(causes) == 2 })
		for range 2 {
			if cause := <-causes; !errors.Is(cause, lease.ErrLost) {
				t.Errorf("cause = %v; want ErrLost", cause)
			}
		}
		f.within(ttl/2, "b took over", func() bool { return slices.Equal(f.loads(a, b), []int{0, 4}) })
		a.behave(nil)
		f.within(2*ttl, "a has its share again", func() bool { return slices.Equal(f.loads(a, b), []int{2, 2}) })
		a.end()
		b.end()
	})
}

func TestOwnIsStartedAgainUnderANewTerm(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(1)...)
		var terms []int64
		var starts []time.Time
		f.own = func(ctx context.Context, o *owning) error {
			f.mu.Lock()
			terms, starts = append(terms, o.term.N), append(starts, time.Now())
			n := len(terms)
			f.mu.Unlock()
			switch n {
			case 1:
				return &lease.TermBehindError{Warehouse: 41}
			case 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12:
				return errors.New("the warehouse is away")
			}
			<-ctx.Done()
			return nil
		}
		w := f.start("w")
		f.within(10*ttl, "thirteen starts", func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return len(terms) == 13
		})
		f.mu.Lock()
		if terms[0] != 1 || terms[1] != 42 || terms[12] != 53 {
			t.Errorf("terms = %v", terms)
		}
		if gap := starts[1].Sub(starts[0]); gap > 100*time.Millisecond {
			t.Errorf("the raised term waited %s", gap)
		}
		if gap := starts[12].Sub(starts[11]); gap > ttl/2+100*time.Millisecond {
			t.Errorf("the pause grew to %s", gap)
		}
		f.mu.Unlock()
		if r := f.rows()["shardId-000000000000"]; r.Owner != "w" || r.Term != 53 || r.OwnerSwitches != 0 {
			t.Errorf("row = %+v", r)
		}
		w.end()
	})
}

func TestNoSecondOwnBeforeTheFirstReturned(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(3)...)
		f.linger = 4 * ttl // a load that cannot be stopped
		w := f.start("w")
		f.within(ttl, "all taken", func() bool { return sum(f.loads(w)) == 3 })
		w.behave(cut)
		time.Sleep(2 * ttl)
		w.behave(nil)
		time.Sleep(ttl)
		if n := sum(f.loads(w)); n != 0 {
			t.Errorf("%d leases were taken while the last Own ran", n)
		}
		f.within(2*ttl, "all taken again", func() bool { return sum(f.loads(w)) == 3 })
		w.end()
	})
}

func TestSplitAndMerge(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, stream.Shard{ID: "p"}, stream.Shard{ID: "q"})
		f.initial = stream.AtTime(time.UnixMilli(1_700_000_000_000)) // as INITIAL_POSITION=LATEST becomes
		starts := map[string]stream.Position{}
		f.own = func(ctx context.Context, o *owning) error {
			f.mu.Lock()
			if _, ok := starts[o.term.Shard.ID]; !ok {
				starts[o.term.Shard.ID] = o.term.Start
			}
			f.mu.Unlock()
			return f.read(ctx, o.term.Shard.ID)
		}
		ws := []*worker{f.start("a"), f.start("b")}
		owned := func(n int) func() bool { return func() bool { return sum(f.loads(ws...)) == n } }
		f.within(2*time.Second, "both owned", owned(2))

		f.reshard(stream.Shard{ID: "p1", Parents: []string{"p"}}, stream.Shard{ID: "p2", Parents: []string{"p"}})
		f.within(3*time.Second, "split", owned(3))
		// q ends with p2's merge, but m must wait for p2 as well.
		f.mu.Lock()
		f.shards = append(f.shards, stream.Shard{ID: "m", Parents: []string{"p2", "q"}})
		f.mu.Unlock()
		f.close("q")
		f.within(10*time.Second, "q ended, its child waits", func() bool {
			r := f.rows()
			return r["q"].Ended() && r["m"].Shard == "m" && slices.Equal(r["q"].Children, []string{"m"})
		})
		time.Sleep(ttl)
		if !owned(2)() || f.rows()["q"].Shard == "" {
			t.Errorf("while p2 is open: loads %v, rows %v", f.loads(ws...), f.rows())
		}
		f.close("p2")
		f.within(10*time.Second, "merged", func() bool { return owned(2)() && f.rows()["p2"].Ended() })
		f.within(time.Minute, "finished parents cleaned up", func() bool { return len(f.rows()) == 2 })
		time.Sleep(5 * time.Minute) // they are still listed, and must not come back
		if r := f.rows(); len(r) != 2 || r["p1"].Owner == "" || r["m"].Owner == "" {
			t.Errorf("rows = %+v", r)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for id, want := range map[string]string{"p": stream.AtTimestamp, "q": stream.AtTimestamp, "p1": stream.TrimHorizon, "p2": stream.TrimHorizon, "m": stream.TrimHorizon} {
			if starts[id].Sequence != want {
				t.Errorf("%s started at %v; want %s", id, starts[id], want)
			}
		}
		f.mu.Unlock()
		ws[0].end()
		ws[1].end()
		f.mu.Lock()
	})
}

// TestCreationCrashedAnywhere stops the first worker after each number of
// created rows: the next one must come to the same positions.
func TestCreationCrashedAnywhere(t *testing.T) {
	lineage := []stream.Shard{
		{ID: "a", Closed: true},
		{ID: "b", Parents: []string{"a"}, Closed: true},
		{ID: "c", Parents: []string{"a"}},
		{ID: "d", Parents: []string{"b"}},
		{ID: "e", Parents: []string{"b"}},
	}
	for n := range len(lineage) {
		virtual(t, func(t *testing.T) {
			f := newFleet(t, lineage...)
			f.initial = stream.AtTime(time.UnixMilli(1_700_000_000_000)) // as INITIAL_POSITION=LATEST becomes
			f.full["a"], f.full["b"] = true, true
			var made atomic.Int64
			crashed := f.startWith("first", func(_ context.Context, c lease.Call, do func() error) error {
				if c.Op == "List" || c.Op == "Create" && made.Add(1) <= int64(n) {
					return do()
				}
				return errCut
			})
			time.Sleep(2 * ttl)
			crashed.behave(cut)
			crashed.end()
			if got := len(f.rows()); got != n {
				t.Fatalf("%d rows made before the crash; want %d", got, n)
			}
			starts := map[string]string{}
			f.own = func(ctx context.Context, o *owning) error {
				f.mu.Lock()
				starts[o.term.Shard.ID] = o.term.Start.Sequence
				f.mu.Unlock()
				return f.read(ctx, o.term.Shard.ID)
			}
			next := f.start("next")
			f.within(2*ttl, "the open shards are owned", func() bool { return sum(f.loads(next)) == 3 })
			next.end()
			for _, s := range lineage {
				if starts[s.ID] != stream.AtTimestamp {
					t.Errorf("crash after %d rows: %s started at %q", n, s.ID, starts[s.ID])
				}
			}
		})
	}
}

func TestTakesOverFromKCL(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, stream.Shard{ID: "p"}, stream.Shard{ID: "a", Parents: []string{"p"}}, stream.Shard{ID: "b", Parents: []string{"p"}}, stream.Shard{ID: "c"})
		f.full["p"] = true
		f.initial = stream.AtTime(time.UnixMilli(1_700_000_000_000))
		f.table = lease.NewMemory(
			lease.Row{Shard: "p", Owner: "kcl", Counter: 900, Checkpoint: stream.Position{Sequence: stream.ShardEnd}, Children: []string{"a", "b"}},
			lease.Row{Shard: "a", Owner: "kcl", Counter: 77, Checkpoint: stream.Position{Sequence: "495", Sub: 3}, OwnerSwitches: 4, Parents: []string{"p"}},
			lease.Row{Shard: "b", Counter: 5, Checkpoint: stream.Position{Sequence: stream.TrimHorizon}, OwnerSwitches: 1, Parents: []string{"p"}},
			lease.Row{Shard: "c", Counter: 1, Checkpoint: stream.Position{Sequence: stream.AtTimestamp}},
			lease.Row{Shard: "gone", Owner: "kcl", Counter: 8, Checkpoint: stream.Position{Sequence: "3"}},
		)
		starts := map[string]stream.Position{}
		f.own = func(ctx context.Context, o *owning) error {
			f.mu.Lock()
			starts[o.term.Shard.ID] = o.term.Start
			f.mu.Unlock()
			return f.read(ctx, o.term.Shard.ID)
		}
		w := f.start("w")
		f.within(time.Second, "free ones at once", func() bool { return sum(f.loads(w)) == 2 })
		f.within(ttl*3/2, "KCL's after a lease time", func() bool { return sum(f.loads(w)) == 3 })
		f.within(time.Minute, "the finished one cleaned up", func() bool { return len(f.rows()) == 4 })
		want := map[string]stream.Position{"a": {Sequence: "495", Sub: 3}, "b": {Sequence: stream.TrimHorizon}, "c": f.initial}
		f.mu.Lock()
		for id, p := range want {
			if starts[id] != p {
				t.Errorf("%s started at %v; want %v", id, starts[id], p)
			}
		}
		f.mu.Unlock()
		rows := f.rows()
		if r := rows["a"]; r.OwnerSwitches != 5 || r.Term != 1 {
			t.Errorf("row of a = %+v", r)
		}
		if r := rows["gone"]; r.Owner != "kcl" || r.Counter != 8 {
			t.Errorf("a row that is none of ours was touched: %+v", r)
		}
		w.end()
	})
}

// TestChaos lets a fleet live through faults drawn from a seed. The fleet's own
// checks watch over terms, overlaps and lineage; at the end all must be owned.
func TestChaos(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			virtual(t, func(t *testing.T) { chaos(t, rand.New(rand.NewPCG(seed, 3))) })
		})
	}
}

func chaos(t *testing.T, rng *rand.Rand) {
	f := newFleet(t, open(1+rng.IntN(8))...)
	f.latency = time.Duration(rng.IntN(40)) * time.Millisecond
	f.linger = time.Duration(rng.IntN(3000)) * time.Millisecond
	leaves := open(len(f.shards))
	var ws []*worker
	for i := range 2 + rng.IntN(3) {
		ws = append(ws, f.start(fmt.Sprint("w", i)))
	}
	for i := range 15 {
		time.Sleep(time.Duration(rng.Int64N(int64(ttl))))
		k := rng.IntN(len(ws))
		w := ws[k]
		switch rng.IntN(7) {
		case 0:
			w.behave(cut)
		case 1:
			w.behave(func(ctx context.Context, _ lease.Call, _ func() error) error { <-ctx.Done(); return ctx.Err() })
		case 2:
			w.behave(func(_ context.Context, _ lease.Call, do func() error) error {
				if err := do(); err != nil || rand.N(3) > 0 {
					return err
				}
				return errCut
			})
		case 3:
			w.behave(nil)
		case 4:
			w.end()
			ws[k] = f.start(fmt.Sprint("v", i))
		case 5: // split
			j := rng.IntN(len(leaves))
			a, b := stream.Shard{ID: fmt.Sprint("s", i, "a"), Parents: []string{leaves[j].ID}}, stream.Shard{ID: fmt.Sprint("s", i, "b"), Parents: []string{leaves[j].ID}}
			f.reshard(a, b)
			leaves[j] = a
			leaves = append(leaves, b)
		case 6: // merge
			if len(leaves) < 2 {
				continue
			}
			m := stream.Shard{ID: fmt.Sprint("m", i), Parents: []string{leaves[0].ID, leaves[1].ID}}
			f.reshard(m)
			leaves = append(leaves[2:], m)
		}
	}
	for _, w := range ws {
		w.behave(nil)
	}
	f.within(6*ttl, "every open shard owned, evenly", func() bool {
		l := f.loads(ws...)
		return sum(l) == len(leaves) && l[len(l)-1]-l[0] <= 1
	})
	f.within(2*time.Minute, "finished shards cleaned up", func() bool { return len(f.rows()) == len(leaves) })
	for _, w := range ws {
		w.end()
	}
}
