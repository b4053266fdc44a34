package worker

import (
	"slices"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// quiet is the move of a shard that is caught up and has nothing to load: it goes
// nowhere, and says until when nothing is missing.
func (w *Worker) quiet(s *shard) (m warehouse.Move, idle bool) {
	at, until, idle := w.queue.idle(s, w.cfg.PollInterval)
	return warehouse.Move{Shard: s.term.Shard.ID, Term: s.term.N, From: at, To: at, ArrivedUntil: until}, idle
}

// Quiet are the moves of all shards that have nothing else to load, for whoever
// loads anyway: they are worth no load of their own.
func (w *Worker) Quiet() []warehouse.Move {
	var out []warehouse.Move
	for _, s := range w.owned() {
		if m, idle := w.quiet(s); idle {
			out = append(out, m)
		}
	}
	return out
}

// Advanced notes that such moves are in the warehouse.
func (w *Worker) Advanced(moves []warehouse.Move) {
	for _, s := range w.owned() {
		i := slices.IndexFunc(moves, func(m warehouse.Move) bool { return m.Shard == s.term.Shard.ID && m.Term == s.term.N })
		if i >= 0 {
			w.queue.advanced(s, moves[i].ArrivedUntil)
		}
	}
}

// Misled gives a shard up of which somebody said that it is loaded further than it
// is. It is claimed anew, and read from where the warehouse stands.
func (w *Worker) Misled(id string, term int64) {
	for _, s := range w.owned() {
		if s.term.Shard.ID == id && s.term.N == term {
			w.queue.drop(s)
			s.stop(errRefused)
		}
	}
}
