package fleet

import (
	"context"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// idleLook is how often a worker that does not load looks whether it is to.
const idleLook = 500 * time.Millisecond

// news is what a worker told of its quiet shards. Of Run's goroutine alone.
type news struct {
	next  time.Time // when to look again
	loads int64     // that the word told of, when it was last looked at
	by    string    // whose loads these are
	sent  batch     // that others may load; its ID is empty = none
	moves []warehouse.Move
	own   []warehouse.Move // of this worker's quiet shards, in the load that it makes
}

// tellNews lets the quiet shards of a worker that does not load say so, while the
// fleet loads: what others stage would carry the completeness watermark along with
// it only as far as these shards. It returns when to look again.
func (f *Fleet) tellNews(ctx context.Context, p place) time.Duration {
	n, now := &f.news, time.Now()
	if again, held := f.lookForHeld(ctx, p); held {
		return again
	}
	if !p.shared() || now.Before(n.next) {
		return idleLook
	}
	n.next = now.Add(f.c.PollInterval)
	f.look(ctx, p.folder)
	f.mu.Lock()
	w, busy := f.word, len(f.mine) > 0
	f.mu.Unlock()
	loading := w.Loads != n.loads || w.Loader != n.by
	n.loads, n.by = w.Loads, w.Loader
	if i := slices.IndexFunc(w.Done, func(o outcome) bool { return o.ID == n.sent.ID }); i >= 0 {
		f.advanced(n.moves, w.Done[i])
		n.sent = batch{}
	}
	if !loading || busy { // a batch carries the news of its worker's quiet shards
		return idleLook
	}
	if n.sent.ID != "" {
		f.c.Copy.Remove(ctx, n.sent.names()...)
		n.sent = batch{}
	}
	if n.moves = f.c.Quiet(); len(n.moves) == 0 {
		return idleLook
	}
	b := f.newBatch(p.folder, warehouse.Staged{Stream: f.c.Stream, Moves: n.moves})
	b.News = true
	if err := f.put(ctx, b); err != nil {
		f.c.Log.Debug("the news of quiet shards cannot be told; they are told later", "error", err)
		f.c.Copy.Remove(ctx, b.names()...)
		return idleLook
	}
	n.sent = b
	return idleLook
}

// withNews adds to what is loaded the news of this worker's quiet shards, as far as
// nothing else moves them.
func (f *Fleet) withNews(set []batch) []batch {
	moves := slices.DeleteFunc(f.c.Quiet(), func(m warehouse.Move) bool {
		return slices.ContainsFunc(set, func(b batch) bool {
			return slices.ContainsFunc(b.Moves, func(o move) bool { return o.Shard == m.Shard })
		})
	})
	if len(moves) == 0 {
		return set
	}
	b := f.newBatch("", warehouse.Staged{Stream: f.c.Stream, Moves: moves})
	b.News = true
	f.news.own = moves
	return append(slices.Clone(set), b)
}

// advanced passes on which quiet shards' moves went in.
func (f *Fleet) advanced(moves []warehouse.Move, o outcome) {
	loaded, err := o.of(warehouse.Batch{Moves: moves})
	if err != nil {
		return
	}
	var in []warehouse.Move
	for i, m := range moves {
		if loaded.Outcomes[i].Verdict == warehouse.Committed {
			in = append(in, m)
		}
	}
	f.c.Advanced(in)
}
