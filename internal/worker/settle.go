package worker

import (
	"context"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// settle takes the warehouse's answer: shards that went in move on, shards that
// were refused are given up.
func (w *Worker) settle(ctx context.Context, l *load, loaded warehouse.Loaded, started time.Time) {
	moved := make(map[*shard]move)
	for i, o := range loaded.Outcomes {
		s, m := l.owners[i], l.batch.Moves[i]
		if o.Verdict == warehouse.Committed {
			moved[s] = move{m.To, m.ArrivedUntil}
			w.cfg.Note(m.Shard, m.To)
			continue
		}
		w.log.Warn("the warehouse refused a shard's rows; giving the shard up", "shard", m.Shard, "term", m.Term,
			"from", m.From.String(), "warehouse_term", o.Term, "warehouse_position", o.Position.String())
		w.queue.drop(s)
		s.stop(errRefused)
	}
	w.count(l, loaded.Written, moved, started)
	w.keep(ctx, l, moved)
	w.queue.settle(l.spans, moved)
}

func (w *Worker) count(l *load, changed warehouse.Written, moved map[*shard]move, started time.Time) {
	m, now := w.cfg.Metrics, time.Now()
	m.WriteDuration.Observe(now.Sub(started), 1)
	records := 0
	for _, sp := range l.spans {
		if _, in := moved[sp.shard]; !in {
			continue
		}
		records += sp.hi - sp.lo
		w.countLatency(sp, now)
	}
	rejected := 0
	for s, letters := range l.letters {
		if _, in := moved[s]; in {
			rejected += len(letters)
			for _, l := range letters {
				m.RejectedBy.Add(l.Reason, 1)
			}
		}
	}
	m.RecordsProcessed.Add(records)
	m.RecordsRejected.Add(rejected)
	m.EventsWritten.Add(records - rejected)
	for f, n := range l.written(moved) {
		m.EventsBy.Add(event.Family(f).String(), n)
		if changed[f] >= 0 {
			m.DuplicateEvents.Add(n - int(changed[f]))
		}
	}
	w.log.Debug("loaded", "records", records, "rejected", rejected, "changed", changed.Total(),
		"took", now.Sub(started).Round(time.Millisecond).String())
}

// written counts the rows of each family whose shards have moved.
func (l *load) written(moved map[*shard]move) (n [event.Families]int) {
	for _, r := range l.batch.Rows {
		if _, in := moved[l.owners[r.Move]]; in {
			n[r.Family]++
		}
	}
	return n
}

// countLatency observes runs of records that arrived in the same instant together.
func (w *Worker) countLatency(sp span, now time.Time) {
	for i := sp.lo; i < sp.hi; {
		at, n := sp.items[i].arrived, 1
		for i+n < sp.hi && sp.items[i+n].arrived == at {
			n++
		}
		w.cfg.Metrics.EndToEnd.Observe(now.Sub(sp.arrived(i)), n)
		i += n
	}
}
