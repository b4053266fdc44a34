// Package admin serves what a worker is doing over HTTP: for health checks, for
// scripts, for people.
package admin

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Config is what the pages show.
type Config struct {
	Version string
	Worker  string // name of this worker
	Stream  string
	Status  func() worker.Status
	Metrics *metrics.Metrics
}

// Status is the document under /status.
type Status struct {
	Version       string        `json:"version"`
	Worker        string        `json:"worker"`
	Stream        string        `json:"stream"`
	Read          int64         `json:"records_read"`
	Processed     int64         `json:"records_processed"` // loaded or dead-lettered, committed
	Rejected      int64         `json:"records_rejected"`
	Written       int64         `json:"events_written"`
	Duplicates    int64         `json:"duplicate_events"`
	Waiting       int           `json:"records_waiting"`
	BehindMillis  int64         `json:"millis_behind_latest"`
	HeldBytes     int64         `json:"held_bytes"`
	LoadP50Millis int64         `json:"load_p50_millis"`
	LoadP99Millis int64         `json:"load_p99_millis"`
	DelayP50      int64         `json:"end_to_end_p50_millis"`
	DelayP99      int64         `json:"end_to_end_p99_millis"`
	Shards        []ShardStatus `json:"shards"`
}

// ShardStatus is one owned shard.
type ShardStatus struct {
	ID           string     `json:"id"`
	Term         int64      `json:"term"`
	Position     string     `json:"position"`
	ArrivedUntil *time.Time `json:"arrived_until"` // null = not known
	BehindMillis int64      `json:"millis_behind_latest"`
	Waiting      int        `json:"records_waiting"`
}

// Handler serves the pages.
func Handler(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		_ = e.Encode(c.status())
	})
	return mux
}

func (c Config) status() Status {
	s, m := c.Status(), c.Metrics
	out := Status{
		Version: c.Version, Worker: c.Worker, Stream: c.Stream,
		Read: m.RecordsRead.Value(), Processed: m.RecordsProcessed.Value(), Rejected: m.RecordsRejected.Value(),
		Written: m.EventsWritten.Value(), Duplicates: m.DuplicateEvents.Value(),
		Waiting: s.Waiting, BehindMillis: s.Behind.Milliseconds(), HeldBytes: s.HeldBytes,
		LoadP50Millis: m.WriteDuration.Quantile(0.5).Milliseconds(), LoadP99Millis: m.WriteDuration.Quantile(0.99).Milliseconds(),
		DelayP50: m.EndToEnd.Quantile(0.5).Milliseconds(), DelayP99: m.EndToEnd.Quantile(0.99).Milliseconds(),
		Shards: []ShardStatus{},
	}
	for _, sh := range s.Shards {
		st := ShardStatus{ID: sh.ID, Term: sh.Term, Position: sh.Position.String(), BehindMillis: sh.Behind.Milliseconds(), Waiting: sh.Waiting}
		if !sh.ArrivedUntil.IsZero() {
			st.ArrivedUntil = &sh.ArrivedUntil
		}
		out.Shards = append(out.Shards, st)
	}
	return out
}
