package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Causes of the end of the context that Own runs under, and what Own returns.
var (
	// ErrLost is the cause when the lease can no longer be trusted: another
	// worker may have it already. What is not committed must be dropped.
	ErrLost = errors.New("lease: lost")
	// ErrDraining is the cause when the Holder stops: finish the load in flight,
	// note its position, return.
	ErrDraining = errors.New("lease: draining")
	// ErrEnded is what Own returns when the shard was read to its end and all of
	// it is committed.
	ErrEnded = errors.New("lease: the shard has ended")
)

// ErrVanished is told of a shard that is no longer listed, as it is past the stream's
// retention, while its lease says that it was not read to its end.
var ErrVanished = errors.New("lease: the shard is past the stream's retention")

// TermBehindError is what Own returns when the warehouse knows a term of the
// shard that is not below its own, as after the lease table was made anew. The
// Holder raises the term above it and starts Own again.
type TermBehindError struct{ Warehouse int64 }

func (e *TermBehindError) Error() string {
	return fmt.Sprintf("the warehouse already knows term %d", e.Warehouse)
}

// Term is one stretch of ownership of a shard.
type Term struct {
	Shard stream.Shard
	N     int64           // above that of every earlier stretch
	Start stream.Position // the lease row's checkpoint: for a shard that the warehouse has no position of
	// Stream is the stream that the shard is of, as it was last asked for.
	Stream stream.Identity
}

// Config is what a Holder needs to know. The intervals may be left zero.
type Config struct {
	Table  Table
	Shards func(context.Context) ([]stream.Shard, error) // lists every shard of the stream
	// Identity tells which stream that is; it is asked beside each listing. Without
	// it rows of all streams count as this one's.
	Identity func(context.Context) (stream.Identity, error)
	// Remake makes the table again, once it turns out that it was deleted; optional.
	Remake func(context.Context) error
	// Past is what is known of the shards where the table is empty: rows with
	// positions and terms, from the warehouse. Optional: without it, shards of a
	// table that was deleted count as never seen.
	Past func(context.Context) ([]Row, error)
	// Self names this process, and must be used by no other one, not even by an
	// earlier one on the same machine: a row that carries it is taken for ours.
	Self string
	// Predecessor is the Self of a process that is known to have ended, such as
	// the one that this one replaces on its machine; may be empty. Its leases are
	// free at once.
	Predecessor string
	TTL         time.Duration // an owner that has not renewed for so long has lost the lease; default 10 s, the same for all workers
	Scan        time.Duration // how often the table is read; default TTL/10, at most 1 s
	Sync        time.Duration // how often the shards are listed; default 30 s
	// Initial is the position at which a shard starts that has no past in the
	// table. The zero Position stands for its oldest record; LATEST must be a time
	// by then, or it would be a later one for each owner.
	Initial func(stream.Shard) stream.Position
	// StreamTime is what the stream's clock showed at a moment of ours, and never
	// more; default: the same as ours.
	StreamTime func(ours time.Time) time.Time
	// Own works on the shard until ctx ends, with cause ErrLost or ErrDraining.
	// It runs once at a time for a shard. When it returns an error of its own,
	// it is started again, under a new term, after a pause; the lease is kept.
	// One that is a *Contradiction is told as that.
	Own func(ctx context.Context, t Term) error
	// Word is what this worker says of itself, and Until the time before which
	// everything that arrived on a shard can be queried; both are written with each
	// renewal. Optional.
	Word  func() string
	Until func(shard string) time.Time
	// Count counts an error that is told in the log as the news that it is, not
	// when it is repeated; optional.
	Count func()
	Log   *slog.Logger
}

// Shortest TTL that leaves room for a few calls to the table in each third.
const minTTL = 100 * time.Millisecond

func (c *Config) complete() error {
	if c.TTL == 0 {
		c.TTL = 10 * time.Second
	}
	if c.Scan == 0 {
		c.Scan = min(time.Second, c.TTL/10)
	}
	if c.Sync == 0 {
		c.Sync = 30 * time.Second
	}
	if c.Initial == nil {
		c.Initial = func(stream.Shard) stream.Position { return stream.Position{} }
	}
	if c.StreamTime == nil {
		c.StreamTime = func(ours time.Time) time.Time { return ours }
	}
	if c.Identity == nil {
		c.Identity = func(context.Context) (stream.Identity, error) { return stream.Identity{}, nil }
	}
	if c.Remake == nil {
		c.Remake = func(context.Context) error { return nil }
	}
	if c.Past == nil {
		c.Past = func(context.Context) ([]Row, error) { return nil, nil }
	}
	if c.Word == nil {
		c.Word = func() string { return "" }
	}
	if c.Until == nil {
		c.Until = func(string) time.Time { return time.Time{} }
	}
	if c.Count == nil {
		c.Count = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var wrong []error
	if c.Table == nil || c.Shards == nil || c.Own == nil {
		wrong = append(wrong, errors.New("lease: Table, Shards and Own must be set"))
	}
	if c.Self == "" {
		wrong = append(wrong, errors.New("lease: Self must name this process"))
	}
	if c.TTL < minTTL {
		wrong = append(wrong, fmt.Errorf("lease: the lease time (%s) must be at least %s", c.TTL, minTTL))
	}
	if c.Scan < 0 || c.Scan > c.TTL/2 {
		wrong = append(wrong, fmt.Errorf("lease: the scan interval (%s) must be above 0 and at most half of the lease time (%s): a dead worker's leases would lie idle", c.Scan, c.TTL))
	}
	if c.Sync < 0 {
		wrong = append(wrong, fmt.Errorf("lease: the shard listing interval (%s) must be above 0", c.Sync))
	}
	return errors.Join(wrong...)
}

// renewEvery leaves room for two more tries within the lease time (KCL's rule).
func (c *Config) renewEvery() time.Duration { return c.TTL/3 - min(25*time.Millisecond, c.TTL/40) }

// trust is how long a lease is believed in after the renewal was sent. The
// margin covers late timers and clocks that run at different speeds: others
// count the whole TTL, from a later moment.
func (c *Config) trust() time.Duration { return c.TTL - c.TTL/10 }
