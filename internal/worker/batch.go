package worker

import (
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// load is spans as the warehouse takes them.
type load struct {
	spans   []span
	batch   warehouse.Batch
	owners  []*shard                       // of batch.Moves
	letters map[*shard][]deadletter.Letter // rejected records, to be stored before the batch goes in
	places  []place                        // where each of batch.Rows came from
	rejects int                            // letters in all
	refused []refusedRow                   // of the letters, those of rows that the warehouse refused
	joined  bool                           // once its only row is parked, its spans go in with those behind it
}

// refusedRow is a row that the warehouse refused, and what of its letter names it.
type refusedRow struct {
	shard  *shard
	row    warehouse.Row
	letter deadletter.Letter
}

// place is a record in load.spans.
type place struct{ span, record int }

// build turns spans into a batch. Spans of shards that are no longer ours are
// left out: the next owner reads them again.
func (w *Worker) build(spans []span) *load {
	l := &load{spans: spans, letters: make(map[*shard][]deadletter.Letter)}
	l.batch.Stream, l.batch.Alone = w.cfg.Stream, w.bisecting > 0
	moves := make(map[*shard]int)
	total := 0
	for _, sp := range spans {
		total += sp.hi - sp.lo
	}
	l.batch.Rows = make([]warehouse.Row, 0, total)
	l.places = make([]place, 0, total)
	for i, sp := range spans {
		s := sp.shard
		at, ours := w.queue.standing(s)
		if !ours {
			continue
		}
		m, seen := moves[s]
		if !seen {
			m = len(l.batch.Moves)
			moves[s] = m
			l.owners = append(l.owners, s)
			l.batch.Moves = append(l.batch.Moves, warehouse.Move{Shard: s.term.Shard.ID, Term: s.term.N, From: at, To: at})
		}
		w.buildSpan(l, i, m)
	}
	w.advanceIdle(l, moves)
	return l
}

func (w *Worker) buildSpan(l *load, i, m int) {
	sp := l.spans[i]
	next, _ := sp.rejected(sp.lo)
	for r := sp.lo; r < sp.hi; r++ {
		if next < len(sp.rejects) && sp.rejects[next].item == r {
			letter := w.letter(sp.chunk, &sp.rejects[next])
			l.letters[sp.shard] = append(l.letters[sp.shard], letter)
			l.rejects++
			if letter.Reason == deadletter.RefusedByWarehouse {
				l.refused = append(l.refused, refusedRow{sp.shard, sp.row(r), letter})
			}
			next++
			continue
		}
		row := sp.row(r)
		row.Move = m
		l.batch.Rows = append(l.batch.Rows, row)
		l.places = append(l.places, place{i, r})
	}
	move := &l.batch.Moves[m]
	if sp.hi > sp.lo {
		move.To = sp.place(sp.hi - 1)
		if at := sp.arrived(sp.hi - 1); at.After(move.ArrivedUntil) {
			move.ArrivedUntil = at
		}
	}
	if sp.ends && sp.last() {
		move.To = stream.Position{Sequence: stream.ShardEnd}
	}
}

// advanceIdle lets shards that are caught up and have nothing to load tell so
// in passing, so that one quiet shard does not hold the completeness watermark
// back. A wholly idle stream costs no loads.
func (w *Worker) advanceIdle(l *load, inBatch map[*shard]int) {
	if len(l.batch.Moves) == 0 {
		return
	}
	for _, s := range w.owned() {
		if _, busy := inBatch[s]; busy {
			continue
		}
		if m, idle := w.quiet(s); idle {
			l.owners = append(l.owners, s)
			l.batch.Moves = append(l.batch.Moves, m)
		}
	}
}

func (w *Worker) letter(c *chunk, r *reject) deadletter.Letter {
	at := c.place(r.item)
	return deadletter.Letter{
		Reason: string(r.Reason), Detail: r.Detail, Stream: w.cfg.Stream, ShardID: c.shard.term.Shard.ID,
		SequenceNumber: at.Sequence, SubSequenceNumber: at.Sub, PartitionKey: r.key,
		ArrivedAt: c.arrived(r.item), RejectedAt: time.Now().UTC(), Data: r.data,
	}
}

// cut splits spans before the record at p.
func cut(spans []span, p place) (head, rest []span) {
	head = append(head, spans[:p.span]...)
	sp := spans[p.span]
	if p.record > sp.lo {
		head = append(head, span{sp.chunk, sp.lo, p.record})
	}
	rest = append(rest, span{sp.chunk, p.record, sp.hi})
	return head, append(rest, spans[p.span+1:]...)
}
