package fleet

import (
	"context"
	"slices"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// sweep puts aside what the dead have left of shards that were claimed since. Such a
// batch is older than that of whoever has its shard now, and would go first: each would
// cost those who live a load, which changes nothing. That it is staged says nothing; it
// is the warehouse that has to have the later term, which stays.
func (f *Fleet) sweep(ctx context.Context) {
	l, terms := &f.loader, make(map[string]int64)
	for _, b := range l.batches {
		for _, m := range b.Moves {
			terms[m.Shard] = max(terms[m.Shard], m.Term)
		}
	}
	var old []batch
	for _, b := range l.batches {
		if slices.ContainsFunc(b.Moves, func(m move) bool { return m.Term < terms[m.Shard] }) {
			old = append(old, b)
		}
	}
	if len(old) == 0 {
		return
	}
	checkpoints, err := f.c.Warehouse.Checkpoints(ctx, f.c.Stream)
	if err != nil {
		return // the loads find out
	}
	at := make(map[string]warehouse.Checkpoint, len(checkpoints))
	for _, c := range checkpoints {
		at[c.Shard] = c
	}
	var stale []batch
	var all []outcome
	for _, b := range old {
		var answers []warehouse.Outcome
		for _, m := range b.Moves {
			if c := at[m.Shard]; c.Term > m.Term {
				answers = append(answers, warehouse.Outcome{Verdict: warehouse.Refused, Term: c.Term, Position: c.Position})
			}
		}
		if len(answers) == len(b.Moves) {
			stale, all = append(stale, b), append(all, outcomeOf(b.ID, answers))
		}
	}
	if len(stale) > 0 {
		f.tell(ctx, stale, all)
	}
}
