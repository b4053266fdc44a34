package simulation

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// holdsTheLock makes every load and every claim hold the lock 3 s longer, as one on
// Redshift does.
const holdsTheLock = `CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(3); RETURN NULL; END $$;
CREATE TRIGGER slow AFTER UPDATE ON worker_checkpoints FOR EACH STATEMENT EXECUTE FUNCTION hold()`

// BenchmarkFleetUnderALock publishes 1,000 orders a second onto 16 shards while each
// load holds the lock for 3 s, and reports for fleets of 1, 8 and 16 workers how long
// an order takes from its arrival until it is queryable, how often
// BatchExecuteStatement is called, and what S3 is asked for. The ratios are to one
// worker in the same run.
func BenchmarkFleetUnderALock(b *testing.B) {
	for range b.N {
		one := fleetUnderALock(b, 1)
		one.report(b, "1-worker", one)
		for _, n := range sizes() {
			fleetUnderALock(b, n).report(b, fmt.Sprintf("%d-workers", n), one)
		}
	}
}

func sizes() []int {
	if os.Getenv("FLEET_SIZE") != "" {
		return []int{8}
	}
	return []int{8, 16}
}

// underALock is what a fleet did.
type underALock struct {
	mean   time.Duration
	p99    time.Duration
	loads  float64 // calls of BatchExecuteStatement a second
	s3     map[string]float64
	orders int64
}

func (u underALock) report(b *testing.B, name string, one underALock) {
	b.Helper()
	b.ReportMetric(u.mean.Seconds(), "s-mean/"+name)
	b.ReportMetric(u.loads, "loads/s/"+name)
	b.ReportMetric(u.mean.Seconds()/one.mean.Seconds(), "mean-ratio/"+name)
	b.ReportMetric(u.loads/one.loads, "loads-ratio/"+name)
	b.Logf("%s: %d orders, mean %.1f s, p99 %.1f s, %.2f batches/s; S3 calls an hour: %v", name, u.orders, u.mean.Seconds(), u.p99.Seconds(), u.loads, u.s3)
}

// counting counts calls.
type counting struct {
	next                             http.RoundTripper
	loads, gets, puts, list, deletes *atomic.Int64
}

func (c counting) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".BatchExecuteStatement"):
		c.loads.Add(1)
	case serviceOf(r) != "s3":
	case r.Method == http.MethodPut:
		c.puts.Add(1)
	case r.URL.Query().Has("list-type"):
		c.list.Add(1)
	case r.Method == http.MethodGet:
		c.gets.Add(1)
	default:
		c.deletes.Add(1)
	}
	return c.next.RoundTrip(r)
}

func fleetUnderALock(b *testing.B, workers int) underALock {
	b.Helper()
	const warm, measured, rate = 15 * time.Second, 45 * time.Second, 1000
	url := pgtest.Start(b)
	w := newWorld(b, Options{Warehouse: url, Shards: 16})
	if err := w.Account.LeaseTable(leaseTable).Ensure(b.Context()); err != nil {
		b.Fatal(err)
	}
	calls := counting{new(http.Transport), new(atomic.Int64), new(atomic.Int64), new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)}
	var all []*Running
	for i := range workers {
		all = append(all, start(b, w, Worker{
			Name: fmt.Sprintf("worker-%02d", i), LeaseTable: leaseTable, TTL: 10 * time.Second, Staging: stagingBucket(b, w),
			PollInterval: time.Second, LoadInterval: time.Second,
			Client: w.Client(func(next http.RoundTripper) http.RoundTripper { c := calls; c.next = next; return c }),
		}))
	}
	if err := Await(deadline(b), "the shards are shared", func() (bool, error) {
		owned := 0
		for _, r := range all {
			n := len(r.Worker.Status().Shards)
			if n > (16+workers-1)/workers {
				return false, nil
			}
			owned += n
		}
		return owned == 16, nil
	}); err != nil {
		b.Fatal(err)
	}
	warehouseDB(b, url)(holdsTheLock)
	ctx, stop := context.WithCancel(context.Background())
	published := make(chan error, 1)
	go func() { published <- publishAt(ctx, w, rate) }()
	<-time.After(warm)
	marks := make([]metrics.Mark, len(all))
	for i, r := range all {
		marks[i] = r.Metrics.EndToEnd.Mark()
	}
	before := [5]int64{calls.loads.Load(), calls.puts.Load(), calls.gets.Load(), calls.list.Load(), calls.deletes.Load()}
	<-time.After(measured)
	out := underALock{loads: float64(calls.loads.Load()-before[0]) / measured.Seconds(), s3: map[string]float64{}}
	for i, c := range []struct {
		name string
		n    *atomic.Int64
	}{{"put", calls.puts}, {"get", calls.gets}, {"list", calls.list}, {"delete", calls.deletes}} {
		out.s3[c.name] = float64(c.n.Load()-before[1+i]) * float64(time.Hour) / float64(measured)
	}
	var sum time.Duration
	for i, r := range all {
		var points []float64
		for p := range 100 {
			points = append(points, (float64(p)+0.5)/100)
		}
		values, n := r.Metrics.EndToEnd.QuantileSince(marks[i], append(points, 0.99)...)
		if n == 0 {
			continue
		}
		var mean time.Duration
		for _, v := range values[:100] {
			mean += v / 100
		}
		sum += mean * time.Duration(n)
		out.orders += n
		out.p99 = max(out.p99, values[100])
	}
	stop()
	if err := <-published; err != nil {
		b.Fatal(err)
	}
	if out.orders == 0 {
		b.Fatal("nothing was loaded")
	}
	out.mean = sum / time.Duration(out.orders)
	for _, r := range all {
		r.Kill()
	}
	return out
}

// publishAt puts so many orders a second until ctx ends.
func publishAt(ctx context.Context, w *World, rate int) error {
	const ticks = 10 // a second
	tick := time.NewTicker(time.Second / ticks)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		entries := make([]aws.Entry, rate/ticks)
		for i := range entries {
			id := fmt.Sprintf("o-%d", n)
			entries[i] = aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil,
				`{"order_id":%q,"customer_id":"c-%d","store_id":%d,"total_amount":12.5,"item_count":2}`, id, n%5000, n%40)}
			n++
		}
		if err := w.Put(context.WithoutCancel(ctx), entries); err != nil {
			return err
		}
	}
}
