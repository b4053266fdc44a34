package admin

import (
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Status is the document under /status. Fields may be added, never renamed.
type Status struct {
	At            time.Time `json:"at"`
	Version       string    `json:"version"`
	Worker        string    `json:"worker"`
	Started       time.Time `json:"started"`
	Stream        string    `json:"stream"`
	Environment   string    `json:"environment,omitempty"`
	Read          int64     `json:"records_read"`
	Processed     int64     `json:"records_processed"` // loaded or dead-lettered, committed
	Rejected      int64     `json:"records_rejected"`
	Parked        int       `json:"records_parked"` // rows that the warehouse refused and that this worker tries again
	Written       int64     `json:"events_written"`
	Duplicates    int64     `json:"duplicate_events"`
	Waiting       int       `json:"records_waiting"`
	BehindMillis  int64     `json:"millis_behind_latest"`    // of reading
	LagMillis     *int64    `json:"millis_behind_committed"` // age of the oldest record that is not loaded; 0 = there is none, null = a shard was not read yet, and none is known to be behind
	HeldBytes     int64     `json:"held_bytes"`
	Full          bool      `json:"reading_waits_for_memory"` // a load gives it back
	LoadP50Millis int64     `json:"load_p50_millis"`          // since the start; see recent_loads
	LoadP99Millis int64     `json:"load_p99_millis"`
	DelayP50      int64     `json:"end_to_end_p50_millis"`
	DelayP99      int64     `json:"end_to_end_p99_millis"`

	// Loads is how the workers load together; null = this one loads for itself.
	Loads *verdict.Staged `json:"fleet_loads"`

	Shards []ShardStatus `json:"shards"` // those that this worker owns
	// Fleet is all shards of the stream that are not read to their ends, with
	// the names of their owners.
	Fleet []ShardOwner `json:"fleet"`
	// Workers are those that have a shard, and this one.
	Workers []verdict.Member `json:"workers"`
	// ArrivedUntil is the completeness watermark over the owned shards: every
	// order that arrived on them before it is queryable. Null = not known.
	ArrivedUntil      *time.Time       `json:"arrived_until"`
	RetentionHeadroom *float64         `json:"retention_headroom_seconds"` // null = not known
	RejectedByReason  map[string]int64 `json:"rejected_by_reason"`
	Families          []FamilyStatus   `json:"families"`
	RecentLoads       Percentiles      `json:"recent_loads"`
	RecentDelay       Percentiles      `json:"recent_end_to_end"`
	Errors            ErrorCounts      `json:"errors"`
	Warehouse         WarehouseStatus  `json:"warehouse"`
	Process           Process          `json:"process"`
	Alarms            []string         `json:"alarms"`   // what is wrong with shards and leases and does not mend itself
	Problems          []Problem        `json:"problems"` // newest first
	NotReady          string           `json:"not_ready,omitempty"`
	// Verdict is how it goes, in one sentence with the next step, and what else was found.
	Verdict verdict.Verdict `json:"verdict"`
}

// ShardStatus is one owned shard.
type ShardStatus struct {
	ID           string     `json:"id"`
	Term         int64      `json:"term"`
	Position     string     `json:"position"`
	ArrivedUntil *time.Time `json:"arrived_until"` // null = not known
	BehindMillis int64      `json:"millis_behind_latest"`
	LagMillis    *int64     `json:"millis_behind_committed"`
	Waiting      int        `json:"records_waiting"`
}

// FamilyStatus counts the events of one family since the start. The last one of the
// list stands for records of which it could not be told whose they are.
type FamilyStatus struct {
	Family   string `json:"family"` // orders, inventory, payments; none
	Written  int64  `json:"events_written"`
	Rejected int64  `json:"records_rejected"`
}

// ShardOwner is one shard of the stream, whoever owns it.
type ShardOwner struct {
	ID       string `json:"id"`
	Owner    string `json:"owner"` // empty = nobody
	Term     int64  `json:"term"`
	Position string `json:"position"` // as the lease table has it, which follows the warehouse
	// ArrivedUntil is as its owner last wrote into the lease table or, where it wrote
	// nothing, as the warehouse was last asked; null = neither knows. LagMillis is then
	// how far what can be queried is behind, at most.
	ArrivedUntil *time.Time `json:"arrived_until"`
	LagMillis    *int64     `json:"millis_behind_committed"`
}

// Percentiles are of the last minutes.
type Percentiles struct {
	Count  int64    `json:"count"`
	Millis [3]int64 `json:"millis"` // p50, p90, p99
}

// ErrorCounts count since the start.
type ErrorCounts struct {
	Shard  int64 `json:"shard"`
	Write  int64 `json:"write"`
	Worker int64 `json:"worker"`
}

// WarehouseStatus is how the warehouse took the last load or claim.
type WarehouseStatus struct {
	LastSuccess   *time.Time `json:"last_success"`
	WaitingMillis int64      `json:"waiting_millis"` // for the answer to the one under way
	Error         string     `json:"error,omitempty"`
}

func (s *Site) status(now time.Time) Status {
	c := s.c
	st, m := c.Status(), c.Metrics
	loads, _ := m.WriteDuration.QuantileSince(metrics.Mark{}, 0.5, 0.99)
	ends, _ := m.EndToEnd.QuantileSince(metrics.Mark{}, 0.5, 0.99)
	out := Status{
		At: now.UTC(), Version: c.Version, Worker: c.Worker, Started: c.Since.UTC(), Stream: c.Stream, Environment: c.Environment,
		Read: m.RecordsRead.Value(), Processed: m.RecordsProcessed.Value(), Rejected: m.RecordsRejected.Value(), Parked: st.Parked,
		Written: m.EventsWritten.Value(), Duplicates: m.DuplicateEvents.Value(),
		Waiting: st.Waiting, BehindMillis: st.Behind.Milliseconds(), LagMillis: millis(st.Lag, st.Read()), HeldBytes: st.HeldBytes, Full: st.Full,
		LoadP50Millis: loads[0].Milliseconds(), LoadP99Millis: loads[1].Milliseconds(),
		DelayP50: ends[0].Milliseconds(), DelayP99: ends[1].Milliseconds(),
		Shards: []ShardStatus{}, Fleet: []ShardOwner{}, Workers: []verdict.Member{}, Alarms: []string{},
		RejectedByReason: m.RejectedBy.Values(), Families: families(m),
		Errors:   ErrorCounts{m.ShardErrors.Value(), m.WriteErrors.Value(), m.WorkerErrors.Value()},
		Problems: c.Recent.Problems(),
		NotReady: s.notReady(),
		Verdict:  c.Verdict(),
	}
	out.RecentLoads, out.RecentDelay, out.Process = s.past.recent(c)
	out.Process.MemoryLimit = c.MemoryLimit
	if v, ok := m.RetentionHeadroom.Value(); ok {
		out.RetentionHeadroom = &v
	}
	if c.Loads != nil {
		if loads := c.Loads(); loads.Loader != "" {
			out.Loads = &loads
		}
	}
	out.addShards(st)
	out.Warehouse = warehouseStatus(st.Writes, now)
	s.addFleet(&out, now)
	return out
}

// addFleet adds what the lease table tells of all shards and workers.
func (s *Site) addFleet(out *Status, now time.Time) {
	if s.c.Leases == nil {
		return
	}
	leases, loaded := s.c.Leases(), s.feed.loadedUntil()
	out.Alarms = append(out.Alarms, leases.Alarms...)
	out.Workers = append(out.Workers, leases.Workers...)
	if !slices.ContainsFunc(out.Workers, func(m verdict.Member) bool { return m.Worker == out.Worker }) {
		out.Workers = append(out.Workers, verdict.Member{Worker: out.Worker, Shards: len(out.Shards), Alive: true})
	}
	for _, l := range leases.Shards {
		if l.Ended {
			continue
		}
		one := ShardOwner{ID: l.Shard, Owner: l.Owner, Term: l.Term, Position: l.Position}
		until, asOf := l.Until, l.Seen
		if l.Owner == "" || asOf.IsZero() {
			asOf = now // nobody has looked since
		}
		if until.IsZero() {
			until, asOf = loaded[l.Shard], now
		}
		if !until.IsZero() {
			until = until.UTC()
			lag := max(0, asOf.Sub(until).Milliseconds())
			one.ArrivedUntil, one.LagMillis = &until, &lag
		}
		out.Fleet = append(out.Fleet, one)
	}
}

func families(m *metrics.Metrics) []FamilyStatus {
	written, rejected := m.EventsBy.Values(), m.RejectedFrom.Values()
	var out []FamilyStatus
	for _, f := range event.Families() {
		out = append(out, FamilyStatus{f.String(), written[f.String()], rejected[f.String()]})
	}
	return append(out, FamilyStatus{Family: event.NoFamily, Rejected: rejected[event.NoFamily]})
}

func (s *Status) addShards(st worker.Status) {
	s.ArrivedUntil = known(st.CompleteUntil())
	for _, sh := range st.Shards {
		s.Shards = append(s.Shards, ShardStatus{
			ID: sh.ID, Term: sh.Term, Position: sh.Position.String(), ArrivedUntil: known(sh.CompleteUntil),
			BehindMillis: sh.Behind.Milliseconds(), LagMillis: millis(sh.Lag, sh.Read), Waiting: sh.Waiting,
		})
	}
}

// millis is a lag as JSON has it; nil where it is none as far as is known, and not all
// is known.
func millis(lag time.Duration, all bool) *int64 {
	if lag == 0 && !all {
		return nil
	}
	out := lag.Milliseconds()
	return &out
}

// known is a time as JSON has it; nil where it is not known.
func known(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

func warehouseStatus(w worker.WriteStatus, now time.Time) WarehouseStatus {
	var out WarehouseStatus
	if !w.LastSuccess.IsZero() {
		at := w.LastSuccess.UTC()
		out.LastSuccess = &at
	}
	if !w.Waiting.IsZero() {
		out.WaitingMillis = now.Sub(w.Waiting).Milliseconds()
	}
	if w.Failing != nil {
		out.Error = clip(w.Failing.Error())
	}
	return out
}
