package warehouse

import (
	"context"
	"fmt"
	"strconv"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// Insert fills loads by multi-row INSERT statements. It needs nothing beside
// the warehouse; a load takes about 17,000 rows, which the Data API's limits
// set (40 statements of 100 KB).
type Insert struct{}

// Encoder writes lines of SQL literals.
func (Insert) Encoder() Encoder { return newEncoder(sqlNotation) }

func (Insert) notation() notation { return sqlNotation }

// insertHeads begin the statements that insert rows, one for each family: its
// columns are others.
var insertHeads = func() []string {
	out := make([]string, len(factTables))
	for i, f := range factTables {
		out[i] = "INSERT INTO load_incoming (move, ordinal, family"
		for _, c := range f.Columns {
			out[i] += ", " + f.staged(c.Name)
		}
		out[i] += ") VALUES "
	}
	return out
}()

// rowLiteralSize bounds the length of the row's literal in a statement, with the
// comma before it: move and ordinal have up to 11 digits.
func rowLiteralSize(r Row) int { return len(r.Line) + len(r.Family.String()) + 2*11 + len("(,,'',),") }

// Fits tells how many of the leading rows fit the statements of one load, which
// carries a row's family in statements of its own.
func (Insert) Fits(rows []Row) int {
	var used [event.MaxFamilies]int
	var carried families
	statements := 0
	for i, r := range rows {
		n := rowLiteralSize(r)
		if used[r.Family] == 0 || used[r.Family]+n > maxStatementBytes {
			statements++
			used[r.Family] = len(insertHeads[r.Family])
		}
		carried[r.Family] = true
		if statements > carried.fillStatements() {
			return i
		}
		used[r.Family] += n
	}
	return len(rows)
}

// Prepare writes the moves and the rows as INSERT statements. A refusal of one of
// them is about its rows.
func (Insert) Prepare(_ context.Context, batch Batch) (Filling, error) {
	out := insertMoves(batch)
	moves := len(out)
	var about []Blame // what each statement behind those of the moves is about
	for i := range factTables {
		family := event.Family(i)
		b := make([]byte, 0, maxStatementBytes)
		for at, r := range batch.Rows {
			if r.Family != family {
				continue
			}
			if len(b) > 0 && len(b)+rowLiteralSize(r) > maxStatementBytes {
				out = append(out, string(b))
				b = b[:0]
			}
			if len(b) == 0 {
				b = append(b, insertHeads[family]...)
				about = append(about, Blame{From: at})
			} else {
				b = append(b, ',')
			}
			about[len(about)-1].To = at + 1
			b = appendRowLiteral(b, batch.ordinal(at), r)
		}
		if len(b) > 0 {
			out = append(out, string(b))
		}
	}
	if n, most := len(out)-moves, batch.families().fillStatements(); n > most {
		return Filling{}, fmt.Errorf("%d rows need %d statements, %d fit", len(batch.Rows), n, most)
	}
	blame := func(_ context.Context, _ DB, statement int) (Blame, bool) {
		at := statement - moves
		if at < 0 || at >= len(about) {
			return Blame{}, false
		}
		return about[at], true
	}
	return Filling{Statements: out, Done: func() {}, Blame: blame}, nil
}

// Close has nothing to do.
func (Insert) Close(context.Context) {}

func appendRowLiteral(b []byte, ordinal int, r Row) []byte {
	b = append(b, '(')
	b = strconv.AppendInt(b, int64(r.Move), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(ordinal), 10)
	b = append(b, ",'"...)
	b = append(b, r.Family.String()...)
	b = append(b, "',"...)
	b = append(b, r.Line...)
	return append(b, ')')
}
