package vitals

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// peers is what is remembered of the other workers. The lease table forgets one that
// went without a word as soon as others have its shards.
type peers struct {
	seen map[string]time.Time // when each was first seen to live
	lost map[string]time.Time // since when each does not renew; it gave nothing back

	counters map[string]int64     // of the rows, by shard: they go down where the table was made anew
	away     map[string]time.Time // since when each has no lease of a table that was made anew
}

// lostFor is how long a lost worker is told of: by then its instance was replaced.
const lostFor = 10 * time.Minute

func newPeers() peers {
	return peers{make(map[string]time.Time), make(map[string]time.Time), make(map[string]int64), make(map[string]time.Time)}
}

// see takes in a look at the leases.
func (p *peers) see(now time.Time, v lease.View, self string) {
	if p.anew(v) { // it says nothing of who had given something back
		for name := range p.seen {
			if p.lost[name].IsZero() && p.away[name].IsZero() {
				p.away[name] = now
			}
		}
	}
	owns, spare := make(map[string]bool), false
	for i := range v.Rows {
		r := &v.Rows[i]
		spare = spare || owns[r.Owner] && r.Owner != "" && !r.Ended()
		owns[r.Owner] = true
		delete(p.away, r.Owner)
		switch {
		case r.Owner == "" || r.Owner == self || r.Ended() || r.Foreign || r.Unreadable != "":
		case r.Live(now, v.TTL):
			if _, known := p.seen[r.Owner]; !known {
				p.seen[r.Owner] = now
			}
			delete(p.lost, r.Owner)
		case v.At.Sub(r.Changed) > v.TTL: // the table was read, and it did not renew
			if _, known := p.seen[r.Owner]; known && p.lost[r.Owner].IsZero() {
				p.lost[r.Owner] = r.Changed
			}
		}
	}
	for name := range p.seen {
		since, isAway := p.away[name]
		switch {
		case owns[name] || !p.lost[name].IsZero(), isAway && now.Sub(since) <= 2*v.TTL:
		case isAway && spare: // it would have got one of another's
			p.lost[name] = since
			delete(p.away, name)
		default:
			delete(p.seen, name) // it gave back what it had
			delete(p.away, name)
		}
	}
	for name, since := range p.lost {
		// One that was started in its place, on the same machine, is known by its host.
		follows := func(other string) bool {
			return other != name && host(other) == host(name) && p.seen[other].After(since) && p.lost[other].IsZero()
		}
		replaced := false
		for other := range p.seen {
			replaced = replaced || follows(other)
		}
		if replaced || now.Sub(since) > lostFor {
			delete(p.lost, name)
			delete(p.seen, name)
		}
	}
}

// anew reports whether the table is another one than before, and remembers its rows.
func (p *peers) anew(v lease.View) bool {
	anew := len(v.Rows) == 0 && len(p.counters) > 0
	counters := make(map[string]int64, len(v.Rows))
	for i := range v.Rows {
		r := &v.Rows[i]
		anew = anew || r.Counter < p.counters[r.Shard]
		counters[r.Shard] = r.Counter
	}
	p.counters = counters
	return anew
}

// host is a worker's name without the process and the random part.
func host(name string) string {
	parts := strings.Split(name, "-")
	return strings.Join(parts[:max(1, len(parts)-2)], "-")
}

func (p *peers) missed(now time.Time) (out []verdict.Dead) {
	for name, since := range p.lost {
		out = append(out, verdict.Dead{Worker: name, For: now.Sub(since)})
	}
	slices.SortFunc(out, func(a, b verdict.Dead) int { return cmp.Compare(a.Worker, b.Worker) })
	return out
}

// told is what others say of themselves who live.
func (p *peers) told(now time.Time, v lease.View) []verdict.Told {
	return Told(v.Rows, func(s lease.Seen) bool { return s.Live(now, v.TTL) })
}

// Told is what the owners of leases say of themselves, of those that live.
func Told(rows []lease.Seen, live func(lease.Seen) bool) (out []verdict.Told) {
	for _, r := range rows {
		if r.Word == "" || r.Owner == "" || !live(r) {
			continue
		}
		if f, _, ok := verdict.ParseWord(r.Word); ok {
			out = append(out, verdict.Told{Worker: r.Owner, Finding: f})
		}
	}
	slices.SortFunc(out, func(a, b verdict.Told) int { return cmp.Compare(a.Worker, b.Worker) })
	return out
}

// Members are the workers that have a lease, by name. One that is not live may have
// ended, or hang.
func Members(rows []lease.Seen, live func(lease.Seen) bool) []verdict.Member {
	out := []verdict.Member{}
	for _, r := range rows {
		if r.Owner == "" || r.Foreign || r.Unreadable != "" || r.Ended() {
			continue
		}
		i := slices.IndexFunc(out, func(m verdict.Member) bool { return m.Worker == r.Owner })
		if i < 0 {
			i = len(out)
			out = append(out, verdict.Member{Worker: r.Owner})
		}
		m := &out[i]
		m.Shards++
		m.Alive = m.Alive || live(r)
		if f, self, ok := verdict.ParseWord(r.Word); ok {
			m.Says, m.Self = &f, self
		}
	}
	slices.SortFunc(out, func(a, b verdict.Member) int { return cmp.Compare(a.Worker, b.Worker) })
	return out
}
