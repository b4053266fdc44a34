package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// lingering is a warehouse whose transactions stay a while behind the LOCK, so
// that others begin meanwhile. bend, if not nil, changes their statements.
type lingering struct {
	warehouse.DB
	bend func([]string) []string
	long bool
}

func (l lingering) Run(ctx context.Context, token string, sqls []string) ([]warehouse.Result, error) {
	if l.bend != nil {
		sqls = l.bend(slices.Clone(sqls))
	}
	if l.long {
		sqls = slices.Insert(slices.Clone(sqls), 1, "SELECT COUNT(*) FROM big a, big b WHERE a.n + b.n < 0")
	}
	results, err := l.DB.Run(ctx, token, sqls)
	if err == nil && l.long {
		results = slices.Delete(results, 1, 2)
	}
	return results, err
}

// unshared leaves the shared row as it is.
func unshared(sqls []string) []string {
	for i, s := range sqls {
		if strings.HasPrefix(s, "UPDATE worker_checkpoints") {
			sqls[i] = s + " AND worker_checkpoints.shard_id <> '*'"
		}
	}
	return sqls
}

// overlap is two transactions of the worker's of which the second one has its
// snapshot before the first one commits.
type overlap struct {
	w    *World
	bend func([]string) []string
}

// house is the warehouse as one of the two sees it.
func (o overlap) house(long bool) *warehouse.Warehouse {
	return warehouse.New(lingering{o.w.DB, o.bend, long}, warehouse.Insert{})
}

// run makes both and reports whether one of them met a conflict. Any other error
// is fatal.
func (o overlap) run(t *testing.T, first, second func(*warehouse.Warehouse) error) (conflict bool) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- first(o.house(true)) }()
	for _, err := range []error{second(o.house(false)), <-done} {
		if err != nil && !errors.Is(err, warehouse.ErrConflict) {
			t.Fatal(err)
		}
		conflict = conflict || err != nil
	}
	return conflict
}

func loadOne(ctx context.Context, round int, shard string) func(*warehouse.Warehouse) error {
	return func(house *warehouse.Warehouse) error {
		at := func(n int) stream.Position { return stream.Position{Sequence: fmt.Sprint(n)} }
		_, err := house.Load(ctx, warehouse.Batch{
			Stream: StreamName,
			Moves:  []warehouse.Move{{Shard: shard, Term: 1, From: at(round), To: at(round + 1)}},
			Rows: []warehouse.Row{orderRow(warehouse.Insert{}, 0, event.Order{
				OrderID: fmt.Sprint("order-", round), CustomerID: "c", EventType: "e",
				EventTime: 1e15 + int64(round)*60e6, // a rollup of its own: one that both replace would conflict by itself
			})},
		})
		return err
	}
}

func claimOne(ctx context.Context, shard string, term int64, at int) func(*warehouse.Warehouse) error {
	return func(house *warehouse.Warehouse) error {
		_, err := house.Claim(ctx, StreamName, []warehouse.Claim{{Shard: shard, Term: term, Start: stream.Position{Sequence: fmt.Sprint(at)}}})
		return err
	}
}

// TestG2_G4_SnapshotsBeforeTheLock lets the warehouse take each transaction's
// snapshot before its LOCK gets through. Two transactions that overlap must then
// conflict, whatever they are; and where the shared row is not written they do
// not, which shows that the snapshots are early and that the row is what counts.
func TestG2_G4_SnapshotsBeforeTheLock(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, second func(ctx context.Context, round int) func(*warehouse.Warehouse) error
		doubled       string // what the bent ones leave twice; empty where the shards' rows conflict by themselves
	}{
		"load and load": {
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error { return loadOne(ctx, n, "a") },
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error { return loadOne(ctx, n, "b") },
			"SELECT COUNT(*) - COUNT(DISTINCT order_id) FROM fact_orders",
		},
		"load and claim": {
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error { return loadOne(ctx, n, "a") },
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error {
				return claimOne(ctx, "b", int64(n+2), 0)
			},
			"",
		},
		"first claims": {
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error {
				return claimOne(ctx, fmt.Sprint("new-", n), 1, 0)
			},
			func(ctx context.Context, n int) func(*warehouse.Warehouse) error {
				return claimOne(ctx, fmt.Sprint("new-", n), 2, 0)
			},
			"SELECT COUNT(*) - COUNT(DISTINCT shard_id) FROM worker_checkpoints",
		},
	} {
		t.Run(name, func(t *testing.T) {
			engines(t, func(t *testing.T, url string) {
				w := newWorld(t, Options{Warehouse: url})
				ctx := deadline(t)
				values := strings.TrimSuffix(strings.Repeat("(1),", 2000), ",")
				for _, sqls := range [][]string{{"CREATE TABLE big (n INTEGER)"}, {"INSERT INTO big VALUES " + values}} {
					if _, err := w.DB.Run(ctx, warehouse.Token(), sqls); err != nil {
						t.Fatal(err)
					}
				}
				setFaults(t, w, fault.Fault{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.SnapshotEarly})
				round := 0
				until := func(bend func([]string) []string, enough func(conflict bool) bool) {
					t.Helper()
					o := overlap{w, bend}
					for ; ctx.Err() == nil; round++ {
						if err := errors.Join(reclaim(ctx, w, "a", round), reclaim(ctx, w, "b", round)); err != nil {
							t.Fatal(err)
						}
						if enough(o.run(t, c.first(ctx, round), c.second(ctx, round))) {
							round++
							return
						}
					}
					t.Fatal("the two never overlapped")
				}
				conflicts := 0
				until(nil, func(conflict bool) bool {
					if c.doubled != "" {
						if n := scalar(t, w, c.doubled); n != "0" {
							t.Fatalf("%s too many, by: %s", n, c.doubled)
						}
					}
					if conflict {
						conflicts++
					}
					return conflicts == 3
				})
				if c.doubled != "" {
					until(unshared, func(bool) bool { return scalar(t, w, c.doubled) != "0" })
				}
			})
		})
	}
}

// reclaim puts a shard's checkpoint where a round starts.
func reclaim(ctx context.Context, w *World, shard string, at int) error {
	_, err := w.DB.Run(ctx, warehouse.Token(), []string{
		"DELETE FROM worker_checkpoints WHERE shard_id = " + warehouse.Quote(shard),
		fmt.Sprintf("INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at) VALUES ('%s', '%s', 1, '%d', 0, GETDATE())",
			StreamName, shard, at),
	})
	return err
}

// TestTheOracleMissesTheSharedRow runs two workers on a warehouse whose snapshots
// are early. Without the shared row both make the rollup of one minute, and the
// oracle says so.
func TestTheOracleMissesTheSharedRow(t *testing.T) {
	t.Parallel()
	for name, bend := range map[string]func([]string) []string{"shared": nil, "unshared": unshared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				most := uint64(5)
				if bend == nil { // as every simulated schedule shows, too
					most = 2
				}
				var found error
				f := spoiledFleet(t, 2)
				for seed := uint64(1); seed <= most && found == nil; seed++ {
					if seed > 1 {
						if err := f.renew(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
					found = earlyRun(t, f, bend, seed)
				}
				switch {
				case bend == nil && found != nil:
					t.Error(found)
				case bend != nil && found == nil:
					t.Errorf("the oracle found nothing in %d runs without a shared row", most)
				}
			})
		})
	}
}

// earlyRun lets two workers load bursts at the same moments.
func earlyRun(t *testing.T, f *Fleet, bend func([]string) []string, seed uint64) error {
	t.Helper()
	f.spoil = nil
	if bend != nil {
		f.spoil = func(next http.RoundTripper) http.RoundTripper { return spoiler{next, bend} }
	}
	ctx, rng := t.Context(), rand.New(rand.NewPCG(seed, 5))
	if err := errors.Join(f.start(ctx, 1), f.start(ctx, 1), f.until(ctx, time.Now().Add(4*leaseTime))); err != nil {
		t.Fatal(err)
	}
	early := fault.Fault{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.SnapshotEarly}
	paused := fault.Fault{Service: "redshift-data", Kind: fault.Paused}
	for range 4 { // what waited while the warehouse was paused starts at one moment
		if err := errors.Join(
			f.world.Local.Faults().Put([]fault.Fault{early, paused}), f.publish(ctx, 30, rng), f.until(ctx, time.Now().Add(2*pollTime)),
			f.world.Local.Faults().Put([]fault.Fault{early}), f.until(ctx, time.Now().Add(pollTime)),
		); err != nil {
			t.Fatal(err)
		}
	}
	return f.settle(ctx, true)
}
