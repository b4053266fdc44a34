package worker

import (
	"testing"
	"time"
)

// TestEmptyPagesAreFollowedAtOnceOnlyWhileTheyLeadSomewhere reads each shard for
// a while, a read taking 220 ms, and counts the reads.
func TestEmptyPagesAreFollowedAtOnceOnlyWhileTheyLeadSomewhere(t *testing.T) {
	const (
		gap  = 220 * time.Millisecond
		poll = 5 * time.Second
		span = 10 * time.Minute
	)
	minute := time.Duration(-1)
	for name, c := range map[string]struct {
		page        func(at time.Duration, read int) (records int, lag time.Duration)
		least, most int
	}{
		"records": {func(time.Duration, int) (int, time.Duration) { return 3, time.Hour }, 2700, 2728},
		"a stretch without records": {func(_ time.Duration, read int) (int, time.Duration) {
			return 0, 24*time.Hour - time.Duration(read)*100*time.Millisecond // 10 reads for a second
		}, 2700, 2728},
		"idle, three seconds behind": {func(time.Duration, int) (int, time.Duration) { return 0, 3 * time.Second }, 120, 170},
		"idle, about three seconds behind": {func(_ time.Duration, read int) (int, time.Duration) {
			return 0, 3*time.Second + time.Duration(read%7)*100*time.Millisecond
		}, 120, 170},
		"behind and growing": {func(at time.Duration, _ int) (int, time.Duration) { return 0, time.Second + at }, 120, 170},
		"one record a minute": {func(at time.Duration, _ int) (int, time.Duration) {
			if at/time.Minute > minute {
				minute = at / time.Minute
				return 1, 3 * time.Second
			}
			return 0, 3 * time.Second
		}, 300, 600},
	} {
		t.Run(name, func(t *testing.T) {
			var s sparse
			reads := 0
			for at := time.Duration(0); at < span; reads++ {
				n, lag := c.page(at, reads)
				wait := s.next(n, lag, poll)
				if wait > poll {
					t.Fatalf("a wait of %s", wait)
				}
				at += max(gap, wait)
			}
			if reads < c.least || reads > c.most {
				t.Errorf("%d reads in %s, want %d to %d", reads, span, c.least, c.most)
			}
		})
	}
}

func TestTheWaitOfAnEmptyShardIsNoLongerThanThatOfOneCaughtUp(t *testing.T) {
	var s sparse
	for range 100 {
		if wait := s.next(0, time.Minute, 300*time.Millisecond); wait > 300*time.Millisecond {
			t.Fatalf("a wait of %s", wait)
		}
	}
	if wait := s.next(0, 0, time.Second); wait != 0 {
		t.Errorf("caught up, and a wait of %s", wait)
	}
	if wait := s.next(0, time.Minute, time.Second); wait != 0 {
		t.Errorf("the first empty page after that, and a wait of %s", wait)
	}
}
