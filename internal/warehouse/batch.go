package warehouse

import (
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Batch is what one load brings into the warehouse: rows, and the moves of the
// shards that they came from. Rows of a shard that the warehouse does not
// accept vanish; the others go in.
type Batch struct {
	Stream string
	Moves  []Move
	Rows   []Row // in the order in which they take effect
	// Alone says that a row is looked for which the warehouse refuses: the batch is to
	// be loaded with nobody else's.
	Alone bool
	// late says that the rows' positions have moved on already: what is equally
	// old and in the warehouse came after them.
	late bool
	// anew says that the groups of the rollups that its rows change are made anew from
	// the facts: somebody may have changed facts or rollups by hand.
	anew bool
}

// ordinal is the place of row i in the order in which rows take effect; those of
// a late batch are below 0.
func (b Batch) ordinal(i int) int {
	if b.late {
		return i - len(b.Rows)
	}
	return i
}

// Move asks to advance one shard, whose rows are in the same batch.
type Move struct {
	Shard        string
	Term         int64           // the term that the worker claimed
	From         stream.Position // where the warehouse must stand for the move to be accepted
	To           stream.Position
	ArrivedUntil time.Time // all records of the shard that arrived before it are at or before To; zero = not known
}

// Row is one row of a batch.
type Row struct {
	Move   int // index in Batch.Moves
	Family event.Family
	Line   []byte // by the Encoder of the Fill that the batch is for
}

// families are those of the rows.
func (b Batch) families() (out families) {
	for _, r := range b.Rows {
		out[r.Family] = true
	}
	return out
}

// Verdict is what became of a move.
type Verdict int

// The verdicts.
const (
	// Committed: the move and its rows are in, by this load or by an earlier try of it.
	Committed Verdict = iota
	// Refused: the shard is held by a later term, or does not stand where the
	// move starts. Nothing of the shard went in.
	Refused
)

// Outcome is the warehouse's answer for one move.
type Outcome struct {
	Verdict  Verdict
	Term     int64           // of the shard in the warehouse now
	Position stream.Position // of the shard in the warehouse now
}

// Written is how many rows of each family's table a load wrote; -1 where an
// earlier try committed, or the warehouse does not say.
type Written [event.MaxFamilies]int64

// Total is the rows of all tables, or -1 where that is not known.
func (w Written) Total() (n int64) {
	for _, rows := range w {
		if rows < 0 {
			return -1
		}
		n += rows
	}
	return n
}

// Loaded is the warehouse's answer for a batch.
type Loaded struct {
	Outcomes []Outcome // one for each move
	Written  Written   // rows of each family's table
	// Took is how long the load itself took, where the call waited for others before it;
	// 0 = as long as the call.
	Took    time.Duration
	guarded bool // the shared row was there and was written
}
