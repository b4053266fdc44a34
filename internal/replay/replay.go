// Package replay loads a range of the stream again, beside running workers, and moves
// no position.
//
// Rows ride on the move of the shared row (warehouse.Replay): what is not there or
// older changes, so that a repeat changes nothing. At the same instant what the
// warehouse holds stays, as it may be an event from behind the range; so of two events
// of one key and one instant the later one must come first. A shard's range is
// therefore read forwards into a file, and loaded from its end to its beginning; and
// child shards come before their parents, as they have the later events.
//
// Nothing is loaded that lies behind a shard's position: that is the workers' to load,
// and they load it in order.
package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Reader reads one shard; see stream.Page.
type Reader interface {
	Next(ctx context.Context) (stream.Page, error)
	NotBefore() time.Time
}

// Warehouse takes rows again; *warehouse.Warehouse does.
type Warehouse interface {
	Encoder() warehouse.Encoder
	Replay(ctx context.Context, rows []warehouse.Row) (warehouse.Written, error)
	Missing(ctx context.Context, rows []warehouse.Row) (warehouse.Written, error)
	RebuildRollups(ctx context.Context, from, to time.Time) (int64, error)
}

// Letters keeps rejected records; *deadletter.Store does.
type Letters interface {
	Missing(ctx context.Context, from stream.Position, letters []deadletter.Letter) ([]deadletter.Letter, error)
	Put(ctx context.Context, from stream.Position, letters []deadletter.Letter) error
}

// Config says what to load again.
type Config struct {
	Stream      string
	Identity    stream.Identity // of the stream; zero = not known
	Shards      func(context.Context) ([]stream.Shard, error)
	Open        func(stream.Shard, stream.Position) Reader
	Checkpoints func(context.Context) ([]warehouse.Checkpoint, error)
	Warehouse   Warehouse
	Letters     Letters

	From, To time.Time      // of arrival: then or later, and before
	Only     []string       // shards; nil = all
	Families []event.Family // that are loaded; nil = all
	DryRun   bool           // count what would change, and change nothing

	BatchBytes   int           // rows of a load, counted by warehouse.RowBytes; 0 = warehouse.ReplayBytes
	LoadInterval time.Duration // least time between the starts of two loads
	Dir          string        // for a temporary file; empty = the system's
	Tell         func(Summary) // progress; may be nil
}

// Summary is what came of it.
type Summary struct {
	Records  int64 `json:"records"`   // read in the range, up to the positions
	LeftOut  int64 `json:"left_out"`  // of them, of families that are not loaded
	Rejected int64 `json:"rejected"`  // of them, no events
	Kept     int64 `json:"letters"`   // of those, whose letters were there already
	Restored int64 `json:"restored"`  // of those, whose letters were not there and now are
	Rows     int64 `json:"rows"`      // events that were held against the warehouse
	Changed  int64 `json:"changed"`   // rows that were missing or older, and went in
	Refused  int64 `json:"refused"`   // rows that the warehouse refused
	Rollups  int64 `json:"rollups"`   // groups of rollups made anew, or removed, beside those of changed rows
	Loads    int   `json:"loads"`     // transactions
	NotYet   int   `json:"not_begun"` // shards that no worker has begun: nothing of them was loaded before

	// Oldest is when the first record that was read arrived; zero = there was none.
	Oldest time.Time `json:"-"`
	Doing  string    `json:"-"` // for progress
}

// ErrForeign says that the positions are of another stream of the name.
var ErrForeign = errors.New("positions of another stream")

// ErrNoShard says that a shard that was named is not in the stream.
var ErrNoShard = errors.New("no such shard")

// Run loads the range again. An error ends it early, which does no harm; the summary
// says how far it came.
func Run(ctx context.Context, c Config) (Summary, error) {
	if c.Tell == nil {
		c.Tell = func(Summary) {}
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = warehouse.ReplayBytes
	}
	r := &run{Config: c, encoder: c.Warehouse.Encoder(), retry: firstRetry}
	err := r.all(ctx)
	return r.sum, err
}

type run struct {
	Config
	sum     Summary
	encoder warehouse.Encoder
	event   event.Event
	next    time.Time     // no load starts before
	retry   time.Duration // wait before the next repeat
	inTurn  int           // rows refused since one went in
}

func (r *run) all(ctx context.Context) error {
	checkpoints, err := r.positions(ctx)
	if err != nil {
		return err
	}
	shards, err := r.shards(ctx)
	if err != nil {
		return err
	}
	if r.From.After(time.Now()) { // rollups alone: events may be dated a day ahead of their arrival
		shards = nil
	}
	for _, s := range shards {
		at := checkpoints[s.ID]
		if !at.IsSequence() && at.Sequence != stream.ShardEnd {
			r.sum.NotYet++
			continue
		}
		if err := r.shard(ctx, s, at); err != nil {
			return fmt.Errorf("shard %s: %w", s.ID, err)
		}
	}
	return r.rollups(ctx)
}

// positions are up to where each shard is loaded.
func (r *run) positions(ctx context.Context) (map[string]stream.Position, error) {
	held, err := r.Checkpoints(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]stream.Position)
	for _, c := range held {
		if !c.Stream.IsZero() && !r.Identity.IsZero() && !c.Stream.Equal(r.Identity) {
			return nil, fmt.Errorf("%w: those of shard %s are of %s", ErrForeign, c.Shard, c.Stream)
		}
		out[c.Shard] = c.Position
	}
	return out, nil
}

// shards are those of the range, children before their parents: a shard's number is
// higher than those of its parents.
func (r *run) shards(ctx context.Context) ([]stream.Shard, error) {
	all, err := r.Shards(ctx)
	if err != nil {
		return nil, fmt.Errorf("list shards: %w", err)
	}
	for _, id := range r.Only {
		if !slices.ContainsFunc(all, func(s stream.Shard) bool { return s.ID == id }) {
			return nil, fmt.Errorf("%w in %s: %s", ErrNoShard, r.Stream, id)
		}
	}
	out := slices.DeleteFunc(slices.Clone(all), func(s stream.Shard) bool { return r.Only != nil && !slices.Contains(r.Only, s.ID) })
	slices.SortFunc(out, func(a, b stream.Shard) int { return strings.Compare(b.ID, a.ID) })
	return out, nil
}

func (r *run) tell(format string, args ...any) {
	s := r.sum
	s.Doing = fmt.Sprintf(format, args...)
	r.Tell(s)
}

// shard reads a shard's range, and loads it from its end.
func (r *run) shard(ctx context.Context, s stream.Shard, until stream.Position) error {
	spool := &spool{dir: r.Dir}
	defer spool.remove()
	if err := r.read(ctx, s, until, spool); err != nil {
		return err
	}
	for i := len(spool.batches) - 1; i >= 0; i-- {
		rows, err := spool.batch(i)
		if err != nil {
			return err
		}
		r.tell("loading shard %s again, %s to go", s.ID, plural.Of(i+1, "load"))
		if err := r.load(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// mostSteps bounds the transactions that make rollups anew.
const mostSteps = 100

// rollups makes the rollups of the range's minutes what the facts add up to, a day
// at a time.
func (r *run) rollups(ctx context.Context) error {
	step := max(24*time.Hour, r.To.Sub(r.From)/mostSteps)
	for from := r.From; from.Before(r.To) && !r.DryRun; from = from.Add(step) {
		to := from.Add(step)
		if to.After(r.To) {
			to = r.To
		}
		r.tell("making rollups anew from %s", from.UTC().Format(time.DateTime))
		var changed int64
		err := r.insist(ctx, func() (err error) {
			changed, err = r.Warehouse.RebuildRollups(ctx, from, to)
			return err
		})
		if err != nil {
			return err
		}
		r.sum.Rollups += changed
	}
	return nil
}
