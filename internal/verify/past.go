package verify

import (
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// past is what is known of events that were on the stream and are past its retention.
// A row tells when its event says that it happened, and not when it arrived: one
// whose producer's clock runs ahead looks as if the stream should still have it.
type past struct {
	oldest, newest time.Time // arrivals on the stream; zero = it holds no record
	whole          bool      // nothing is gone yet
	// reading is for how long shards were read, one after another: what the first
	// still had, the last has lost meanwhile.
	reading time.Duration
	ahead   time.Duration // by which some event on the stream is later than its arrival
}

// youngest is less than the shortest retention that a stream can have, 24 hours, by
// as much as clocks differ.
const youngest = 23 * time.Hour

func (p *past) arrived(at time.Time) {
	if p.oldest.IsZero() || at.Before(p.oldest) {
		p.oldest = at
	}
	if at.After(p.newest) {
		p.newest = at
	}
}

// read says that all shards were read, of a stream as it was at that time, and how
// long that took.
func (p *past) read(i stream.Identity, began time.Time, took time.Duration) {
	now := began.Add(took)
	if p.newest.After(now) {
		now = p.newest
	}
	p.whole, p.reading = !i.Created.IsZero() && now.Sub(i.Created) < youngest, took
}

// mayHold reports whether an event of that time may be gone, as far as the clocks
// show of which the stream still has events.
func (p *past) mayHold(micros int64) bool { return p.before(micros, p.ahead) }

// canHold reports whether an event of that time can be gone at all.
func (p *past) canHold(micros int64) bool { return p.before(micros, event.MostAhead) }

func (p *past) before(micros int64, ahead time.Duration) bool {
	return !p.whole && time.UnixMicro(micros).Before(p.oldest.Add(p.reading+ahead))
}
