// Package metrics declares what the worker measures, once, as fields of one
// struct. Whoever publishes them (CloudWatch, Prometheus, the status page)
// reads the same values.
package metrics

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Metrics is everything that one worker measures. The zero value is ready.
// Counts are settled counts: a record is counted once, after its commit.
type Metrics struct {
	RecordsProcessed Counter // records loaded or dead-lettered
	RecordsRejected  Counter // records dead-lettered
	EventsWritten    Counter // events in committed loads, superseded ones included
	DuplicateEvents  Counter // those of EventsWritten that changed nothing
	RecordsRead      Counter // records read from the stream; more than processed after restarts

	ShardErrors  Counter // reads of a shard that failed, throttles included
	WriteErrors  Counter // loads that failed and were tried again
	WorkerErrors Counter // anything else that went wrong

	WriteDuration Distribution // of committed loads, from the first call to the answer
	EndToEnd      Distribution // from arrival on the stream to queryable, a record
}

// Counter counts events. It is safe for concurrent use.
type Counter struct{ n atomic.Int64 }

// Add adds n.
func (c *Counter) Add(n int) { c.n.Add(int64(n)) }

// Value is the count so far.
func (c *Counter) Value() int64 { return c.n.Load() }

// growth is the ratio of neighbouring buckets of a Distribution: a value read
// back is within 2 % of the one observed.
const growth = 1.04

// Distribution keeps how often which duration was seen, in buckets that grow by
// 4 %. It is safe for concurrent use; its memory does not grow with use.
type Distribution struct {
	mu      sync.Mutex // guards what follows
	buckets map[int]int64
	count   int64
}

// Observe notes n durations of d.
func (d *Distribution) Observe(v time.Duration, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.buckets == nil {
		d.buckets = make(map[int]int64)
	}
	d.buckets[bucket(v)] += int64(n)
	d.count += int64(n)
}

// bucket numbers durations by their logarithm, from one millisecond.
func bucket(v time.Duration) int {
	ms := float64(v) / float64(time.Millisecond)
	if ms < 1 {
		return 0
	}
	return 1 + int(math.Log(ms)/math.Log(growth))
}

func bucketMiddle(i int) time.Duration {
	if i == 0 {
		return time.Millisecond / 2
	}
	return time.Duration(math.Pow(growth, float64(i)-0.5) * float64(time.Millisecond))
}

// Count is how many durations were observed.
func (d *Distribution) Count() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count
}

// Quantile returns the duration below which the share q (0 to 1) of the
// observations lies, or 0 without any.
func (d *Distribution) Quantile(q float64) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.count == 0 {
		return 0
	}
	want, top := int64(math.Ceil(q*float64(d.count))), 0
	for i := range d.buckets {
		top = max(top, i)
	}
	seen := int64(0)
	for i := 0; i <= top; i++ {
		if seen += d.buckets[i]; seen >= want && d.buckets[i] > 0 {
			return bucketMiddle(i)
		}
	}
	return bucketMiddle(top)
}
