package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Row is one lease as the table holds it: KCL's attributes, and four of our own
// that KCL ignores: the term, the stream, and what the owner says.
type Row struct {
	Shard         string          // the key
	Owner         string          // empty means that nobody has it
	Counter       int64           // grows by one at every Update: how others see that the owner lives
	Checkpoint    stream.Position // a copy for KCL's tools; the warehouse is the authority
	OwnerSwitches int64           // changes of owner since the checkpoint last moved
	Parents       []string        // sorted; may name shards that are no longer listed
	Children      []string        // sorted; written when the shard has been read to its end
	HashStart     string          // decimal, as in stream.Shard
	HashEnd       string
	Term          int64 // of the latest stretch of ownership; never goes down while the row lives
	// Stream is the stream that the row is of; zero where nobody wrote it down:
	// KCL, or an older version of ours. Such a row counts as one of this stream's.
	Stream stream.Identity
	// Word is what the owner says of itself, in its own words, for everybody to read;
	// it stands in one of its rows. Until is the time before which everything that
	// arrived on the shard can be queried, to the millisecond; zero = not known.
	Word  string
	Until time.Time
	// Unreadable says why a row that has a shard's key is no lease; empty = it is
	// one. Of an unreadable row nothing but Shard is known, and nobody writes it.
	Unreadable string
}

// Ended reports whether the shard has been read to its end.
func (r Row) Ended() bool { return r.Checkpoint.Sequence == stream.ShardEnd }

// underWay reports whether anyone has ever worked on the row's shard. We do
// that only after all its parents have ended, so it also says that they have.
func (r Row) underWay() bool {
	return r.Owner != "" || r.Term > 0 || r.OwnerSwitches > 0 || r.Checkpoint.IsSequence() || r.Ended()
}

// Table keeps the rows. Every method is safe for concurrent use, and an error
// other than a *ConflictError leaves open whether a write took effect.
type Table interface {
	// List returns every lease row, in any order, as of some moment after the
	// call began. Where there is no table, the error is stream.ErrGone.
	List(ctx context.Context) ([]Row, error)
	// Create writes the row unless its shard has one, and reports whether it did.
	Create(ctx context.Context, r Row) (bool, error)
	// Update sets those of Owner, Checkpoint, OwnerSwitches, Children, Term, Stream,
	// Word and Until in which want differs from seen, and adds one to the counter, provided
	// that the row still exists with seen's counter and owner; it returns the row as
	// written. Otherwise it returns a *ConflictError. All else is kept, also what
	// others wrote without touching the counter, and what it does not know.
	Update(ctx context.Context, seen, want Row) (Row, error)
	// Delete removes the row under the same condition. A row that is not there
	// counts as removed.
	Delete(ctx context.Context, seen Row) error
}

// ErrConflict is what a *ConflictError is: somebody else changed the row.
var ErrConflict = errors.New("lease: the row was changed by someone else")

// ConflictError reports a write whose condition did not hold, and the row as
// it stood then, so that the caller can tell its own repeated write from
// another worker's.
type ConflictError struct {
	Shard string
	Found bool // false: the row is not there
	Now   Row
}

func (e *ConflictError) Error() string {
	if !e.Found {
		return fmt.Sprintf("lease of %s: its row is gone", e.Shard)
	}
	return fmt.Sprintf("lease of %s: owner is now %q at counter %d", e.Shard, e.Now.Owner, e.Now.Counter)
}

// Is makes errors.Is(err, ErrConflict) work.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }
