package metrics

import (
	"math"
	"sync"
	"time"
)

const (
	// growth is the ratio of neighbouring buckets of a Distribution: a value read
	// back is within 2 % of the one observed.
	growth = 1.04
	// maxBuckets reach 365 days, the longest retention of a stream.
	maxBuckets = 620
)

// Distribution keeps how often which duration was seen, in buckets that grow by
// 4 %. It is safe for concurrent use; its memory does not grow with use.
type Distribution struct {
	mu      sync.Mutex // guards what follows
	buckets [maxBuckets]tally
	count   int64
}

// tally is what fell into one bucket. With the sum, what is read back of a
// bucket that holds a single value is exact.
type tally struct {
	n   int64
	sum float64 // milliseconds
}

// Observe notes n durations of d. A negative one, which a clock ahead of the
// stream's makes, counts as none: CloudWatch has no percentiles of series that
// hold a negative value.
func (d *Distribution) Observe(v time.Duration, n int) {
	ms := max(0, float64(v)/float64(time.Millisecond))
	d.mu.Lock()
	defer d.mu.Unlock()
	b := &d.buckets[bucket(ms)]
	b.n += int64(n)
	b.sum += ms * float64(n)
	d.count += int64(n)
}

// bucket numbers durations by their logarithm, from one millisecond.
func bucket(ms float64) int {
	if ms < 1 {
		return 0
	}
	return min(maxBuckets-1, 1+int(math.Log(ms)/math.Log(growth)))
}

// bucketTop is the upper edge of a bucket, in milliseconds.
func bucketTop(i int) float64 { return math.Pow(growth, float64(i)) }

// Count is how many durations were observed.
func (d *Distribution) Count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// Quantile returns the duration below which the share q (0 to 1) of the
// observations lies, or 0 without any.
func (d *Distribution) Quantile(q float64) time.Duration { return quantile(d.read(), q) }

// QuantileSince is Quantile over what was observed after the mark, and the
// count of it. An empty mark stands for the beginning.
func (d *Distribution) QuantileSince(m Mark, qs ...float64) (values []time.Duration, count int64) {
	now := d.read()
	for i := range m.buckets {
		now[i].n -= m.buckets[i].n
		now[i].sum -= m.buckets[i].sum
	}
	for _, q := range qs {
		values = append(values, quantile(now, q))
	}
	for _, t := range now {
		count += t.n
	}
	return values, count
}

// Mark is a moment in the life of a Distribution.
type Mark struct{ buckets []tally }

// Mark returns the present moment.
func (d *Distribution) Mark() Mark { return Mark{d.read()} }

func (d *Distribution) read() []tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]tally(nil), d.buckets[:]...)
}

func quantile(buckets []tally, q float64) time.Duration {
	count := int64(0)
	for _, t := range buckets {
		count += t.n
	}
	want, seen := max(1, int64(math.Ceil(q*float64(count)))), int64(0)
	for _, t := range buckets {
		if seen += t.n; t.n > 0 && seen >= want {
			return time.Duration(t.sum / float64(t.n) * float64(time.Millisecond))
		}
	}
	return 0
}

// cursor tells what was observed since it was last asked, as few enough values
// for one datum.
func (d *Distribution) cursor() cursor {
	last := make([]tally, maxBuckets)
	return func() (values, counts []float64) {
		now := d.read()
		var grown []tally
		for i, t := range now {
			if n := t.n - last[i].n; n > 0 {
				grown = append(grown, tally{n, t.sum - last[i].sum})
			}
		}
		last = now
		for _, t := range thin(grown) {
			// Rounding in the sums may leave a little less than nothing.
			values = append(values, max(0, t.sum/float64(t.n)))
			counts = append(counts, float64(t.n))
		}
		return values, counts
	}
}

// maxValues is how many unique values CloudWatch takes in one datum.
const maxValues = 150

// thin joins neighbours until what is left fits into one datum.
func thin(in []tally) []tally {
	for len(in) > maxValues {
		out := in[:0]
		for i := 0; i < len(in); i += 2 {
			t := in[i]
			if i+1 < len(in) {
				t.n += in[i+1].n
				t.sum += in[i+1].sum
			}
			out = append(out, t)
		}
		in = out
	}
	return in
}
