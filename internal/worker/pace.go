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

// searchGap is the least time between the starts of two loads of a search for a
// poison record: with the account's 20 submits a second, a search that meets a
// quick warehouse leaves half of them to others.
const searchGap = 100 * time.Millisecond

// press is how long the next load of a search has to wait: as long as throttles
// ask for, but not the interval that is there to make loads large. Who waits for
// a search waits with good rows behind it.
func (p *pace) press(now time.Time) time.Duration {
	return max(0, p.last.Add(p.gap-p.least+min(p.least, searchGap)).Sub(now))
}

func (p *pace) started(now time.Time) { p.last = now }

func (p *pace) throttled() { p.gap = min(widestGap, max(2*p.gap, 100*time.Millisecond)) }

func (p *pace) succeeded() { p.gap = max(p.least, p.gap-p.gap/narrowStep) }

// sparse paces the reads of a shard that brings nothing. Empty pages are read
// on at once, as records may lie behind them (an iterator that crosses a stretch
// without any). But a shard may say for hours that it is three seconds behind
// and bring nothing: then the wait grows up to that of a shard that is caught up, so
// that other consumers get at the calls that they share with us.
type sparse struct {
	least time.Duration // lag that was the least of the run
	reads int           // empty pages in turn that came no nearer to the tip
	wait  time.Duration
}

const (
	sparseReads = 25 // empty pages without getting nearer before the wait grows
	sparseStep  = time.Second
	sparseFirst = 250 * time.Millisecond
	sparseMost  = 10 * time.Second
)

// next is how long to wait after a page of n records that is behind by lag. It
// is 0 for a page that may be followed at once, and never more than most.
func (s *sparse) next(n int, lag, most time.Duration) time.Duration {
	if n > 0 || lag == 0 || s.reads == 0 || lag <= s.least-sparseStep {
		*s = sparse{least: lag}
		if n == 0 && lag > 0 {
			s.reads = 1
		}
		return 0
	}
	if s.reads++; s.reads <= sparseReads {
		return 0
	}
	s.wait = min(max(s.wait*5/4, sparseFirst), most, sparseMost)
	return s.wait
}

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
