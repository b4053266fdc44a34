package storm

import (
	"context"
	"sync"
	"time"
)

// limit is how many queries may be in flight. It grows by one with each query
// that the service takes and halves when it throttles (AIMD). Where the service
// says that too many statements are active, the number at that moment, less the
// room to leave, is the most from then on: to try again would take the worker's
// room. It is safe for concurrent use.
type limit struct {
	leave int

	mu      sync.Mutex // guards what follows
	most    int
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

func newLimit(most, leave int) *limit {
	return &limit{leave: leave, most: max(1, most), allowed: float64(min(most, startAt)), cpu: most, freed: make(chan struct{})}
}

func (l *limit) broadcast() {
	close(l.freed)
	l.freed = make(chan struct{})
}

// take reserves a place, or returns what to wait for.
func (l *limit) take() (ok bool, wait <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.flying >= min(l.most, int(l.allowed), l.cpu) {
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
func (l *limit) accepted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allowed = min(float64(l.most), l.allowed+1)
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
func (l *limit) full() {
	l.mu.Lock()
	defer l.mu.Unlock()
	active := l.flying - 1 // without the one that was refused
	l.found = max(1, active)
	l.most = max(1, min(l.most, active-l.leave))
	l.allowed = min(l.allowed, float64(l.most))
}

// limits are what became of the limit.
type limits struct{ most, found int }

func (l *limit) state() limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return limits{min(l.most, int(l.allowed), l.cpu), l.found}
}
