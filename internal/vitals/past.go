package vitals

import (
	"cmp"
	"math/big"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// What happened lately is told of a short while, so that what is over is seen to be
// over; where little arrives, of a longer one.
const (
	lately = 20 * time.Second
	longer = 5 * time.Minute
)

// past is what was counted up to some moments of the last minutes.
type past struct {
	counts []counts                 // a second apart, of the longer while
	shards []map[string]shardCounts // beside the last of them, of the short one
}

type counts struct {
	at                  time.Time
	processed, rejected int64
	orders              int64
	reasons             map[string]int64
}

type shardCounts struct {
	term           int64
	at             time.Time
	reads          worker.Count
	records, bytes int64
	behind         time.Duration
	start, end     string
}

func (p *past) take(now time.Time, st worker.Status, m *metrics.Metrics) {
	c := counts{
		at: now, processed: m.RecordsProcessed.Value(), rejected: m.RecordsRejected.Value(),
		orders: m.EventsBy.Values()[event.Orders.String()],
	}
	if n := len(p.counts); n > 0 && p.counts[n-1].rejected == c.rejected {
		c.reasons = p.counts[n-1].reasons
	} else {
		c.reasons = m.RejectedBy.Values()
	}
	p.counts = append(p.counts, c)
	for len(p.counts) > 1 && now.Sub(p.counts[0].at) > longer {
		p.counts = p.counts[1:]
	}
	shards := make(map[string]shardCounts, len(st.Shards))
	for _, s := range st.Shards {
		shards[s.ID] = shardCounts{s.Term, now, s.Reads, s.Records, s.Bytes, s.Behind, s.HashStart, s.HashEnd}
	}
	p.shards = append(p.shards, shards)
	if over := len(p.shards) - int(lately/lookEvery) - 1; over > 0 {
		p.shards = p.shards[over:]
	}
}

// before is the oldest count that is no older than d.
func (p *past) before(d time.Duration) counts { return p.counts[p.index(d)] }

func (p *past) index(d time.Duration) int {
	last := p.counts[len(p.counts)-1]
	i, _ := slices.BinarySearchFunc(p.counts, d, func(c counts, d time.Duration) int { return cmp.Compare(d, last.at.Sub(c.at)) })
	return i
}

// rate is how many records a second were settled lately, and orders loaded.
func (p *past) rate() (records, orders float64) {
	last, first := p.counts[len(p.counts)-1], p.before(lately)
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return float64(last.processed-first.processed) / took, float64(last.orders-first.orders) / took
	}
	return 0, 0
}

// rejectRate is how many records a second were rejected lately.
func (p *past) rejectRate() float64 {
	last, first := p.counts[len(p.counts)-1], p.before(lately)
	if took := last.at.Sub(first.at).Seconds(); took > 0 {
		return float64(last.rejected-first.rejected) / took
	}
	return 0
}

// reads sums up how reading went lately.
func (p *past) reads(st worker.Status, now time.Time, next NextStep) verdict.Reads {
	r := st.Reads
	out := verdict.Reads{Known: true, Shards: r.Shards, Failing: r.Failed, Trouble: Trouble(Kinesis, r.Last, r.First, next)}
	if !r.First.IsZero() {
		out.Longest = now.Sub(r.First)
	}
	if !r.Since.IsZero() {
		out.All = now.Sub(r.Since)
	}
	first, last := p.shards[0], p.shards[len(p.shards)-1]
	for id, s := range last {
		begin := first[id]
		if begin.term != s.term { // it came later: all that is counted is of this while
			begin = shardCounts{}
		}
		out.Done += s.reads.Done - begin.reads.Done
		out.Failed += s.reads.Failed - begin.reads.Failed
		if !begin.at.IsZero() {
			out.Window = max(out.Window, s.at.Sub(begin.at))
		}
	}
	out.Window = max(out.Window, lookEvery)
	out.Hot = hot(first, last)
	return out
}

// A shard takes 1,000 records and 1 MiB a second from its producers, who are refused
// beyond. One is hot that comes near while the others are far from it.
const (
	mostRecords = 1000
	mostBytes   = 1 << 20
	hotShare    = 0.8 // of what a shard may take
	hotTimes    = 4
	hotBehind   = 10 * time.Second // one that is further behind is read faster than it is filled
	hotFor      = 5 * time.Second
)

func hot(first, last map[string]shardCounts) (out []verdict.Hot) {
	type rates struct{ records, bytes, share float64 }
	all := make(map[string]rates, len(last))
	sum := 0.0
	for id, s := range last {
		begin := first[id]
		took := s.at.Sub(begin.at)
		if begin.term != s.term || took < hotFor {
			return nil // too short a while to say
		}
		r := rates{records: float64(s.records-begin.records) / took.Seconds(), bytes: float64(s.bytes-begin.bytes) / took.Seconds()}
		r.share = max(r.records/mostRecords, r.bytes/mostBytes)
		all[id] = r
		sum += r.share
	}
	for id, r := range all {
		s, others := last[id], (sum-r.share)/float64(max(1, len(all)-1))
		if len(all) > 1 && s.behind < hotBehind && first[id].behind < hotBehind && r.share >= hotShare && r.share >= hotTimes*others {
			out = append(out, verdict.Hot{Shard: id, Records: r.records, Bytes: r.bytes, Others: others, Middle: middle(s.start, s.end)})
		}
	}
	slices.SortFunc(out, func(a, b verdict.Hot) int { return cmp.Compare(b.Records, a.Records) })
	return out
}

// middle is the hash key at which the upper half of a shard begins; empty = its range
// is not known, or has no two halves.
func middle(start, end string) string {
	a, ok := new(big.Int).SetString(start, 10)
	b, ok2 := new(big.Int).SetString(end, 10)
	if !ok || !ok2 || b.Cmp(a) <= 0 {
		return ""
	}
	m := new(big.Int).Add(a, b)
	m.Rsh(m, 1)
	return m.Add(m, big.NewInt(1)).String()
}
