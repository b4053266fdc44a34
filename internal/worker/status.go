package worker

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Status is what a worker is doing, as a plain value.
type Status struct {
	Shards     []ShardStatus // those owned, by id
	Waiting    int           // records queued or being loaded
	HeldBytes  int64         // memory that they take
	LimitBytes int64         // for them and for reads under way
	Full       bool          // reading waits for a load to give memory back
	Behind     time.Duration // of the shard that is furthest behind
	Parked     int           // rows that the warehouse refused and that are tried again
	Reads      ReadStatus
	Writes     WriteStatus
	Letters    WriteStatus // to the dead-letter store, as far as loading waits for it
}

// ReadStatus is how reading goes over all owned shards that have not ended.
type ReadStatus struct {
	Failing error     // of one of them, where every one fails; nil = at least one is read, or there is none
	Since   time.Time // since when every one fails
}

// WriteStatus is how the warehouse took the worker's loads and claims, or the
// dead-letter store its letters.
type WriteStatus struct {
	Waiting     time.Time // since when it is waited for; zero = nothing is under way
	LastSuccess time.Time // zero = none yet
	Failing     error     // of the last one; nil = it succeeded, or there was none
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
		})
		out.Waiting += s.waiting
		out.Behind = max(out.Behind, w.behind(s, now))
	}
	slices.SortFunc(out.Shards, func(a, b ShardStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// readStatus sums the reading of shards up. The caller holds queue.mu.
func readStatus(shards []*shard) (out ReadStatus) {
	for _, s := range shards {
		switch {
		case s.ended:
		case s.failing == nil:
			return ReadStatus{}
		case s.failingSince.After(out.Since):
			out = ReadStatus{Failing: s.failing, Since: s.failingSince}
		}
	}
	return out
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

func (w *writes) ended(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting, w.now.Failing = time.Time{}, err
	if err == nil {
		w.now.LastSuccess = time.Now()
	}
}

// asked is the end of a load that says nothing about the warehouse's health.
func (w *writes) asked() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting = time.Time{}
}

// passed notes that nothing waits for it any more.
func (w *writes) passed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now.Waiting, w.now.Failing = time.Time{}, nil
}

func (w *writes) status() WriteStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// progress logs now and then how loading goes.
type progress struct {
	log     *slog.Logger
	metrics *metrics.Metrics
	last    time.Time
	loaded  int64
}

// progressEvery is how often progress is worth a line, while there is any.
const progressEvery = 10 * time.Second

func newProgress(log *slog.Logger, m *metrics.Metrics) *progress {
	return &progress{log: log, metrics: m, last: time.Now()}
}

func (p *progress) tell(s Status) {
	now := time.Now()
	since := now.Sub(p.last)
	if since < progressEvery {
		return
	}
	total := p.metrics.RecordsProcessed.Value()
	p.log.Info("progress", "records", total, "rate", int64(float64(total-p.loaded)/since.Seconds()),
		"rejected", p.metrics.RecordsRejected.Value(), "behind", s.Behind.Round(time.Millisecond).String(), "waiting", s.Waiting,
		"shards", len(s.Shards), "load_p99", p.metrics.WriteDuration.Quantile(0.99).Round(time.Millisecond).String())
	p.last, p.loaded = now, total
}
