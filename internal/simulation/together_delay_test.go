package simulation

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// At Redshift's pace, where a load takes seconds, orders are queryable as soon with
// many workers as with one, and the warehouse is asked for as few loads: be there much
// to load for each worker or little, and a bucket that is as slow as S3 is.
func TestManyWorkersAreAsQuickAsOne(t *testing.T) {
	t.Parallel()
	if detector {
		t.Skip("make simulate runs it")
	}
	const mostP99 = 15 * time.Second
	mean, calls := make(map[string]time.Duration), make(map[string]int64)
	for _, c := range []pressure{
		{workers: 1, burst: 40},
		{workers: 8, burst: 40, ratio: 1.3},
		{workers: 16, burst: 40, ratio: 1.5},
		{workers: 1, burst: 2},
		{workers: 8, burst: 2, ratio: 1.3},
		{workers: 1, burst: 40, bucket: slowBucket},
		{workers: 8, burst: 40, bucket: slowBucket, ratio: 1.3},
	} {
		if *worlds == 1 && (c.workers == 16 || c.bucket > 0) {
			continue // make simulate has it
		}
		var late time.Duration
		alone := fmt.Sprint(c.burst, c.bucket) // what many workers are compared with
		name := fmt.Sprintf("%d workers, %d orders a second, a bucket that takes %v", c.workers, c.burst, c.bucket)
		synctest.Test(t, func(t *testing.T) { mean[name], late, calls[name] = underLoad(t, c) })
		if c.workers == 1 {
			mean[alone], calls[alone] = mean[name], calls[name]
		}
		ratio, more := float64(mean[name])/float64(mean[alone]), float64(calls[name])/float64(calls[alone])
		t.Logf("%s: queryable after %v in the mean, %.2f times that of one, and %v at the 99th percentile; %d batches, %.2f times those of one",
			name, mean[name], ratio, late, calls[name], more)
		if late > mostP99 {
			t.Errorf("%s: one order of a hundred is queryable after %v and more, want %v", name, late, mostP99)
		}
		if c.workers > 1 && (ratio > c.ratio || more > 1.3) {
			t.Errorf("%s: the mean is %.2f times that of one, want %.1f; the batches are %.2f times those of one, want 1.3", name, ratio, c.ratio, more)
		}
	}
}

// slowBucket is what S3 takes for a small object, by AWS's "Performance guidelines for
// Amazon S3": 100 to 200 ms.
const slowBucket = 100 * time.Millisecond

// pressure is what workers are to load, and how.
type pressure struct {
	workers int
	burst   int           // orders that arrive each second
	bucket  time.Duration // each call to S3
	ratio   float64       // of their mean to that of one, at most
	every   time.Duration // LOAD_INTERVAL; 0 = 1 s
	quick   bool          // loads take no time
}

// underLoad has workers load for a minute of the virtual clock, and returns how long
// an order took in the mean and at the 99th percentile, and how many batches it took.
func underLoad(t *testing.T, c pressure) (mean, p99 time.Duration, batches int64) {
	t.Helper()
	f := newCrew(t, Options{Shards: 16, AtPace: !c.quick}, c.workers, Worker{TTL: 10 * time.Second, PollInterval: time.Second, LoadInterval: max(time.Second, c.every)})
	if c.bucket > 0 {
		strike(t, f.w, fault.Fault{Service: "s3", Kind: fault.Delay, Delay: fault.Duration(c.bucket)})
	}
	warm, measured := 30, 60 // bursts, one each second; the first loads have few of the workers
	if c.every > 0 {
		warm, measured = 3*int(c.every.Seconds()), 4*int(c.every.Seconds())
	}
	var marks []metrics.Mark
	for n := range warm + measured {
		if n == warm {
			for _, r := range f.all {
				marks = append(marks, r.Metrics.EndToEnd.Mark())
			}
			batches = -f.calls.Load()
		}
		for i := 0; i < c.burst; i += 10 {
			put(t, f.w, plain(10*n + i/10)[:min(10, c.burst)])
		}
		<-time.After(time.Second)
	}
	batches += f.calls.Load()
	f.settles(int64((warm + measured) * c.burst))
	type share struct {
		took   time.Duration
		orders float64
	}
	var shares []share // of all workers' orders, each a two-hundredth of one worker's
	var points []float64
	for p := range 200 {
		points = append(points, (float64(p)+0.5)/200)
	}
	all, sum := 0.0, 0.0
	for i, r := range f.all {
		values, n := r.Metrics.EndToEnd.QuantileSince(marks[i], points...)
		for _, v := range values {
			shares = append(shares, share{v, float64(n) / float64(len(points))})
			sum += v.Seconds() * float64(n) / float64(len(points))
		}
		all += float64(n)
	}
	slices.SortFunc(shares, func(a, b share) int { return int(b.took - a.took) })
	later := 0.0
	for _, s := range shares {
		if later += s.orders; later >= all/100 {
			p99 = s.took
			break
		}
	}
	return time.Duration(sum / all * float64(time.Second)), p99, batches
}

// The interval between two loads is waited for once. A batch that is staged long before the
// next load may begin is none the sooner in, and what its worker reads meanwhile would
// wait for the load after that.
func TestALongIntervalIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	if detector {
		t.Skip("make test runs it, without the detector")
	}
	const every = 30 * time.Second
	for _, quick := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			mean, late, calls := underLoad(t, pressure{workers: 4, burst: 40, every: every, quick: quick})
			t.Logf("loads take no time: %t; queryable after %v in the mean, and %v at the 99th percentile; %d batches", quick, mean, late, calls)
			if late > every+10*time.Second || calls > 5 { // four intervals, and one that had begun
				t.Errorf("loads take no time: %t; one order of a hundred is queryable after %v and more, with %d batches in four intervals", quick, late, calls)
			}
		})
	}
}
