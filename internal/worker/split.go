package worker

import (
	"context"
	"errors"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// The warehouse's refusals come as text without a code, so their meaning cannot
// be looked up: "value too long" is the data's fault, "disk full" is not, and
// new ones appear with every release. Guilt is therefore shown, not read: a
// load that is refused again and again is halved until one row is left, and
// that row is guilty only if, several times in turn, the load with it is
// refused while the same load without it would go in.
const (
	refusalsBeforeSplit = 3 // of the same load
	proofs              = 3 // rounds of refused-with, accepted-without
)

// RefusedByWarehouse is the reason of letters that no rule of the decoder
// explains: the warehouse itself refused the row. Their detail is its message.
const RefusedByWarehouse event.Reason = "refused by the warehouse"

// dataAtFault reports whether err may be a row's fault.
func (w *Worker) dataAtFault(err error) bool {
	var refused *warehouse.StatementError
	return errors.As(err, &refused) && refused.Kind == nil
}

// split loads the halves of a refused load one after the other; each is split
// again if it is refused too.
func (w *Worker) split(ctx context.Context, l *load, cause error) {
	switch n := len(l.batch.Rows); n {
	case 0: // nothing but moves and letters: no row to blame
		w.errs.tell("the warehouse refuses loads that carry no rows", cause)
		w.again(ctx, l)
	case 1:
		w.judge(ctx, l, cause)
	default:
		w.log.Warn("the warehouse refuses a load; looking for the row that it refuses", "rows", n, "error", cause)
		head, rest := cut(l.spans, l.places[n/2])
		w.pacedLoad(ctx, w.build(head))
		w.pacedLoad(ctx, w.build(rest))
	}
}

// judge finds out whether the only row of a load is what the warehouse refuses.
func (w *Worker) judge(ctx context.Context, l *load, cause error) {
	sample := warehouse.Row{Order: &event.Order{
		OrderID: "probe", CustomerID: "probe", EventType: "probe", EventTime: time.Now().UnixMicro(),
	}}
	for range proofs {
		if err := w.probe(ctx, sample); err != nil {
			w.errs.tell("the warehouse refuses every load, whatever it carries; waiting for it", err)
			w.again(ctx, l)
			return
		}
		w.pacePause(ctx)
		err := w.attempt(ctx, l)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !w.dataAtFault(err) {
			w.again(ctx, l)
			return
		}
		cause = err
	}
	w.log.Error("the warehouse refuses one record; it goes to the dead letters", "shard", l.spans[l.places[0].span].shard.term.Shard.ID,
		"sequence_number", l.spans[l.places[0].span].records[l.places[0].record].SequenceNumber, "error", cause)
	w.condemn(l, refusal(cause))
	w.pacedLoad(ctx, w.build(l.spans))
}

func (w *Worker) probe(ctx context.Context, sample warehouse.Row) error {
	w.pacePause(ctx)
	return w.cfg.Warehouse.Probe(ctx, sample)
}

// condemn marks the load's only row as rejected in its chunk, so that building
// the load again makes a letter of it.
func (w *Worker) condemn(l *load, detail string) {
	p := l.places[0]
	c := l.spans[p.span].chunk
	r := reject{record: p.record, Rejection: event.Rejection{Reason: RefusedByWarehouse, Detail: detail}}
	at := 0
	for at < len(c.rejects) && c.rejects[at].record < p.record {
		at++
	}
	c.rejects = append(c.rejects[:at:at], append([]reject{r}, c.rejects[at:]...)...)
}

// refusal is the warehouse's own message.
func refusal(err error) string {
	var refused *warehouse.StatementError
	if errors.As(err, &refused) {
		return refused.Message
	}
	return err.Error()
}

// again loads l anew from the first attempt, after a pause.
func (w *Worker) again(ctx context.Context, l *load) {
	w.pause(ctx, newBackoff().most)
	w.pacedLoad(ctx, w.build(l.spans))
}

func (w *Worker) pacedLoad(ctx context.Context, l *load) {
	w.pacePause(ctx)
	w.load(ctx, l)
}

func (w *Worker) pacePause(ctx context.Context) {
	w.pause(ctx, w.pace.wait(time.Now()))
	w.pace.started(time.Now())
}
