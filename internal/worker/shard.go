package worker

import (
	"context"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// shard is one stretch of ownership of a shard.
type shard struct {
	term lease.Term
	stop context.CancelCauseFunc // ends Own

	// Guarded by queue.mu: they change together with the queue.
	committed    stream.Position
	arrivedUntil time.Time // as committed
	caughtUp     time.Time // all that arrived before it has been read and queued; zero = not known
	behind       time.Duration
	readAt       time.Time // of the read that said so, or when reading began
	failing      error     // of the last read; nil = it succeeded, or there was none
	failingSince time.Time // when the first read began that failed since then
	lastFailure  error     // of the last read that failed; nil = none did
	reads        Count     // reads of the shard
	records      int64     // that they brought
	bytes        int64
	arrivals     []arrival // of what waits, oldest first
	waiting      int       // records queued or being loaded
	ended        bool      // the end of the shard is queued
	gone         bool      // Own has returned: nothing of the shard may be loaded any more
}

// arrival is when the first of some records arrived that wait for their load.
type arrival struct {
	at time.Time
	n  int
}

// settled takes records out of what waits. next is when the one behind them arrived,
// if it is of the same page. The caller holds queue.mu.
func (s *shard) settled(n int, next time.Time) {
	for n > 0 && len(s.arrivals) > 0 {
		first := &s.arrivals[0]
		if first.n > n {
			first.n, first.at = first.n-n, next
			return
		}
		n -= first.n
		s.arrivals = s.arrivals[1:]
	}
}

// move is where a load has brought a shard.
type move struct {
	to           stream.Position
	arrivedUntil time.Time
}

func (q *queue) position(s *shard) (stream.Position, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.committed, q.changed
}

func (q *queue) waiting(s *shard) (int, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.waiting, q.changed
}

// standing is the shard's committed position, and whether the shard is ours.
func (q *queue) standing(s *shard) (stream.Position, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return s.committed, !s.gone
}

// idle reports whether a shard that is caught up has nothing to load but news:
// all that arrived before until is loaded, and the warehouse was told so at
// least patience earlier.
func (q *queue) idle(s *shard, patience time.Duration) (at stream.Position, until time.Time, idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	idle = !s.gone && s.waiting == 0 && !s.ended && !s.caughtUp.IsZero() && s.caughtUp.Sub(s.arrivedUntil) >= patience
	return s.committed, s.caughtUp, idle
}

// advanced notes until when the warehouse knows that nothing of the shard is missing.
func (q *queue) advanced(s *shard, until time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if until.After(s.arrivedUntil) {
		s.arrivedUntil = until
	}
}
