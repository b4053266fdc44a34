package worker

import (
	"slices"
	"sync"
	"time"
)

// queue holds the decoded records of all shards in the order in which they
// came. It is first in, first out, so that what a load takes is a prefix of
// each shard's records: positions stay contiguous without being tracked.
type queue struct {
	limit int64 // bytes of all pages; see room.go

	mu      sync.Mutex // guards what follows, and the fields of shard that say so
	chunks  []*chunk
	records int           // in chunks
	held    int64         // bytes of chunks, and of those being loaded
	reading int64         // bytes set aside for reads under way
	turns   []*turn       // reads that wait for memory, in order
	urgent  int           // shards that wait for their last records to be loaded
	changed chan struct{} // closed and replaced whenever something changes
}

func newQueue(limit int64) *queue {
	return &queue{limit: limit, changed: make(chan struct{})}
}

func (q *queue) broadcast() {
	close(q.changed)
	q.changed = make(chan struct{})
}

// add appends a chunk, and notes how far behind the shard's reading is. A chunk
// of a shard that is gone is dropped.
func (q *queue) add(c *chunk, behind time.Duration, caughtUp time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := c.shard
	if s.gone {
		return
	}
	s.behind, s.readAt, s.failing = behind, time.Now(), nil
	s.caughtUp = caughtUp
	s.reads.Done++
	s.records += int64(len(c.items))
	s.bytes += c.size
	if len(c.items) == 0 && !c.ends {
		return
	}
	s.ended = c.ends
	s.waiting += pending(c, 0, len(c.items))
	if len(c.items) > 0 {
		s.arrivals = append(s.arrivals, arrival{c.arrived(0), len(c.items)})
	}
	q.chunks = append(q.chunks, c)
	q.records += len(c.items)
	q.held += c.bytes
	q.broadcast()
}

// failed notes that a read of the shard, which began then, has failed.
func (q *queue) failed(s *shard, began time.Time, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s.failing == nil {
		s.failingSince = began
	}
	s.failing, s.lastFailure = err, err
	s.reads.Failed++
}

// pending counts what of a chunk waits for a load: its records, and its end.
func pending(c *chunk, lo, hi int) int {
	n := hi - lo
	if c.ends && hi == len(c.items) {
		n++
	}
	return n
}

// drop removes what waits of a shard that is no longer ours.
func (q *queue) drop(s *shard) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s.gone = true
	q.chunks = slices.DeleteFunc(q.chunks, func(c *chunk) bool {
		if c.shard != s {
			return false
		}
		q.records -= len(c.items)
		q.held -= c.bytes
		s.waiting -= pending(c, 0, len(c.items)) // what is being loaded is counted out by settle
		return true
	})
	q.admit()
	q.broadcast()
}

// due tells in how long the next load is to start by what waits: 0 = now,
// negative = nothing waits.
func (q *queue) due(now time.Time, batch int, patience time.Duration) (time.Duration, <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.chunks) == 0:
		return -1, q.changed
	case q.urgent > 0, q.records >= batch, q.full(), slices.ContainsFunc(q.chunks, func(c *chunk) bool { return c.ends }):
		return 0, q.changed
	default:
		return max(0, q.chunks[0].queued.Add(patience).Sub(now)), q.changed
	}
}

// take removes up to most records from the front of the queue. They stay
// counted in held and in their shards' waiting until settle.
func (q *queue) take(most int) []span {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []span
	for len(q.chunks) > 0 && most > 0 {
		c := q.chunks[0]
		if len(c.items) > most {
			head, tail := split(c, most)
			q.chunks[0] = tail
			c = head
		} else {
			q.chunks[0] = nil
			q.chunks = q.chunks[1:]
		}
		out = append(out, span{c, 0, len(c.items)})
		most -= max(1, len(c.items))
		q.records -= len(c.items)
	}
	return out
}

// settle ends the stay of a load's spans: they are in the warehouse, or will
// not come in by our hand. Shards that moved are at their new positions.
func (q *queue) settle(spans []span, moved map[*shard]move) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for s, m := range moved {
		s.committed = m.to
		if !m.arrivedUntil.IsZero() {
			s.arrivedUntil = m.arrivedUntil
		}
	}
	for _, sp := range spans {
		sp.shard.waiting -= pending(sp.chunk, sp.lo, sp.hi)
		sp.shard.settled(sp.hi-sp.lo, sp.next())
		if sp.last() { // what comes before it in its page was settled before it
			q.held -= sp.bytes
		}
	}
	q.admit()
	q.broadcast()
}

// hurry makes loads start at once while its sum is positive.
func (q *queue) hurry(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.urgent += n
	q.broadcast()
}

// hurried reports whether somebody waits for the last records of a shard.
func (q *queue) hurried() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.urgent > 0
}
