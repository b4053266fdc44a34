package worker

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Status is what a worker is doing, as a plain value.
type Status struct {
	Shards     []ShardStatus // those owned, by id
	Waiting    int           // records queued or being loaded
	HeldBytes  int64         // memory that they take
	LimitBytes int64         // for them and for reads under way
	Full       bool          // reading waits for a load to give memory back
	Behind     time.Duration // of the shard that is furthest behind
	Lag        time.Duration // age of the oldest record of any shard that is not committed; 0 = there is none, as far as shards were read
	Parked     int           // rows that the warehouse refused and that are tried again
	Reads      ReadStatus
	Writes     WriteStatus
	Letters    WriteStatus // to the dead-letter store, as far as loading waits for it
}

// ReadStatus is how reading goes over all owned shards that have not ended.
type ReadStatus struct {
	Failing error     // of one of them, where every one fails; nil = at least one is read, or there is none
	Since   time.Time // since when every one fails

	Shards int       // that are read
	Failed int       // of them that the last read of failed
	First  time.Time // since when one of them fails; zero = none does
	Last   error     // of the last read that failed, which may be over; nil = none did
}

// Count is how often something was done, and how often it failed.
type Count struct{ Done, Failed int64 }

// WriteStatus is how the warehouse took the worker's loads and claims, or the
// dead-letter store its letters.
type WriteStatus struct {
	Waiting     time.Time     // since when it is waited for; zero = nothing is under way
	LastSuccess time.Time     // zero = none yet
	Failing     error         // of the last one; nil = it succeeded, or there was none
	Since       time.Time     // since when they fail; zero = they do not
	Took        time.Duration // the last success, without its wait to be started, for the lock or for loads of others
	// Progress is how far the one under way has got; nil = nothing is under way, or
	// the warehouse has not told yet.
	Progress *warehouse.Progress
	Idle     time.Time // when one was last seen to wait to be started, or for the lock; zero = none was
}

// ShardStatus is one owned shard.
type ShardStatus struct {
	ID           string
	Term         int64
	Position     stream.Position // committed
	ArrivedUntil time.Time       // all records that arrived before it are queryable; zero = not known
	Behind       time.Duration   // as last read; it grows with the clock once the next read is overdue
	Waiting      int             // records read and not yet loaded
	Ended        bool            // read to its end
	Read         bool            // it was read once at least
	// Lag is the age of the oldest record that is not committed, be it read or not,
	// by the stream's clock; 0 = there is none, or the shard was not read yet.
	Lag time.Duration
	// CompleteUntil is the time before which everything that arrived can be queried:
	// for a shard that is caught up, that of its last read. Zero = not known.
	CompleteUntil time.Time
	Reads         Count
	Records       int64 // read
	Bytes         int64 // of the replies that they came in
	HashStart     string
	HashEnd       string
}

// Status returns the present status.
func (w *Worker) Status() Status {
	shards := w.owned()
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	out := Status{HeldBytes: w.queue.held, LimitBytes: w.queue.limit, Full: w.queue.full(), Parked: int(w.parked.number.Load()), Writes: w.writes.status(), Letters: w.letters.status()}
	now := time.Now()
	out.Reads = readStatus(shards)
	for _, s := range shards {
		out.Shards = append(out.Shards, ShardStatus{
			ID: s.term.Shard.ID, Term: s.term.N, Position: s.committed, ArrivedUntil: s.arrivedUntil,
			Behind: w.behind(s, now), Waiting: s.waiting, Ended: s.ended,
			Read: s.ended || !s.caughtUp.IsZero() || s.reads.Done > 0, Lag: w.lag(s, now), CompleteUntil: s.completeUntil(),
			Reads: s.reads, Records: s.records, Bytes: s.bytes, HashStart: s.term.Shard.HashStart, HashEnd: s.term.Shard.HashEnd,
		})
		out.Lag = max(out.Lag, w.lag(s, now))
		out.Waiting += s.waiting
		out.Behind = max(out.Behind, w.behind(s, now))
	}
	slices.SortFunc(out.Shards, func(a, b ShardStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Read reports whether every owned shard was read once at least, and there is one: how
// far loading is behind is known of all of them then.
func (s Status) Read() bool {
	return len(s.Shards) > 0 && !slices.ContainsFunc(s.Shards, func(s ShardStatus) bool { return !s.Read })
}

// CompleteUntil is the completeness watermark over the owned shards: every record that
// arrived on them before it can be queried. Zero = not known. A shard that is loaded to
// its end holds nothing back.
func (s Status) CompleteUntil() time.Time {
	var complete []time.Time
	for _, s := range s.Shards {
		if !s.Ended || s.Waiting > 0 {
			complete = append(complete, s.CompleteUntil)
		}
	}
	return stream.Watermark(complete)
}

// CompleteUntil is the time before which everything that arrived on an owned shard
// can be queried; zero = not known, or not ours.
func (w *Worker) CompleteUntil(id string) time.Time {
	w.mu.Lock()
	s := w.shards[id]
	w.mu.Unlock()
	if s == nil {
		return time.Time{}
	}
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	return s.completeUntil()
}

// readStatus sums the reading of shards up. The caller holds queue.mu.
func readStatus(shards []*shard) (out ReadStatus) {
	for _, s := range shards {
		if s.ended {
			continue
		}
		out.Shards++
		if s.lastFailure != nil && (out.Last == nil || s.failing != nil) {
			out.Last = s.lastFailure
		}
		if s.failing == nil {
			continue
		}
		out.Failed++
		if out.First.IsZero() || s.failingSince.Before(out.First) {
			out.First = s.failingSince
		}
		if s.failingSince.After(out.Since) {
			out.Failing, out.Since = s.failing, s.failingSince
		}
	}
	if out.Failed < out.Shards {
		out.Failing, out.Since = nil, time.Time{}
	}
	return out
}

// lag is how old the oldest record of the shard is that is not committed: one that
// waits, or else, as far as reading tells, one that is not read yet. The caller
// holds queue.mu.
func (w *Worker) lag(s *shard, now time.Time) time.Duration {
	lag := w.behind(s, now)
	if len(s.arrivals) > 0 {
		lag = max(lag, w.cfg.StreamTime(now).Sub(s.arrivals[0].at), time.Millisecond) // that clock is a second behind at times
	}
	return lag
}

// completeUntil is the time before which everything that arrived on the shard can
// be queried. The caller holds queue.mu.
func (s *shard) completeUntil() time.Time {
	until := s.arrivedUntil
	switch {
	case s.waiting == 0 && s.caughtUp.After(until):
		until = s.caughtUp
	case len(s.arrivals) > 0 && !until.IsZero() && s.arrivals[0].at.After(until):
		until = s.arrivals[0].at
	}
	return until
}

// overdue is by how much a read may be late before it counts as missing: a turn
// of the shards that share the memory for reads, and a try or two.
const overdue = 10 * time.Second

// behind is how far the shard's reading is behind: what the last read said and,
// when reads fail or wait for the warehouse, the time since then. Without it a
// worker that reads nothing would for ever be as far behind as it last was. The
// caller holds queue.mu.
func (w *Worker) behind(s *shard, now time.Time) time.Duration {
	since := now.Sub(s.readAt)
	if s.ended || since <= w.cfg.PollInterval+overdue {
		return s.behind
	}
	return s.behind + since
}

// writes notes how writes of one kind end, for Status.
type writes struct {
	mu  sync.Mutex // guards now
	now WriteStatus
}

func (w *writes) began(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting = at
}

func (w *writes) ended(err error) { w.endedAfter(0, err) }

// endedAfter is ended of a write that itself took that long; 0 = since it works.
func (w *writes) endedAfter(took time.Duration, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil:
		w.now.LastSuccess, w.now.Since = now, time.Time{}
		switch {
		case took > 0:
			w.now.Took = took
		case !w.now.Waiting.IsZero():
			w.now.Took = min(now.Sub(w.now.Waiting), now.Sub(w.now.Idle))
		}
	case w.now.Failing == nil:
		w.now.Since = now
	}
	w.now.Waiting, w.now.Progress, w.now.Failing = time.Time{}, nil, err
}

// progress notes how far the one under way has got.
func (w *writes) progress(p warehouse.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.now.Waiting.IsZero() {
		w.now.Progress = &p
		if p.Waits() {
			w.now.Idle = time.Now()
		}
	}
}

// asked is the end of a load that says nothing about the warehouse's health.
func (w *writes) asked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting, w.now.Progress = time.Time{}, nil
}

// passed notes that nothing waits for it any more.
func (w *writes) passed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting, w.now.Progress, w.now.Failing, w.now.Since = time.Time{}, nil, nil, time.Time{}
}

func (w *writes) status() WriteStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}
