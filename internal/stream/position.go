package stream

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The sequence numbers that stand for a place rather than a record. They are
// the words that KCL writes into its lease table.
const (
	TrimHorizon = "TRIM_HORIZON" // before the oldest record
	Latest      = "LATEST"       // after the newest record
	AtTimestamp = "AT_TIMESTAMP" // before the first record that arrived at Sub, in epoch milliseconds
	ShardEnd    = "SHARD_END"    // after the last record of a closed shard
)

// Position is a place between two records of a shard: everything up to and
// including (Sequence, Sub) is behind it. The zero Position is no position.
type Position struct {
	Sequence string // decimal sequence number, or one of the words above
	Sub      int64  // index among the events of one Kinesis record; epoch milliseconds with AtTimestamp
}

// After is the position just behind record r. It outlives the record's page.
func After(r Record) Position { return Position{strings.Clone(r.SequenceNumber), r.SubSequence} }

// AfterSequence is the position behind every record that shares the sequence
// number (AFTER_SEQUENCE_NUMBER).
func AfterSequence(seq string) Position { return Position{seq, math.MaxInt64} }

// BeforeSequence is the position just before the record (AT_SEQUENCE_NUMBER).
func BeforeSequence(seq string) Position { return Position{seq, -1} }

// AtTime is the position before the first record that arrived at t or later.
func AtTime(t time.Time) Position { return Position{AtTimestamp, t.UnixMilli()} }

// Time is the instant of an AtTimestamp position.
func (p Position) Time() time.Time { return time.UnixMilli(p.Sub).UTC() }

// IsZero reports whether p is no position at all.
func (p Position) IsZero() bool { return p.Sequence == "" }

// IsSequence reports whether p names a record rather than a place in words.
func (p Position) IsSequence() bool {
	return p.Sequence != "" && p.Sequence[0] >= '0' && p.Sequence[0] <= '9'
}

// Covers reports whether record r lies at or before p, so that a reader that
// starts at p must not deliver it. Only sequence positions cover records.
func (p Position) Covers(r Record) bool {
	if !p.IsSequence() {
		return p.Sequence == ShardEnd
	}
	c := CompareSequence(r.SequenceNumber, p.Sequence)
	return c < 0 || c == 0 && r.SubSequence <= p.Sub
}

// String writes the position for people and logs.
func (p Position) String() string {
	switch {
	case p.Sequence == AtTimestamp:
		return AtTimestamp + " " + p.Time().Format(time.RFC3339Nano)
	case p.Sub != 0 && p.Sub != math.MaxInt64:
		return fmt.Sprintf("%s/%d", p.Sequence, p.Sub)
	default:
		return p.Sequence
	}
}

// CompareSequence compares two decimal sequence numbers without leading zeros
// by value: they have up to 129 digits and their lengths differ, so neither
// text order nor 64-bit numbers will do.
func CompareSequence(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		if len(a) < len(b) {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}
