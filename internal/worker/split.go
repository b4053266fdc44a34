package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// The warehouse's refusals come as text without a code, so their meaning cannot
// be looked up: "value too long" is the data's fault, "disk full" is not, and
// new ones appear with every release. Guilt is therefore shown, not read: a
// load is guilty when, several times in turn, it is refused while a load of the
// same kind with another row passes. A guilty load is halved until one row is
// left, and that row goes to the dead letters.

// proofs is how many rounds of refused-with and accepted-without show guilt.
const proofs = 3

// RefusedByWarehouse is the reason of letters that no rule of the decoder
// explains: the warehouse itself refused the row. Their detail is its message.
const RefusedByWarehouse event.Reason = "refused by the warehouse"

// weigh counts the rounds in which the warehouse refused this load and no
// other. Anything else that goes wrong clears the load of suspicion.
func (w *Worker) weigh(ctx context.Context, guilt, rows int, err error) int {
	var refused *warehouse.StatementError
	if rows == 0 || !errors.As(err, &refused) || refused.Kind != nil {
		return 0
	}
	w.turn(ctx)
	if err := w.cfg.Warehouse.Probe(ctx, innocent()); err != nil {
		if ctx.Err() == nil {
			w.log.Error("the warehouse refuses every load, whatever it carries; waiting for it", "error", err)
		}
		return 0
	}
	return guilt + 1
}

// innocent is a row that every warehouse takes. It belongs to no shard, so that
// it takes part in a load and changes nothing.
func innocent() warehouse.Row {
	return warehouse.Row{Order: &event.Order{
		OrderID: "probe", CustomerID: "probe", EventType: "probe", EventTime: time.Now().UnixMicro(),
	}}
}

// halve loads the halves of a guilty load one after the other.
func (w *Worker) halve(ctx context.Context, l *load, cause error) {
	n := len(l.batch.Rows)
	w.log.Warn("the warehouse refuses a load; looking for the row that it refuses", "rows", n, "error", cause)
	head, rest := cut(l.spans, l.places[n/2])
	for _, spans := range [][]span{head, rest} {
		w.turn(ctx)
		w.load(ctx, w.build(spans))
	}
}

// condemn marks the load's only row as rejected in its chunk, so that building
// the load again makes a letter of it.
func (w *Worker) condemn(l *load, cause error) {
	p := l.places[0]
	c := l.spans[p.span].chunk
	w.log.Error("the warehouse refuses one record; it goes to the dead letters", "shard", c.shard.term.Shard.ID,
		"sequence_number", strings.Clone(c.records[p.record].SequenceNumber), "error", cause) // who keeps logs outlives the page
	detail := cause.Error()
	var refused *warehouse.StatementError
	if errors.As(cause, &refused) {
		detail = refused.Message
	}
	at := slices.IndexFunc(c.rejects, func(r reject) bool { return r.record > p.record })
	if at < 0 {
		at = len(c.rejects)
	}
	c.rejects = slices.Insert(slices.Clone(c.rejects), at,
		reject{record: p.record, Rejection: event.Rejection{Reason: RefusedByWarehouse, Detail: detail}})
}
