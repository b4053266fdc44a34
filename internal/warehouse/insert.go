package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// Insert fills loads by multi-row INSERT statements. It needs nothing beside
// the warehouse; a load takes about 15,000 orders, which the Data API's limits
// set (40 statements of 100 KB).
type Insert struct{}

// Fits tells how many of the leading rows fit the statements of one load.
func (Insert) Fits(rows []Row) int {
	const perStatement = maxStatementBytes - len(insertHead)
	statements, used := 1, 0
	for i, r := range rows {
		n := literalSize(r.Order)
		if used+n > perStatement {
			statements++
			used = 0
		}
		if statements > fillStatements {
			return i
		}
		used += n
	}
	return len(rows)
}

const insertHead = "INSERT INTO load_incoming (move, ordinal, order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp) VALUES "

// literalSize bounds the length of the row's literal in a statement. The fixed
// part covers punctuation, seven numbers at their longest and the timestamp.
func literalSize(o *event.Order) int {
	const fixed = 110
	return fixed + quotedSize(o.OrderID) + quotedSize(o.CustomerID) + quotedSize(o.EventType)
}

func quotedSize(s string) int {
	return len(s) + strings.Count(s, `'`) + strings.Count(s, `\`)
}

// Prepare writes the moves and the rows as INSERT statements. A refusal of one of
// them is about its rows.
func (Insert) Prepare(_ context.Context, batch Batch) (Filling, error) {
	out := insertMoves(batch)
	moves := len(out)
	var begins []int // the first row of each statement behind those of the moves
	var c clock
	b := make([]byte, 0, maxStatementBytes)
	for i, r := range batch.Rows {
		if len(b) > 0 && len(b)+literalSize(r.Order) > maxStatementBytes {
			out = append(out, string(b))
			b = b[:0]
		}
		if len(b) == 0 {
			b = append(b, insertHead...)
			begins = append(begins, i)
		} else {
			b = append(b, ',')
		}
		b = appendRowLiteral(b, &c, batch.ordinal(i), r)
	}
	if len(b) > 0 {
		out = append(out, string(b))
	}
	if n := len(out) - moves; n > fillStatements {
		return Filling{}, fmt.Errorf("%d rows need %d statements, %d fit", len(batch.Rows), n, fillStatements)
	}
	begins = append(begins, len(batch.Rows))
	blame := func(_ context.Context, _ DB, statement int) (Blame, bool) {
		at := statement - moves
		if at < 0 || at >= len(begins)-1 {
			return Blame{}, false
		}
		return Blame{From: begins[at], To: begins[at+1]}, true
	}
	return Filling{Statements: out, Done: func() {}, Blame: blame}, nil
}

// Close has nothing to do.
func (Insert) Close(context.Context) {}

func appendRowLiteral(b []byte, c *clock, ordinal int, r Row) []byte {
	o := r.Order
	b = append(b, '(')
	b = strconv.AppendInt(b, int64(r.Move), 10)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(ordinal), 10)
	b = append(b, ',')
	b = appendQuoted(b, o.OrderID)
	b = append(b, ',')
	b = appendQuoted(b, o.CustomerID)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(o.StoreID), 10)
	b = append(b, ',')
	b = appendCents(b, o.AmountCents)
	b = append(b, ',')
	b = strconv.AppendInt(b, int64(o.ItemCount), 10)
	b = append(b, ',')
	b = appendQuoted(b, o.EventType)
	b = append(b, ',', '\'')
	b = c.append(b, o.EventTime)
	return append(b, '\'', ')')
}
