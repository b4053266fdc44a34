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
}

// lostFor is how long a lost worker is told of: by then its instance was replaced.
const lostFor = 10 * time.Minute

func newPeers() peers { return peers{make(map[string]time.Time), make(map[string]time.Time)} }

// see takes in a look at the leases.
func (p *peers) see(now time.Time, v lease.View, self string) {
	owns := make(map[string]bool)
	for i := range v.Rows {
		r := &v.Rows[i]
		owns[r.Owner] = true
		switch {
		case r.Owner == "" || r.Owner == self || r.Ended() || r.Foreign || r.Unreadable != "":
		case r.Live(now, v.TTL):
			if _, known := p.seen[r.Owner]; !known {
				p.seen[r.Owner] = now
			}
			delete(p.lost, r.Owner)
		case now.Sub(r.Changed) > v.TTL && now.Sub(v.At) < v.TTL: // the table was read, and it did not renew
			if _, known := p.seen[r.Owner]; known && p.lost[r.Owner].IsZero() {
				p.lost[r.Owner] = r.Changed
			}
		}
	}
	for name := range p.seen {
		if !owns[name] && p.lost[name].IsZero() {
			delete(p.seen, name) // it gave back what it had
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
