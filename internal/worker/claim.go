package worker

import (
	"context"
	"errors"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// claimRequest is a claim on its way to the loader, which is the only one that
// talks to the warehouse. Claims that come together go in one transaction.
type claimRequest struct {
	claim  warehouse.Claim
	answer chan<- claimAnswer // buffered
}

type claimAnswer struct {
	claimed warehouse.Claimed
	err     error
}

func (w *Worker) claim(ctx context.Context, c warehouse.Claim) (warehouse.Claimed, error) {
	answer := make(chan claimAnswer, 1)
	select {
	case w.claims <- claimRequest{c, answer}:
	case <-w.done:
		return warehouse.Claimed{}, errors.New("the worker stopped")
	case <-ctx.Done():
		return warehouse.Claimed{}, context.Cause(ctx)
	}
	select {
	case a := <-answer:
		return a.claimed, a.err
	case <-ctx.Done():
		return warehouse.Claimed{}, context.Cause(ctx)
	}
}

// answerClaims runs the claim and those that already wait beside it.
func (w *Worker) answerClaims(ctx context.Context, first claimRequest) {
	requests := []claimRequest{first}
	for more := true; more; {
		select {
		case r := <-w.claims:
			requests = append(requests, r)
		default:
			more = false
		}
	}
	claims := make([]warehouse.Claim, len(requests))
	for i, r := range requests {
		claims[i] = r.claim
	}
	w.writes.began(time.Now())
	stopWaiting := w.watch(ctx, time.Now(), "claim of shards")
	claimed, err := w.cfg.Warehouse.Claim(ctx, w.cfg.Stream, claims)
	stopWaiting()
	if ctx.Err() == nil {
		w.writes.ended(err)
	}
	if err != nil {
		w.cfg.Metrics.WriteErrors.Add(1)
		w.log.Error("claiming shards in the warehouse failed; it is tried again", "shards", len(claims), "error", err, "hint", hint(err))
	}
	for i, r := range requests {
		a := claimAnswer{err: err}
		if err == nil {
			a.claimed = claimed[i]
		}
		r.answer <- a
	}
}
