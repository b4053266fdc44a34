package worker

import (
	"errors"
	"testing"
	"time"
)

func TestBehindGrowsOnceReadsAreOverdue(t *testing.T) {
	w := &Worker{cfg: Config{PollInterval: 5 * time.Second}}
	now := time.Now()
	for name, c := range map[string]struct {
		shard shard
		want  time.Duration
	}{
		"caught up":                    {shard{readAt: now.Add(-4 * time.Second)}, 0},
		"behind":                       {shard{readAt: now.Add(-time.Second), behind: time.Minute}, time.Minute},
		"caught up, then read no more": {shard{readAt: now.Add(-time.Hour)}, time.Hour},
		"behind, then read no more":    {shard{readAt: now.Add(-time.Hour), behind: time.Minute}, time.Hour + time.Minute},
		"read to its end":              {shard{readAt: now.Add(-time.Hour), ended: true}, 0},
	} {
		if got := w.behind(&c.shard, now); got != c.want {
			t.Errorf("%s: %v behind, want %v", name, got, c.want)
		}
	}
}

// Lag is of what is not committed: what waits counts, however far reading has got. A
// shard that is caught up and has nothing waiting is complete until its last read.
func TestLagCountsWhatWaits(t *testing.T) {
	now := time.Now()
	w := New(Config{PollInterval: 5 * time.Second, PageBytes: 1 << 20, StreamTime: func(ours time.Time) time.Time { return ours.Add(-time.Minute) }})
	s := &shard{readAt: now, arrivedUntil: now.Add(-time.Hour)}
	page := func(ages ...time.Duration) *chunk {
		c := &chunk{shard: s, queued: now}
		for _, age := range ages {
			c.items = append(c.items, item{arrived: now.Add(-age).UnixMicro()})
		}
		return c
	}
	asOf := now.Add(-2 * time.Second)
	w.queue.add(page(10*time.Minute, 9*time.Minute, 8*time.Minute), 0, asOf)
	w.queue.add(page(3*time.Minute), 0, asOf)
	want := func(when string, lag time.Duration, complete time.Time) {
		t.Helper()
		if got := w.lag(s, now); got.Round(time.Second) != lag {
			t.Errorf("%s: %v behind, want %v", when, got, lag)
		}
		if got := s.completeUntil(); got.Sub(complete).Abs() > time.Millisecond {
			t.Errorf("%s: complete until %v ago, want %v", when, now.Sub(got), now.Sub(complete))
		}
	}
	want("two pages wait", 9*time.Minute, now.Add(-10*time.Minute)) // by the stream's clock, which is a minute behind
	first := w.queue.take(2)
	w.queue.settle(first, nil)
	want("two records are loaded", 7*time.Minute, now.Add(-8*time.Minute))
	w.queue.settle(w.queue.take(100), nil)
	want("all are loaded", 0, asOf)
	s.readAt = now.Add(-time.Hour)
	want("reading has stopped", time.Hour, asOf)
}

func TestWritesTellHowTheLastOneEnded(t *testing.T) {
	var w writes
	at := time.Now()
	w.began(at)
	if s := w.status(); !s.Waiting.Equal(at) || s.Failing != nil || !s.LastSuccess.IsZero() {
		t.Errorf("under way: %+v", s)
	}
	w.ended(nil)
	good := w.status()
	if !good.Waiting.IsZero() || good.LastSuccess.IsZero() {
		t.Errorf("succeeded: %+v", good)
	}
	away := errors.New("away")
	w.began(at)
	w.ended(away)
	if s := w.status(); !errors.Is(s.Failing, away) || !s.LastSuccess.Equal(good.LastSuccess) {
		t.Errorf("failed: %+v", s)
	}
}
