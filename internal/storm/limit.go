package storm

import (
	"context"
	"sync"
	"time"
)

// limit is how many queries may be in flight. It grows by one with each query
// that the service takes and halves when it throttles (AIMD). Where the service
// says that too many statements are active, the number at that moment, less the
// room to leave, is the most for a while: to try again at once would take the worker's
// room. But the number tells of others too, whose statements end, so after the while
// one more is tried now and then, and the next refusal takes the room back. It is safe
// for concurrent use.
type limit struct {
	leave int

	mu      sync.Mutex // guards what follows
	most    int
	bound   int       // by what was found
	again   time.Time // until when bound holds
	allowed float64
	cpu     int // that the CPU allows
	flying  int // and the one that is about to start
	found   int // statements at which the service refused more; 0 = it did not
	halved  time.Time
	freed   chan struct{} // closed and replaced whenever something changes
}

// startAt is how many queries are tried before anything is known.
const startAt = 8

// halveGap is how long one throttle counts for all that come with it.
const halveGap = 2 * time.Second

// foundFor is how long the number found holds, and oneMore is the time between two
// tries of one more after it.
const (
	foundFor = time.Minute
	oneMore  = 2 * time.Second
)

func newLimit(most, leave int) *limit {
	return &limit{leave: leave, most: max(1, most), bound: max(1, most), allowed: float64(min(most, startAt)), cpu: most, freed: make(chan struct{})}
}

func (l *limit) broadcast() {
	close(l.freed)
	l.freed = make(chan struct{})
}

// now is how many may be in flight. The caller holds mu.
func (l *limit) now() int { return min(l.bound, int(l.allowed), l.cpu) }

// take reserves a place, or returns what to wait for.
func (l *limit) take() (ok bool, wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying >= l.now() {
		return false, l.freed
	}
	l.flying++
	return true, nil
}

// place waits for a place.
func (l *limit) place(ctx context.Context) error {
	for {
		ok, freed := l.take()
		if ok {
			return nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// give returns a place.
func (l *limit) give() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying--
	l.broadcast()
}

// cap bounds what is in flight by what the CPU has room for.
func (l *limit) cap(most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cpu != most {
		l.cpu = most
		l.broadcast()
	}
}

// accepted: the service took a query.
func (l *limit) accepted(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bound < l.most && !now.Before(l.again) {
		l.bound++
		l.again = now.Add(oneMore)
	}
	l.allowed = min(float64(l.bound), l.allowed+1)
	l.broadcast()
}

// throttled: the service asks for fewer calls.
func (l *limit) throttled(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.halved) < halveGap {
		return
	}
	l.halved = now
	l.allowed = max(1, l.allowed/2)
}

// full: the service takes no more statements than are active now.
func (l *limit) full(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.flying - 1 // without the one that was refused
	l.found = max(1, active)
	l.bound = max(1, min(l.bound, active-l.leave))
	l.again = now.Add(foundFor)
	l.allowed = min(l.allowed, float64(l.bound))
}

// limits are what became of the limit.
type limits struct{ most, found int }

func (l *limit) state() limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return limits{l.now(), l.found}
}
