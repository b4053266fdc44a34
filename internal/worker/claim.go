package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// claimGather is how long the first claim waits for others. Leases are taken within
// moments of each other, by a look at the table or two, and a claim that is not among
// the first waits until the warehouse has answered those, be it behind other workers'
// claims and loads.
const claimGather = 300 * time.Millisecond

// claimRequest is a claim on its way to the loader, which is the only one that
// talks to the warehouse. Claims that come together go in one transaction.
type claimRequest struct {
	ctx    context.Context // of who waits for the answer
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
	case w.claims <- claimRequest{ctx, c, answer}:
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

// answerClaims runs the claim and those that come with it.
func (w *Worker) answerClaims(ctx context.Context, first claimRequest) {
	requests := w.gatherClaims(ctx, first)
	if len(requests) == 0 {
		return
	}
	claims := make([]warehouse.Claim, len(requests))
	for i, r := range requests {
		claims[i] = r.claim
	}
	w.writes.began(time.Now())
	stopWaiting := w.watch(ctx, time.Now(), "claim of shards")
	claimed, err := w.cfg.Warehouse.Claim(warehouse.Watched(ctx, w.writes.progress), w.cfg.Stream, claims)
	stopWaiting()
	foreign := otherStream(w.cfg.Stream, claims, claimed)
	if ctx.Err() == nil {
		w.writes.ended(errors.Join(err, foreign))
	}
	switch {
	case err != nil:
		w.cfg.Metrics.WriteErrors.Add(1)
		w.log.Error("claiming shards in the warehouse failed; it is tried again", "shards", len(claims), "error", err)
	case foreign != nil:
		w.cfg.Metrics.WorkerErrors.Add(1)
		w.log.Error("the warehouse's positions are of another stream of this name; nothing is read of it", "error", foreign)
	}
	for i, r := range requests {
		a := claimAnswer{err: err}
		if err == nil {
			a.claimed = claimed[i]
		}
		r.answer <- a
	}
}

// gatherClaims are the claim and those that come soon after it, without those that
// nobody waits for any more: their shards went to other workers.
func (w *Worker) gatherClaims(ctx context.Context, first claimRequest) []claimRequest {
	requests := []claimRequest{first}
	timer := time.NewTimer(claimGather)
	defer timer.Stop()
	for gathering := true; gathering; {
		select {
		case r := <-w.claims:
			requests = append(requests, r)
		case <-timer.C:
			gathering = false
		case <-ctx.Done():
			gathering = false
		}
	}
	return slices.DeleteFunc(requests, func(r claimRequest) bool { return r.ctx.Err() != nil })
}

// OtherStreamError says that worker_checkpoints holds positions of another
// stream of the same name: of one that was deleted before this one was made, or
// of one in another account or region. Positions of one mean nothing in another,
// so nothing is read until somebody decides.
type OtherStreamError struct {
	Name         string
	Ours, Theirs stream.Identity
}

func (e *OtherStreamError) Error() string {
	if e.Remade() {
		return fmt.Sprintf("worker_checkpoints holds positions of the stream %s that was made on %s and is gone; this one was made on %s",
			e.Name, e.Theirs.Created.Format(time.RFC3339), e.Ours.Created.Format(time.RFC3339))
	}
	return fmt.Sprintf("worker_checkpoints holds positions of %s, and this worker reads %s: two streams of one name cannot share a schema", e.Theirs.ARN, e.Ours.ARN)
}

// Remade reports whether the positions are of an earlier stream in the place of this one.
func (e *OtherStreamError) Remade() bool { return e.Ours.ARN == e.Theirs.ARN }

// otherStream is the first answer that tells of another stream, or nil.
func otherStream(name string, claims []warehouse.Claim, answers []warehouse.Claimed) error {
	for i, a := range answers {
		if a.Foreign(claims[i]) {
			return &OtherStreamError{Name: name, Ours: claims[i].Stream, Theirs: a.Stream}
		}
	}
	return nil
}
