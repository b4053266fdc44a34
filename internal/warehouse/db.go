// Package warehouse loads orders and shard positions into the warehouse, each
// load in one transaction, so that a record takes effect exactly once.
package warehouse

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// Errors that a caller tells apart, whatever the warehouse calls them.
var (
	// ErrThrottled: the warehouse's API asks for fewer calls.
	ErrThrottled = errors.New("warehouse: throttled")
	// ErrTooMany: as many statements are active as the API takes at once. It is an
	// ErrThrottled.
	ErrTooMany = fmt.Errorf("%w: too many statements are active", ErrThrottled)
	// ErrConflict: the transaction lost against another one and was rolled
	// back whole; running it again is right.
	ErrConflict = errors.New("warehouse: transaction conflict")
	// ErrUnavailable: the warehouse cannot be reached or does not start
	// statements (a paused cluster).
	ErrUnavailable = errors.New("warehouse: unavailable")
	// ErrDenied: the caller may not do this; see the wrapped error.
	ErrDenied = errors.New("warehouse: access denied")
	// ErrNoTable: a table that the statement names, or a column of one, is not there.
	ErrNoTable = errors.New("warehouse: no such table or column")
	// ErrEnded: a statement was ended before it was through, or found no room. It
	// is an ErrUnavailable; a smaller one may get through.
	ErrEnded = fmt.Errorf("%w: a statement was ended", ErrUnavailable)
	// ErrFull: the warehouse has no room left for data. It is an ErrEnded.
	ErrFull = fmt.Errorf("%w: no room is left", ErrEnded)
	// ErrTwice: a table holds a key twice, which no load and no claim makes.
	ErrTwice = errors.New("twice")
	// ErrRejected: the warehouse's API refused the statements before any of them
	// ran, for what they say, or as they are too many or too large.
	ErrRejected = errors.New("warehouse: call rejected")
)

// DB runs SQL in the warehouse.
type DB interface {
	// Run executes the statements in order as one transaction: all of them take
	// effect, or none. token names this attempt (1 to 64 characters): calling
	// Run again with the same token and statements after a lost reply does not
	// run them a second time where the warehouse remembers tokens. It returns a
	// Result for each statement.
	//
	// A *StatementError says that the warehouse refused one statement and rolled
	// the transaction back. Any other error leaves open whether the transaction
	// took effect.
	Run(ctx context.Context, token string, statements []string) ([]Result, error)
	// Names says how statements name the worker's tables. It is always the same.
	Names() Names
}

// Result is what one statement returned.
type Result struct {
	Columns  []string
	Types    []string // of the columns, such as int4, numeric, varchar; nil where not told
	Rows     [][]Value
	Affected int64 // rows changed, -1 where not known
}

// Value is one field as text, as the warehouse writes it.
type Value struct {
	Text string
	Null bool
}

// StatementError is the warehouse's refusal of a statement.
type StatementError struct {
	Index   int    // of the statement in the batch, from 0; -1 where not known
	Message string // the warehouse's own words
	Kind    error  // ErrConflict, ErrUnavailable, ... where the edge could tell; else nil
}

func (e *StatementError) Error() string {
	text := e.Message
	if e.Index >= 0 {
		text = fmt.Sprintf("statement %d: %s", e.Index+1, text)
	}
	return text
}

// Shape is the message without what differs from row to row: what stands in
// quotes or parentheses, and digits. Refusals of one shape have one cause.
func (e *StatementError) Shape() string { return shapeless.ReplaceAllString(e.Message, "#") }

var shapeless = regexp.MustCompile(`"[^"]*"|'[^']*'|\([^)]*\)|[0-9]+`)

// Unwrap gives the kind, so that errors.Is(err, ErrConflict) works.
func (e *StatementError) Unwrap() error { return e.Kind }
