// Package worker reads the shards that it owns, gathers what they hold into one
// batch, and loads it into the warehouse.
//
// The way of a record is five calls: reader.Next, event.Decode, queue.add,
// warehouse.Load, Note. One goroutine for each owned shard does the first three
// (read.go), one goroutine for the whole worker does the others (loader.go).
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Reader reads one shard from a position on.
type Reader interface {
	// Next makes one read. It returns an empty page where nothing new is there,
	// and a page with Ended after the last record of a closed shard.
	Next(ctx context.Context) (stream.Page, error)
	// NotBefore is the earliest time at which the service's limits allow the
	// next read.
	NotBefore() time.Time
}

// Warehouse takes batches; see the warehouse package.
type Warehouse interface {
	Claim(ctx context.Context, streamName string, claims []warehouse.Claim) ([]warehouse.Claimed, error)
	Load(ctx context.Context, b warehouse.Batch) (warehouse.Loaded, error)
	Retry(ctx context.Context, rows []warehouse.Row) (warehouse.Written, error)
	Probe(ctx context.Context, sample warehouse.Row) error
	Fits(rows []warehouse.Row) int
	Encoder() warehouse.Encoder
}

// Letters keeps rejected records; see the deadletter package.
type Letters interface {
	Put(ctx context.Context, from stream.Position, letters []deadletter.Letter) error
	// MarkFate notes what became of the row of a letter that is stored.
	MarkFate(ctx context.Context, l deadletter.Letter, f deadletter.Fate) error
	// Forget drops what is remembered of a shard: others may have written since.
	Forget(shard string)
}

// Config is what a Worker needs. All of it is required but Identity, Turn, StreamTime, Note
// and RetryAfter.
type Config struct {
	Stream string
	// Open returns a reader. It asks room before it takes the memory for a reply of
	// so many bytes, and gives the read up when room returns an error.
	Open func(s stream.Shard, from stream.Position, room func(bytes int) error) Reader
	// Fetch reads the events of one Kinesis record once more; none where the stream
	// has it no longer.
	Fetch     func(ctx context.Context, s stream.Shard, sequence string) ([]stream.Record, error)
	Shards    func(context.Context) ([]stream.Shard, error)
	Identity  func(context.Context) (stream.Identity, error) // of the stream that is there now
	Warehouse Warehouse
	// Turn tells when the next batch is to be taken, of a worker that does not stop and
	// for which something waits: held = not before this channel is closed, as it would
	// miss a load under way and more can join it here; now = at once, however little
	// there is. nil = when it is due by its age and size.
	Turn    func() (held <-chan struct{}, now bool)
	Letters Letters
	// StreamTime is what the stream's clock showed at a moment of ours; nil = the same.
	StreamTime func(ours time.Time) time.Time
	// Note tells the lease holder how far a shard is loaded.
	Note func(shard string, p stream.Position)

	Families     []event.Family // that are loaded; nil = all
	BatchSize    int            // records that start a load
	PollInterval time.Duration  // wait of a shard that is caught up, and longest wait of a record for a load
	LoadInterval time.Duration  // least time between the starts of two loads
	PageBytes    int64          // memory for pages: those being read, and those whose records wait or are being loaded
	// RetryAfter is when a row that the warehouse refused is tried again, each time
	// after the last try; empty = 1, 5 and 30 minutes.
	RetryAfter []time.Duration

	Metrics *metrics.Metrics
	Log     *slog.Logger
}

// Worker reads owned shards and loads them. Run must run while Own is called.
type Worker struct {
	cfg     Config
	log     *slog.Logger
	queue   *queue
	claims  chan claimRequest
	pace    pace
	done    chan struct{} // closed when Run has returned
	leaving chan struct{} // closed when the worker was told to stop
	writes  writes        // loads and claims
	letters writes        // to the dead-letter store

	// The loader's own, but for the number of parked rows.
	size      size
	evidence  evidence
	parked    parked
	bisecting int   // depth of the search for a poison record
	searched  *load // that the search is in; nil = none is under way
	misled    bool  // rows were named in vain in this search
	nparked   int   // rows parked so far

	mu     sync.Mutex // guards what follows
	shards map[string]*shard
	until  time.Time // when a worker that was told to stop has to be over; zero = it was not told
}

// New returns a Worker.
func New(cfg Config) *Worker {
	if cfg.StreamTime == nil {
		cfg.StreamTime = func(ours time.Time) time.Time { return ours }
	}
	if cfg.Note == nil {
		cfg.Note = func(string, stream.Position) {}
	}
	return &Worker{
		cfg:    cfg,
		log:    cfg.Log,
		queue:  newQueue(cfg.PageBytes),
		claims: make(chan claimRequest),
		pace:   newPace(cfg.LoadInterval),
		done:   make(chan struct{}),
		parked: newParked(cfg.RetryAfter),
		shards: make(map[string]*shard),

		leaving: make(chan struct{}),
	}
}

// errRefused ends an Own whose load the warehouse refused.
var errRefused = errors.New("the warehouse refused the shard's load: it is held by another term")

// Own works one shard until ctx ends, the shard ends (lease.ErrEnded) or the
// warehouse refuses it. While it runs, term.Shard is ours; after it, nothing of
// ours touches it.
//
// When ctx ends with cause lease.ErrDraining, what has been read is loaded
// first; with any other cause it is dropped, for the next owner to read again.
func (w *Worker) Own(ctx context.Context, term lease.Term) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	claim := warehouse.Claim{Shard: term.Shard.ID, Term: term.N, Start: term.Start, Stream: term.Stream}
	claimed, err := w.claim(ctx, claim)
	switch {
	case err != nil:
		return fmt.Errorf("claim shard %s: %w", term.Shard.ID, err)
	case claimed.Foreign(claim):
		err := otherStream(w.cfg.Stream, []warehouse.Claim{claim}, []warehouse.Claimed{claimed})
		return &lease.Contradiction{Shard: term.Shard.ID, What: "cannot be read: " + err.Error(), Err: err}
	case !claimed.Granted:
		return &lease.TermBehindError{Warehouse: claimed.Term}
	}
	if claimed.Position.Sequence == stream.ShardEnd {
		return w.over(ctx, term.Shard)
	}
	if claimed.New && claimed.Position.IsSequence() {
		w.log.Warn("the warehouse does not know the shard; what came before the position of its lease is not loaded", "shard", term.Shard.ID, "position", claimed.Position.String(),
			"hint", "after a KCL application that is as it should be; tables that are new or were emptied get the rest by analytics-worker replay")
	}
	w.cfg.Note(term.Shard.ID, claimed.Position)
	w.cfg.Letters.Forget(term.Shard.ID)
	s := &shard{term: term, stop: stop, committed: claimed.Position, arrivedUntil: claimed.ArrivedUntil, readAt: time.Now()}
	w.register(s)
	defer w.retire(s)
	w.log.Info("reading shard", "shard", term.Shard.ID, "term", term.N, "position", claimed.Position.String())

	err = w.read(ctx, s)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, lease.ErrDraining):
		return w.settled(ctx, s)
	case cause != nil:
		return cause
	case err != nil:
		return err
	}
	// The shard was read to its end: stay its owner until that is committed.
	return w.awaitEnd(ctx, s)
}

// over judges the warehouse's word that a shard was read to its end. An open
// shard has no end: the position is of an older stream of the name, or wrong, and
// whoever believed it would never read the shard. The listing that the lease was
// taken by may be older than the end, so a fresh one decides.
func (w *Worker) over(ctx context.Context, s stream.Shard) error {
	if s.Closed {
		return lease.ErrEnded
	}
	shards, err := w.cfg.Shards(ctx)
	if err != nil {
		return fmt.Errorf("see whether shard %s has ended, as the warehouse says: %w", s.ID, err)
	}
	i := slices.IndexFunc(shards, func(o stream.Shard) bool { return o.ID == s.ID })
	followed := slices.ContainsFunc(shards, func(o stream.Shard) bool { return slices.Contains(o.Parents, s.ID) })
	if i < 0 || shards[i].Closed || followed {
		return lease.ErrEnded
	}
	c := lease.OpenEnded(s.ID, time.Time{})
	return &c
}

func (w *Worker) awaitEnd(ctx context.Context, s *shard) error {
	for {
		at, changed := w.queue.position(s)
		if at.Sequence == stream.ShardEnd {
			w.log.Info("shard ended", "shard", s.term.Shard.ID)
			return lease.ErrEnded
		}
		select {
		case <-changed:
		case <-w.done:
			return errors.New("the worker stopped")
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, lease.ErrDraining) {
				return cause
			}
			if err := w.settled(ctx, s); err != nil {
				return err
			}
			if at, _ := w.queue.position(s); at.Sequence == stream.ShardEnd {
				return lease.ErrEnded
			}
			return nil
		}
	}
}

// settled waits until nothing of the shard waits for a load any more, or until
// the lease is lost: then another worker reads the records again, and there is
// nothing to wait for. The shard's records are loaded without waiting for a full
// batch.
func (w *Worker) settled(ctx context.Context, s *shard) error {
	w.queue.hurry(1)
	defer w.queue.hurry(-1)
	for {
		n, changed := w.queue.waiting(s)
		if n == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-lease.Lost(ctx):
			return lease.ErrLost
		case <-w.done:
			return nil
		}
	}
}

func (w *Worker) register(s *shard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shards[s.term.Shard.ID] = s
}

func (w *Worker) retire(s *shard) {
	w.queue.drop(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.shards[s.term.Shard.ID] == s {
		delete(w.shards, s.term.Shard.ID)
	}
}

// loads reports whether events of the family are loaded.
func (w *Worker) loads(f event.Family) bool {
	return w.cfg.Families == nil || slices.Contains(w.cfg.Families, f)
}

func (w *Worker) owned() []*shard {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]*shard, 0, len(w.shards))
	for _, s := range w.shards {
		out = append(out, s)
	}
	return out
}
