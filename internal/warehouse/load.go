package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Limits of the Redshift Data API for one batch, which is one transaction:
// 40 statements of up to 100 KB each. The byte limit is kept with a margin, as
// AWS does not say whether KB means 1000 or 1024 bytes.
const (
	maxStatements     = 40
	maxStatementBytes = 99_000
)

// Fill brings a batch into the temporary table load_incoming by statements that
// become part of the load's transaction.
type Fill interface {
	// Fits tells how many of the leading rows one load can take, at least 1.
	Fits(rows []Row) int
	// Prepare returns the statements for the batch's rows and moves, at most
	// as many as the families carried leave room for.
	Prepare(ctx context.Context, b Batch) (Filling, error)
	// Encoder returns a new Encoder of the lines that Prepare takes.
	Encoder() Encoder
	// Close tidies up after the loads, until ctx ends.
	Close(ctx context.Context)

	notation() notation
}

// Filling brings one batch into load_incoming.
type Filling struct {
	Statements []string
	// Done is called once the load has ended, in whatever way.
	Done func()
	// Blame tells which of the batch's rows a refusal is about; nil where nothing
	// does. statement is the index in Statements of the one that was refused, -1
	// where not known. It may ask the warehouse.
	Blame func(ctx context.Context, db DB, statement int) (Blame, bool)
}

// spareStatements are left to the moves, about 400 shards a statement: what rows do
// not get, four families need (a test sees to it).
const spareStatements = 3

// fillStatements is how many statements the fill of a load may have that carries
// these families.
func (c families) fillStatements() int {
	n := maxStatements - spareStatements - statementsShared
	for i, carried := range c {
		if carried {
			n -= statementsOf[i]
		}
	}
	return n
}

// statementsShared and statementsOf are how many statements a load has that are
// not its fill's: in any case, and for each family.
var (
	statementsShared = len(loadTransaction(Names{}, families{}, nil, time.Time{}, false))
	statementsOf     = func() (out [event.MaxFamilies]int) {
		for i, f := range factTables {
			out[i] = len(f.load(Names{}, false))
		}
		return out
	}()
)

// Warehouse loads batches through a DB. Its methods may be called concurrently.
type Warehouse struct {
	db   DB
	fill Fill
}

// New returns a Warehouse that fills loads with fill.
func New(db DB, fill Fill) *Warehouse { return &Warehouse{db: db, fill: fill} }

// Close tidies up after the loads, until ctx ends: nothing depends on it, and
// what stays behind costs a little money. No load may be under way.
func (w *Warehouse) Close(ctx context.Context) { w.fill.Close(ctx) }

// Encoder returns a new Encoder of the lines that loads take.
func (w *Warehouse) Encoder() Encoder { return w.fill.Encoder() }

// Fits tells how many of the leading rows one load can take.
func (w *Warehouse) Fits(rows []Row) int { return w.fill.Fits(rows) }

// Load runs one load, one transaction, and returns what became of each move.
//
// A *StatementError means that nothing went in; a *RowsError around it says what
// rows it is about, where that is known. After any other error the load may have
// gone in or not; loading the same batch again is safe and finds out.
func (w *Warehouse) Load(ctx context.Context, b Batch) (Loaded, error) {
	if len(b.Moves) == 0 {
		return Loaded{}, nil
	}
	return w.run(ctx, b, w.blame)
}

// Retry loads rows that belong to no shard any more, as their positions have
// moved on: it moves none, and changes only what is not there or older than a
// row, so that a late or repeated call does no harm. It returns how many rows it
// wrote. Errors are as those of Load.
func (w *Warehouse) Retry(ctx context.Context, rows []Row) (Written, error) {
	return w.loadLate(ctx, lateBatch(rows))
}

// lateBatch is a batch of rows that ride on the move of the shared row.
func lateBatch(rows []Row) Batch {
	b := Batch{Rows: slices.Clone(rows), late: true}
	for i := range b.Rows {
		b.Rows[i].Move = 0 // which is the shared row's
	}
	return b
}

func (w *Warehouse) loadLate(ctx context.Context, b Batch) (Written, error) {
	loaded, err := w.run(ctx, b, nil)
	if err == nil && !loaded.guarded {
		err = fmt.Errorf("load %s again: the shared row of worker_checkpoints is gone, and the next claim makes it", plural.Of(len(b.Rows), "row"))
	}
	return loaded.Written, err
}

// run runs one load. blame, where there is one, adds to an error what rows it is
// about.
func (w *Warehouse) run(ctx context.Context, b Batch, blame func(context.Context, Filling, error) error) (Loaded, error) {
	fill := Filling{Statements: insertMoves(b), Done: func() {}}
	if len(b.Rows) > 0 {
		var err error
		if fill, err = w.fill.Prepare(ctx, b); err != nil {
			return Loaded{}, fmt.Errorf("prepare a load of %s: %w", plural.Of(len(b.Rows), "row"), err)
		}
	}
	defer fill.Done()
	t := loadTransaction(w.db.Names(), b.families(), fill.Statements, time.Now(), b.anew)
	results, err := w.db.Run(ctx, Token(), t.sql())
	if err != nil {
		err = fmt.Errorf("load %s of %s: %w", plural.Of(len(b.Rows), "row"), plural.Of(len(b.Moves), "shard"), err)
		if blame != nil {
			err = blame(ctx, fill, err)
		}
		return Loaded{}, err
	}
	return loaded(b, results[t.index(answerStep)], t.written(results))
}

// Token names one attempt. A new one is drawn for each, also for a repeat of a
// load: what the Data API does with the token of a failed batch is not
// documented, and the fence makes repeats safe without it.
func Token() string { return "load-" + rand.Text() }

// loaded reads the answer, of how things stood before: a row for each move, and
// one for the shared row.
func loaded(b Batch, r Result, written Written) (Loaded, error) {
	out := Loaded{Outcomes: make([]Outcome, len(b.Moves)), Written: written}
	seen := make([]bool, len(b.Moves)+1)
	for _, row := range r.Rows {
		if len(row) != 4 {
			return Loaded{}, fmt.Errorf("load: an answer of %d columns instead of 4", len(row))
		}
		i, err := strconv.Atoi(row[0].Text)
		switch {
		case err != nil || i < 0 || i > len(b.Moves):
			return Loaded{}, fmt.Errorf("load of %s: the warehouse answered for move %q", plural.Of(len(b.Moves), "shard"), row[0].Text)
		case i == len(b.Moves): // twice does no harm: a load writes both
			out.guarded, seen[i] = !row[1].Null, true
			continue
		case seen[i]:
			return Loaded{}, fmt.Errorf("load: worker_checkpoints holds shard %s %w", b.Moves[i].Shard, ErrTwice)
		}
		seen[i] = true
		repeated := false
		if out.Outcomes[i], repeated, err = readOutcome(row, b.Moves[i]); err != nil {
			return Loaded{}, fmt.Errorf("load: answer for shard %s: %w", b.Moves[i].Shard, err)
		}
		if repeated {
			out.Written = Unknown()
		}
	}
	for i := range seen {
		if !seen[i] {
			return Loaded{}, fmt.Errorf("load of %s: the warehouse left out the answer for move %d", plural.Of(len(b.Moves), "shard"), i)
		}
	}
	if !out.guarded {
		// Somebody removed the shared row. What went in stays in; the shards are
		// claimed anew, which makes the row again and tells where they stand.
		for i := range out.Outcomes {
			out.Outcomes[i].Verdict = Refused
		}
	}
	return out, nil
}

// Unknown is how much was written where nothing tells.
func Unknown() (w Written) {
	for i := range w {
		w[i] = -1
	}
	return w
}

// written reads how many rows of each table the load wrote.
func (t transaction) written(results []Result) (w Written) {
	for i, f := range factTables {
		if at := t.index(f.insertStep()); at >= 0 {
			w[i] = results[at].Affected
		}
	}
	return w
}

// readOutcome holds a checkpoint as it stood before the load against the move.
// repeated says that an earlier try of this very load had committed it, and its
// reply was lost.
func readOutcome(row []Value, m Move) (o Outcome, repeated bool, err error) {
	o.Verdict = Refused
	if row[1].Null { // the shard has no checkpoint: never claimed, or the table was emptied
		return o, false, nil
	}
	if o.Term, err = strconv.ParseInt(row[1].Text, 10, 64); err != nil {
		return o, false, fmt.Errorf("term: %w", err)
	}
	sub, err := strconv.ParseInt(row[3].Text, 10, 64)
	if err != nil {
		return o, false, fmt.Errorf("sub_sequence_number: %w", err)
	}
	o.Position = stream.Position{Sequence: row[2].Text, Sub: sub}
	switch {
	case o.Term != m.Term:
	case o.Position == m.From:
		o.Position, o.Verdict = m.To, Committed
	case o.Position == m.To:
		o.Verdict, repeated = Committed, true
	}
	return o, repeated, nil
}
