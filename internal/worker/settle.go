package worker

import (
	"context"
	"log/slog"
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
		level := slog.LevelWarn
		if o.Term > m.Term {
			level = slog.LevelInfo // the shard has changed hands
		}
		w.log.Log(ctx, level, "the warehouse refused a shard's rows; giving the shard up", "shard", m.Shard, "term", m.Term,
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
	records, rejected := 0, 0
	for _, sp := range l.spans {
		if _, in := moved[sp.shard]; !in {
			continue
		}
		records += sp.hi - sp.lo
		w.countLatency(sp, now)
		rejected += w.countRejected(sp)
	}
	m.RecordsProcessed.Add(records)
	m.RecordsRejected.Add(rejected)
	m.EventsWritten.Add(records - rejected)
	written := l.written(moved)
	for _, f := range event.Families() {
		m.EventsBy.Add(f.String(), written[f])
		if changed[f] >= 0 {
			m.DuplicateEvents.Add(written[f] - int(changed[f]))
		}
	}
	w.log.Debug("loaded", "records", records, "rejected", rejected, "changed", changed.Total(),
		"took", now.Sub(started).Round(time.Millisecond).String())
}

// written counts the rows of each family whose shards have moved.
func (l *load) written(moved map[*shard]move) (n [event.MaxFamilies]int) {
	for _, r := range l.batch.Rows {
		if _, in := moved[l.owners[r.Move]]; in {
			n[r.Family]++
		}
	}
	return n
}

// countRejected counts the rejected records of a span, and returns how many there are.
func (w *Worker) countRejected(sp span) int {
	from, _ := sp.rejected(sp.lo)
	to, _ := sp.rejected(sp.hi)
	for _, r := range sp.rejects[from:to] {
		w.cfg.Metrics.RejectedBy.Add(string(r.Reason), 1)
		w.cfg.Metrics.RejectedFrom.Add(r.Family, 1)
	}
	return to - from
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
