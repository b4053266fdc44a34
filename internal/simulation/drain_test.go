package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// drainsWithin fails the test if the worker does not end by itself, cleanly and
// in time.
func drainsWithin(t *testing.T, r *Running, limit time.Duration) {
	t.Helper()
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- r.Drain() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the drain ended with %v", err)
		}
		t.Logf("drained in %v", time.Since(began))
	case <-time.After(limit): // of the virtual clock
		t.Errorf("the drain has not ended in %v: it waits for what nobody will load", limit)
		r.Kill()
		<-ended
	}
}

// drainWorld is a world in a bubble, with a worker that has loaded some orders.
func drainWorld(t *testing.T, c Worker) (*World, *Running) {
	t.Helper()
	w, err := NewWorld(t.Context(), Options{Shards: 1, InMemory: true, Tiny: true, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if c.LeaseTable != "" {
		if err := w.Account.LeaseTable(c.LeaseTable).Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	r, err := w.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	put(t, w, plain(61))
	await(t, "the first orders are loaded", func() bool { return r.Metrics.RecordsProcessed.Value() == 10 })
	return w, r
}

// plain makes ten orders of the present, which is the year 2000 in a bubble.
func plain(batch int) []aws.Entry {
	out := make([]aws.Entry, 10)
	for i := range out {
		id := fmt.Sprintf("o-%d-%d", batch, i)
		out[i] = aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil, `{"order_id":%q,"customer_id":"c","store_id":1,"total_amount":1,"item_count":1}`, id)}
	}
	return out
}

// strike sets faults from within the bubble.
func strike(t *testing.T, w *World, all ...fault.Fault) {
	t.Helper()
	if err := w.Local.Faults().Put(all); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	if err := Await(deadline(t), what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}

// A worker that is told to stop while the warehouse has given its shard to
// another one has nothing left to load: neither what is being loaded, which is
// refused, nor what was read meanwhile, which is thrown away.
func TestDrainEndsWhenItsShardIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r := drainWorld(t, Worker{BatchSize: 10})
		strike(t, w, fault.Fault{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.Delay, Delay: fault.Duration(10 * time.Second), Count: 1})
		put(t, w, plain(62))
		await(t, "a load is under way", func() bool { return !r.Worker.Status().Writes.Waiting.IsZero() })
		put(t, w, plain(63))
		await(t, "more was read meanwhile", func() bool { return r.Worker.Status().Waiting == 20 })
		if _, err := w.DB.Run(deadline(t), warehouse.Token(), []string{"UPDATE worker_checkpoints SET term = term + 1"}); err != nil {
			t.Fatal(err)
		}
		drainsWithin(t, r, time.Minute)
	})
}

// A worker that is told to stop waits for its warehouse as long as its leases
// are its own. Once they are lost, somebody else reads what it has read.
func TestDrainEndsWhenItsLeaseIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r := drainWorld(t, Worker{BatchSize: 10, LeaseTable: leaseTable, TTL: leaseTime})
		strike(t, w, fault.Fault{Service: "redshift-data", Kind: fault.Paused}, fault.Fault{Service: "dynamodb", Kind: fault.InternalError})
		put(t, w, plain(64))
		await(t, "a load waits", func() bool { return !r.Worker.Status().Writes.Waiting.IsZero() })
		drainsWithin(t, r, time.Minute)
	})
}

// unanswered is a warehouse that answers nobody from some moment on.
type unanswered struct {
	next  http.RoundTripper
	armed *atomic.Bool
}

func (u unanswered) RoundTrip(r *http.Request) (*http.Response, error) {
	if !u.armed.Load() || serviceOf(r) != "redshift-data" {
		return u.next.RoundTrip(r)
	}
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

// A fleet notices a worker that cannot stop in time although no fault is left.
func TestTheOracleFindsADrainThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, f, rng := t.Context(), spoiledFleet(t, 1), rand.New(rand.NewPCG(5, 6))
		var armed atomic.Bool
		f.spoil = func(next http.RoundTripper) http.RoundTripper { return unanswered{next, &armed} }
		if err := errors.Join(f.start(ctx, 1), f.until(ctx, time.Now().Add(2*leaseTime))); err != nil {
			t.Fatal(err)
		}
		if err := f.left(ctx, time.Now()); err != nil {
			t.Errorf("nobody was told to stop: %v", err)
		}
		armed.Store(true)
		first := f.live[0]
		if err := f.publish(ctx, 20, rng); err != nil {
			t.Fatal(err)
		}
		await(t, "the burst is read", func() bool { return first.run.Worker.Status().Waiting == 20 })
		f.drain(0)
		if err := f.left(ctx, time.Now().Add(settleTime)); !errors.Is(err, service.ErrOverdue) {
			t.Errorf("the oracle says %v", err)
		}
	})
}

// Staged files are removed behind the loads: an S3 that takes a minute for it
// delays neither a load nor the end.
func TestStagedFilesAreRemovedBehindTheLoads(t *testing.T) {
	t.Parallel()
	for _, slow := range []bool{false, true} {
		t.Run(fmt.Sprintf("slow-%v", slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { removedBehind(t, slow) })
		})
	}
}

func removedBehind(t *testing.T, slow bool) {
	t.Helper()
	w, err := NewWorld(t.Context(), Options{Shards: 1, InMemory: true, Tiny: true, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	staging := stagingBucket(t, w)
	if slow {
		strike(t, w, fault.Fault{Service: "s3", Operation: "DeleteObjects", Kind: fault.Delay, Delay: fault.Duration(time.Minute)})
	}
	r, err := w.Start(t.Context(), Worker{Staging: staging})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	began := time.Now()
	for n := int64(1); n <= 8; n++ {
		put(t, w, plain(70+int(n)))
		await(t, "a load is in", func() bool { return r.Metrics.RecordsProcessed.Value() == 10*n })
	}
	if n := r.Metrics.EventsWritten.Value(); n != 80 {
		t.Fatalf("%d orders are loaded, want 80", n)
	}
	if took, longest := time.Since(began), r.Metrics.WriteDuration.Quantile(1); took > 30*time.Second || longest > 5*time.Second {
		t.Errorf("8 loads took %v, the longest %v by RedshiftWriteDuration", took, longest)
	}
	drainsWithin(t, r, 2*service.TidyTime)
	bucket, err := w.Account.Bucket(staging)
	if err != nil {
		t.Fatal(err)
	}
	left, err := bucket.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if !slow && len(left) > 0 {
		t.Errorf("%d staged files are left: %q", len(left), left)
	}
}

// A worker that is told to stop waits as long as throttles ask for, and does not look
// all the while whether a refused row is due for another try: that held a processor, and
// stops a virtual clock for good.
func TestADrainDoesNotSpinWhileARefusedRowIsDue(t *testing.T) {
	stuck := time.AfterFunc(patience, func() { panic("virtual time stands still: something spins") }) // of the real clock
	defer stuck.Stop()
	synctest.Test(t, func(t *testing.T) {
		w, r := drainWorld(t, Worker{BatchSize: 10, LoadInterval: 10 * time.Second, RetryAfter: []time.Duration{2 * time.Second, time.Minute}})
		strike(t, w, fault.Fault{Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.Throttle, Count: 14})
		put(t, w, plain(70))
		await(t, "the load was throttled and went in", func() bool { return r.Metrics.RecordsProcessed.Value() == 20 })
		strike(t, w, forGood)
		put(t, w, append(plain(71), order("o-poison", poisonCustomer, 1)))
		await(t, "the row is to be tried again", func() bool { return r.Worker.Status().Parked == 1 && r.Worker.Status().Waiting == 0 })
		put(t, w, plain(72))
		await(t, "there is something to load", func() bool { return r.Worker.Status().Waiting == 10 })
		began := time.Now()
		drainsWithin(t, r, time.Minute)
		if took := time.Since(began); took < 3*time.Second {
			t.Errorf("the drain took %v: the row was not due meanwhile", took)
		}
		if n := r.Metrics.RecordsProcessed.Value(); n != 41 {
			t.Errorf("%d of 41 records are settled", n)
		}
	})
}
