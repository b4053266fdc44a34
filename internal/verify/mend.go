package verify

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Mend is what would mend differences: statements that remove rows which no event
// explains and which a replay would leave alone, and then ranges to replay.
type Mend struct {
	Remove []string      `json:"remove"` // DELETE statements, for some rows at most
	More   int64         `json:"more"`   // rows to remove that they do not name
	Replay []ReplayRange `json:"replay"` // what to run afterwards
}

// ReplayRange is a range of arrival, from one time to before another.
type ReplayRange struct {
	From   time.Time `json:"from"`   // of arrival
	To     time.Time `json:"to"`     // and before
	Shards []string  `json:"shards"` // empty = all
}

const (
	removedKept = 20      // statements
	minutesKept = 100_000 // that the replay of rows makes anew by itself
)

// mender collects what a Mend says.
type mender struct {
	config      Config
	shards      []string // by number
	first, last int64    // arrivals, epoch milliseconds
	any         bool
	in          map[uint32]bool // shards
	covered     map[minuteOf]bool
	minutes     []minuteOf // of rollups that differ
	removed     Mend
}

type minuteOf struct {
	family event.Family
	minute int64 // UTC microseconds
}

func newMender(c Config) *mender {
	return &mender{config: c, in: make(map[uint32]bool), covered: make(map[minuteOf]bool)}
}

func minuteAt(f event.Family, micros int64) minuteOf {
	return minuteOf{f, time.UnixMicro(micros).Truncate(time.Minute).UnixMicro()}
}

// arrived says that what arrived then in a shard is to be replayed.
func (m *mender) arrived(shard uint32, at int64) {
	shard &^= lateShard
	if !m.any {
		m.first, m.last, m.any = at, at, true
	}
	m.first, m.last, m.in[shard] = min(m.first, at), max(m.last, at), true
}

// row says that a key's row is missing, or that it is fact and not what was told. One
// that is not older has to go first: a replay takes it for that of a later event.
func (m *mender) row(s *standing, fact *held) {
	for shard, t := range s.newest {
		if m.config.Families != nil && !slices.Contains(m.config.Families, t.Family) {
			return
		}
		m.arrived(shard, t.arrived)
		m.cover(t.row)
	}
	switch {
	case fact == nil:
	case fact.Time < s.newestTime():
		m.cover(fact.row)
	default:
		m.remove(fact)
	}
}

// cover notes a minute that the replay makes anew when the row comes or goes.
func (m *mender) cover(r row) {
	if len(m.covered) < minutesKept {
		m.covered[minuteAt(r.Family, r.Time)] = true
	}
}

func (m *mender) remove(h *held) {
	sql, ok := h.deletion(m.config.DB.Names())
	if !ok || len(m.removed.Remove) == removedKept {
		m.removed.More++
		return
	}
	m.removed.Remove = append(m.removed.Remove, sql)
}

func (m *mender) rollup(f event.Family, minute time.Time) {
	m.minutes = append(m.minutes, minuteAt(f, minute.UnixMicro()))
}

// finish is the Mend, or nil where a replay mends nothing.
func (m *mender) finish() *Mend {
	out := m.removed
	if out.Remove == nil {
		out.Remove = []string{} // and no null in JSON
	}
	if m.any {
		r := ReplayRange{Shards: []string{}, From: time.UnixMilli(m.first).UTC(), To: time.UnixMilli(m.last + 1).UTC()}
		if len(m.in) < len(m.shards) {
			for i, id := range m.shards {
				if m.in[uint32(i)] {
					r.Shards = append(r.Shards, id)
				}
			}
		}
		out.Replay = append(out.Replay, r)
	}
	var first, last int64
	for _, minute := range m.minutes {
		if m.covered[minute] {
			continue
		}
		if first == 0 || minute.minute < first {
			first = minute.minute
		}
		last = max(last, minute.minute)
	}
	if first != 0 {
		out.Replay = append(out.Replay, ReplayRange{Shards: []string{}, From: time.UnixMicro(first).UTC(), To: time.UnixMicro(last).UTC().Add(time.Minute)})
	}
	if out.Replay == nil {
		return nil
	}
	return &out
}

// deletion is a statement that removes the row, unless its key holds what cannot be
// shown and copied.
func (h *held) deletion(in warehouse.Names) (sql string, ok bool) {
	f := warehouse.FactsOf(h.Family)
	values := strings.Split(h.Values, "\x00")
	var where []string
	for i, c := range f.Columns {
		switch {
		case !isKey(f, c.Name):
			continue
		case strings.HasPrefix(c.Type, "VARCHAR"):
			if strings.ContainsFunc(values[i], func(r rune) bool { return !unicode.IsPrint(r) }) {
				return "", false
			}
			where = append(where, c.Name+" = "+warehouse.Quote(values[i]))
		default:
			if _, err := strconv.ParseInt(values[i], 10, 64); err != nil {
				return "", false
			}
			where = append(where, c.Name+" = "+values[i])
		}
	}
	return "DELETE FROM " + in.Of(f.Name) + " WHERE " + strings.Join(where, " AND "), true
}
