package worker

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// pace spaces the starts of loads. The Data API's call rates hold for the whole
// account, so every throttle widens the gap at once and success narrows it
// slowly (additive increase of the rate, multiplicative decrease).
type pace struct {
	least time.Duration
	gap   time.Duration
	last  time.Time
}

const (
	widestGap  = 30 * time.Second
	narrowStep = 8 // the gap shrinks by a part of this size at each success
)

func newPace(least time.Duration) pace { return pace{least: least, gap: least} }

// wait is how long the next load has to wait at the time now.
func (p *pace) wait(now time.Time) time.Duration { return max(0, p.last.Add(p.gap).Sub(now)) }

func (p *pace) started(now time.Time) { p.last = now }

func (p *pace) throttled() { p.gap = min(widestGap, max(2*p.gap, 100*time.Millisecond)) }

func (p *pace) succeeded() { p.gap = max(p.least, p.gap-p.gap/narrowStep) }

// backoff draws growing waits with full jitter in their upper half.
type backoff struct{ now, most time.Duration }

func newBackoff() *backoff { return &backoff{now: 200 * time.Millisecond, most: 10 * time.Second} }

func (b *backoff) next() time.Duration {
	d := b.now/2 + rand.N(b.now/2)
	b.now = min(2*b.now, b.most)
	return d
}

// reset makes the next wait the shortest again.
func (b *backoff) reset() { b.now = 200 * time.Millisecond }

// errorLog logs what goes wrong again and again: the first time at once, then
// once in a while with a count.
type errorLog struct {
	log *slog.Logger

	mu   sync.Mutex // guards seen
	seen map[string]*repeated
}

type repeated struct {
	last  time.Time
	count int
}

// repeatEvery is how often a message that repeats is logged.
const repeatEvery = 10 * time.Second

func newErrorLog(log *slog.Logger) *errorLog {
	return &errorLog{log: log, seen: make(map[string]*repeated)}
}

// tell logs a message with its error, unless the same message was logged just now.
func (e *errorLog) tell(message string, err error, args ...any) {
	e.mu.Lock()
	r := e.seen[message]
	if r == nil {
		r = &repeated{}
		e.seen[message] = r
	}
	r.count++
	now, times := time.Now(), r.count
	quiet := !r.last.IsZero() && now.Sub(r.last) < repeatEvery
	if !quiet {
		r.last, r.count = now, 0
	}
	e.mu.Unlock()
	if quiet {
		return
	}
	args = append(args, "error", err)
	if times > 1 {
		args = append(args, "times", times)
	}
	e.log.Error(message, args...)
}
