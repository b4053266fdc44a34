package worker

import (
	"math/rand/v2"
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
