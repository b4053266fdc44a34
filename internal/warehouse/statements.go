package warehouse

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// SharedRow names the one row of worker_checkpoints that belongs to no shard,
// by its stream and by its shard. Every load and every claim writes it, with the
// values that it has. Two transactions whose snapshots overlap have then both
// written one row, which is a conflict at every isolation level that Redshift
// has: one of them is rolled back and repeated. The LOCK makes loads wait for
// each other; this row makes them right, whenever the warehouse takes the
// snapshot. Who reads the table passes it over.
const SharedRow = "*"

// sharedSequence is where the shared row always stands.
const sharedSequence = "0"

// step is one statement of a load. Its name says what its result is read for.
type step struct{ name, sql string }

// answerStep names the step that tells how each move's checkpoint stands.
const answerStep = "answer"

// transaction is the load's statements in order.
type transaction []step

func (t transaction) sql() []string {
	out := make([]string, len(t))
	for i, s := range t {
		out[i] = s.sql
	}
	return out
}

// index is where the step of that name is, or -1.
func (t transaction) index(name string) int {
	for i, s := range t {
		if s.name == name {
			return i
		}
	}
	return -1
}

// beforeFill is how many statements of a load come before those of its fill.
const beforeFill = 2

// incomingRow and incomingMove are what load_incoming holds beside the columns of
// facts: of a row its move, its place in order and its family, of a move all that
// it is. A line is either: COPY leaves the other's texts empty, INSERT leaves them
// NULL, and no family and no shard has an empty name.
var (
	incomingRow  = []Column{{"move", "INTEGER", true}, {"ordinal", "INTEGER", true}, {"family", "VARCHAR(20)", true}}
	incomingMove = []Column{
		{"stream_name", "VARCHAR(128)", true},
		{"shard_id", "VARCHAR(128)", true},
		{"term", "BIGINT", true},
		{"from_sequence", "VARCHAR(140)", true},
		{"from_sub", "BIGINT", true},
		{"to_sequence", "VARCHAR(140)", true},
		{"to_sub", "BIGINT", true},
		{"arrived_until", "TIMESTAMP", true},
	}
)

// incoming is the temporary table that a fill brings a batch into. It has the
// columns of all families side by side, so that one file and one COPY bring all
// of them. All columns take NULL.
var incoming = sync.OnceValue(func() *Table {
	columns := slices.Clone(incomingRow)
	for _, f := range factTables {
		for _, c := range f.Columns {
			columns = append(columns, Column{f.staged(c.Name), c.Type, true})
		}
	}
	return &Table{Name: "load_incoming", Columns: append(columns, incomingMove...)}
})

func createIncoming() string {
	rows := incoming()
	return `CREATE TEMP TABLE ` + rows.Name + ` (` + definition("", rows.Columns, ", ") + `)`
}

// families is a set of families.
type families [event.MaxFamilies]bool

// loadTransaction builds the transaction. It cannot branch, so the fence is a
// filter: rows go on only where their move is accepted. The checkpoints stay as
// they are until the last statement, so each accepts the same moves. But for the
// fill, the families carried and the time, the text is the same for every load: a
// warehouse compiles it once.
//
// anew says that the rollups' groups are made anew from the facts.
func loadTransaction(in Names, carried families, fill []string, now time.Time, anew bool) transaction {
	t := transaction{ // of beforeFill statements
		{sql: lockTable(in)},
		{sql: createIncoming()},
	}
	for _, s := range fill {
		t = append(t, step{sql: s})
	}
	t = append(t, step{name: answerStep, sql: `SELECT p.move, c.term, c.sequence_number, c.sub_sequence_number
FROM load_incoming p LEFT JOIN ` + in.Of(CheckpointTable) + ` c ON c.stream_name = p.stream_name AND c.shard_id = p.shard_id
WHERE p.shard_id <> '' ORDER BY p.move`})
	for i, f := range factTables { // where none is carried, positions alone move
		if carried[i] {
			t = append(t, f.load(in, anew)...)
		}
	}
	return append(t, moveStep(in, now))
}

// moveStep moves the checkpoints, and writes the shared row.
func moveStep(in Names, now time.Time) step {
	return step{sql: `UPDATE ` + in.Of(CheckpointTable) + ` SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = GREATEST(p.arrived_until, worker_checkpoints.arrived_until), updated_at = ` + timestampLiteral(now) + `
FROM load_incoming p
WHERE ` + accepts(CheckpointTable)}
}

// lockTable makes loads come one after another.
func lockTable(in Names) string { return "LOCK TABLE " + in.Of(LockTable) }

// accepts is true of a checkpoint, by the name that a statement gives it, that
// stands where a proposed move p starts, under its term. The lines of
// load_incoming that are rows name no stream, so no checkpoint is theirs.
func accepts(checkpoint string) string {
	return strings.ReplaceAll(`@.stream_name = p.stream_name AND @.shard_id = p.shard_id AND @.term = p.term
 AND @.sequence_number = p.from_sequence AND @.sub_sequence_number = p.from_sub`, "@", checkpoint)
}

// proposal is a move as load_incoming holds it.
type proposal struct {
	index  int // the number by which rows name it
	stream string
	Move
}

// proposals are the batch's moves, and behind them that of the shared row.
func (b Batch) proposals() []proposal {
	return append(b.moves(0), sharedMove(len(b.Moves)))
}

// moves are the batch's moves, numbered from first on.
func (b Batch) moves(first int) []proposal {
	out := make([]proposal, 0, len(b.Moves)+1)
	for i, m := range b.Moves {
		out = append(out, proposal{first + i, b.Stream, m})
	}
	return out
}

// sharedMove is the move of the shared row, from where it stands to where it stands.
func sharedMove(number int) proposal {
	shared := Move{Shard: SharedRow}
	shared.From.Sequence, shared.To.Sequence = sharedSequence, sharedSequence
	return proposal{number, SharedRow, shared}
}

const movesHead = "INSERT INTO load_incoming (move, stream_name, shard_id, term, from_sequence, from_sub, to_sequence, to_sub, arrived_until) VALUES "

// insertMoves inserts the batch's moves into load_incoming.
func insertMoves(b Batch) []string {
	proposals := b.proposals()
	values := make([]string, len(proposals))
	for i, p := range proposals {
		values[i] = fmt.Sprintf("(%d,%s,%s,%d,%s,%d,%s,%d,%s)", p.index, Quote(p.stream), Quote(p.Shard), p.Term,
			Quote(p.From.Sequence), p.From.Sub, Quote(p.To.Sequence), p.To.Sub, timestampLiteral(p.ArrivedUntil))
	}
	return insertValues(movesHead, values)
}

// insertValues packs rows, each already in parentheses, into as few statements
// of that beginning as the statement limit allows.
func insertValues(head string, rows []string) []string {
	var out []string
	var b strings.Builder
	for _, row := range rows {
		if b.Len() > 0 && b.Len()+len(row)+1 > maxStatementBytes {
			out = append(out, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString(head)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(row)
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}
