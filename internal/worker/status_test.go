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
