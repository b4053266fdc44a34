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
func (d *Distribution) Quantile(q float64) time.Duration {
	values, _ := d.QuantileSince(Mark{}, q)
	return values[0]
}

// QuantileSince is Quantile over what was observed after the mark, and the
// count of it. An empty mark stands for the beginning.
func (d *Distribution) QuantileSince(m Mark, qs ...float64) (values []time.Duration, count int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	count = d.count - m.count
	for _, q := range qs {
		values = append(values, d.quantile(m, q, count))
	}
	return values, count
}

// quantile copies nothing: a dashboard asks often. The caller holds mu.
func (d *Distribution) quantile(m Mark, q float64, count int64) time.Duration {
	want, seen := max(1, int64(math.Ceil(q*float64(count)))), int64(0)
	for i := range d.buckets {
		t := d.buckets[i]
		if m.buckets != nil {
			t.n -= m.buckets[i].n
			t.sum -= m.buckets[i].sum
		}
		if seen += t.n; t.n > 0 && seen >= want {
			return time.Duration(t.sum / float64(t.n) * float64(time.Millisecond))
		}
	}
	return 0
}

// Mark is a moment in the life of a Distribution.
type Mark struct {
	buckets []tally
	count   int64
}

// Mark returns the present moment.
func (d *Distribution) Mark() Mark {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Mark{append([]tally(nil), d.buckets[:]...), d.count}
}

func (d *Distribution) read() []tally {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]tally(nil), d.buckets[:]...)
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
