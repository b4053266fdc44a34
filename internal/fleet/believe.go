package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// The word of another worker is a hint. A wrong one is found by the next load, which
// starts where the warehouse does not stand and is refused. But a shard that has ended
// has no next load, and on a quiet stream it may take long: so there the warehouse is
// asked. Of a worker that stops it is not: who owns a shard next reads on where the
// warehouse stands, and the answer would take as long as it takes to miss a load.

// askEvery is how long at most a worker believes without having asked.
const askEvery = 30 * time.Second

// beliefs are the moves that this worker was told are in, of which the warehouse was
// not asked yet. Guarded by Fleet.mu.
type beliefs struct {
	moves map[string]warehouse.Move // the last one of each shard
	asked time.Time
}

// errUntrue: what the word says is not so.
var errUntrue = errors.New("fleet: the word is that a batch is in, and the warehouse does not hold that")

// believe takes what was told of a batch. It asks the warehouse of moves that no later
// load would find out about.
func (f *Fleet) believe(ctx context.Context, b warehouse.Batch, told warehouse.Loaded) error {
	var asked, rest []warehouse.Move
	for i, m := range b.Moves {
		switch {
		case told.Outcomes[i].Verdict != warehouse.Committed:
		case m.To.Sequence == stream.ShardEnd:
			asked = append(asked, m)
		case m.From != m.To:
			rest = append(rest, m)
		}
	}
	if len(asked) > 0 {
		wrong, err := f.ask(ctx, asked)
		if err != nil {
			return err
		}
		if len(wrong) > 0 {
			return fmt.Errorf("shard %s: %w", wrong[0].Shard, errUntrue)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range rest {
		if f.beliefs.moves == nil {
			f.beliefs.moves = make(map[string]warehouse.Move)
			f.beliefs.asked = time.Now() // from the first one on
		}
		f.beliefs.moves[m.Shard] = m
	}
	return nil
}

// ask asks the warehouse which of some moves are not in. A shard of a later term is
// another worker's affair.
func (f *Fleet) ask(ctx context.Context, moves []warehouse.Move) (wrong []warehouse.Move, err error) {
	checkpoints, err := f.c.Warehouse.Checkpoints(ctx, f.c.Stream)
	if err != nil {
		return nil, fmt.Errorf("ask the warehouse whether a batch is in: %w", err)
	}
	for _, m := range moves {
		i := slices.IndexFunc(checkpoints, func(c warehouse.Checkpoint) bool { return c.Shard == m.Shard })
		if i < 0 || checkpoints[i].Term < m.Term || checkpoints[i].Term == m.Term && before(checkpoints[i].Position, m.To) {
			wrong = append(wrong, m)
		}
	}
	return wrong, nil
}

// before reports whether a shard that stands at a has not come as far as b, to which a
// load was to bring it.
func before(a, b stream.Position) bool {
	switch {
	case a == b || a.Sequence == stream.ShardEnd:
		return false
	case !a.IsSequence() || b.Sequence == stream.ShardEnd:
		return true
	case !b.IsSequence():
		return false
	}
	c := stream.CompareSequence(a.Sequence, b.Sequence)
	return c < 0 || c == 0 && a.Sub < b.Sub
}

// checkBeliefs checks until ctx ends. It goes beside what else Run does: the question
// takes seconds, and a batch would miss a load.
func (f *Fleet) checkBeliefs(ctx context.Context) {
	each(ctx, time.Second, func() { f.check(ctx) })
}

// check asks the warehouse now and then whether what was believed is so, and gives up
// the shards of which it is not: they are claimed anew, and read from where the
// warehouse stands.
func (f *Fleet) check(ctx context.Context) {
	f.mu.Lock()
	due := len(f.beliefs.moves) > 0 && time.Since(f.beliefs.asked) >= askEvery
	var moves []warehouse.Move
	for _, m := range f.beliefs.moves {
		moves = append(moves, m)
	}
	if due {
		f.beliefs.asked = time.Now()
	}
	f.mu.Unlock()
	if !due {
		return
	}
	wrong, err := f.ask(ctx, moves)
	if err != nil {
		if ctx.Err() == nil {
			f.c.Log.Warn("the warehouse does not tell whether what was loaded for this worker is in; it is asked again", "error", err)
		}
		return
	}
	f.mu.Lock()
	for _, m := range moves {
		if f.beliefs.moves[m.Shard] == m {
			delete(f.beliefs.moves, m.Shard)
		}
	}
	if len(f.beliefs.moves) == 0 {
		f.beliefs.moves = nil
	}
	f.mu.Unlock()
	for _, m := range wrong {
		f.c.Log.Error("a worker that loads for the fleet said that a batch is in, and it is not; the shard is read again from where the warehouse stands",
			"shard", m.Shard, "term", m.Term, "position", m.To.String())
		f.c.Misled(m.Shard, m.Term)
	}
}
