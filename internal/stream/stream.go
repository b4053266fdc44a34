// Package stream names the parts of a Kinesis data stream as plain values:
// shards and their lineage, positions in a shard, records. It does no I/O.
package stream

import (
	"errors"
	"time"
)

// Errors that a reader of a shard tells apart, whatever the service calls them.
var (
	// ErrThrottled: the service asks for fewer calls. Nothing was read; the
	// same call may be made again later.
	ErrThrottled = errors.New("throttled")
	// ErrGone: the shard or the stream is no longer there (a shard is gone
	// once all its records are past the retention).
	ErrGone = errors.New("not found")
	// ErrBadPosition: the service does not know the position in this shard,
	// as when a stream was deleted and made anew under the same name.
	ErrBadPosition = errors.New("position is not in this shard")
	// ErrIncomplete: the service answered, and the reply lacks what it must hold:
	// a page that names no next iterator of an open shard, or nothing at all. Nothing
	// of it was taken; the same call may be made again.
	ErrIncomplete = errors.New("the reply is not complete")
	// ErrDenied: the caller may not make this call; trying again will not help
	// until someone changes the permissions.
	ErrDenied = errors.New("access denied")
)

// Identity tells a stream from others of its name: the ARN from those in other
// accounts and regions, the time of its creation from one that was deleted
// before it was made anew. Positions hold for one Identity alone.
type Identity struct {
	ARN     string    // empty = not known
	Created time.Time // UTC, to the millisecond; zero = not known
}

// IsZero reports whether nothing is known of the stream.
func (i Identity) IsZero() bool { return i.ARN == "" && i.Created.IsZero() }

// Equal reports whether both are the same stream.
func (i Identity) Equal(o Identity) bool { return i.ARN == o.ARN && i.Created.Equal(o.Created) }

// String is the identity on one line, for people and for tables of text.
func (i Identity) String() string {
	return i.ARN + " created " + i.Created.UTC().Format(time.RFC3339)
}

// Shard is one shard of a stream as ListShards describes it.
type Shard struct {
	ID             string
	Parents        []string // none, one (split) or two (merge); some may no longer be listed
	HashStart      string   // first hash key, decimal, 0..2^128-1
	HashEnd        string   // last hash key, inclusive
	Closed         bool     // takes no more records; what it holds stays readable
	FirstSequence  string   // sequence number at which the shard starts
	ClosedSequence string   // sequence number at which it was closed; empty while open
}

// Record is one event as a producer put it: a Kinesis record, or one of those
// that a Kinesis record holds (see Deaggregate).
type Record struct {
	SequenceNumber string    // decimal, up to 129 digits; see CompareSequence
	SubSequence    int64     // index among the events of one Kinesis record, from 0
	PartitionKey   string    // may be empty (on-demand streams with automatic placement)
	ArrivedAt      time.Time // ApproximateArrivalTimestamp, ms precision, UTC
	Data           []byte    // must not be changed
}

// Page is what one read of a shard returned.
type Page struct {
	Records []Record      // in order; may be empty although more lie ahead
	Behind  time.Duration // how far this page is from the shard's tip; 0 = caught up
	AsOf    time.Time     // the service's time just before it made the page, never later; zero = it did not say
	Ended   bool          // the shard is closed, which was shown, and this was its last page
	Trimmed bool          // the position asked for was no longer there: records may have been trimmed unread
	Bytes   int           // memory that the page holds
	// Free gives the memory of Records to a later page. Calling it is not needed;
	// after it no record, and no text or data of one, may be used. Nil where the
	// memory is not lent.
	Free func()
}
