package worker

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Status is what a worker is doing, as a plain value.
type Status struct {
	Shards     []ShardStatus // those owned, by id
	Waiting    int           // records queued or being loaded
	HeldBytes  int64         // memory that they take
	LimitBytes int64
	Behind     time.Duration // of the shard that is furthest behind
}

// ShardStatus is one owned shard.
type ShardStatus struct {
	ID           string
	Term         int64
	Position     stream.Position // committed
	ArrivedUntil time.Time       // all records that arrived before it are queryable; zero = not known
	Behind       time.Duration   // of the last read
	Waiting      int             // records read and not yet loaded
	Ended        bool            // read to its end
}

// Status returns the present status.
func (w *Worker) Status() Status {
	shards := w.owned()
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	out := Status{HeldBytes: w.queue.held, LimitBytes: w.queue.limit}
	for _, s := range shards {
		out.Shards = append(out.Shards, ShardStatus{
			ID: s.term.Shard.ID, Term: s.term.N, Position: s.committed, ArrivedUntil: s.arrivedUntil,
			Behind: s.behind, Waiting: s.waiting, Ended: s.ended,
		})
		out.Waiting += s.waiting
		out.Behind = max(out.Behind, s.behind)
	}
	slices.SortFunc(out.Shards, func(a, b ShardStatus) int { return strings.Compare(a.ID, b.ID) })
	return out
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
		"rejected", p.metrics.RecordsRejected.Value(), "behind", s.Behind.Round(time.Millisecond), "waiting", s.Waiting,
		"shards", len(s.Shards), "load_p99", p.metrics.WriteDuration.Quantile(0.99).Round(time.Millisecond))
	p.last, p.loaded = now, total
}
