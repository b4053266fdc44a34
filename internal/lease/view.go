package lease

import (
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// View is what one worker knows of the leases at one moment: the input of Plan,
// and the picture for status pages.
type View struct {
	At     time.Time        // when the table was last read; zero before the first time
	TTL    time.Duration    // how long an owner that does not renew keeps its lease
	Rows   []Seen           // by shard
	Shards []stream.Shard   // as last listed
	Synced bool             // Shards was listed just before the table was read
	Held   map[string]int64 // the terms of the leases that this worker holds, by shard
	Ended  string           // an owner whose process is known to have ended; see Config.Predecessor
}

// Seen is a row and what this worker has watched it do, by its own monotonic
// clock: the table holds no time that one would have to trust.
type Seen struct {
	Row
	Changed time.Time // when this worker first saw the row's present counter and owner
	Free    time.Time // since when this worker could have taken it; zero while it cannot
	first   time.Time // when this worker first saw a row of the shard
	left    bool      // the owner's process is known to have ended
}

// Live reports whether the row's owner still counts as alive.
func (s Seen) Live(now time.Time, ttl time.Duration) bool {
	return s.Owner != "" && !s.left && now.Sub(s.Changed) <= ttl
}

// observe makes the view that follows v once rows were read. now must be taken
// after the reply: a renewal sent while the rows were being read must not look
// older than its sender believes it to be.
func (v View) observe(rows []Row, self string, now time.Time) View {
	before := make(map[string]Seen, len(v.Rows))
	for _, s := range v.Rows {
		before[s.Shard] = s
	}
	v.At = now
	v.Rows = make([]Seen, 0, len(rows))
	for _, r := range rows {
		s := Seen{Row: r, Changed: now, first: now, left: r.Owner != "" && r.Owner == v.Ended}
		if b, ok := before[r.Shard]; ok {
			s.first, s.Free = b.first, b.Free
			if b.Counter == r.Counter && b.Owner == r.Owner {
				s.Changed = b.Changed
			}
		}
		v.Rows = append(v.Rows, s)
	}
	slices.SortFunc(v.Rows, func(a, b Seen) int { return strings.Compare(a.Shard, b.Shard) })

	l := newLineage(v, now)
	for i := range v.Rows {
		s := &v.Rows[i]
		switch {
		case !l.takeable(s, v, self):
			s.Free = time.Time{}
		case s.Free.IsZero():
			s.Free = now
		}
	}
	return v
}

// lineage answers which shards come before which, from the listing and from
// what the rows remember of shards that are no longer listed.
type lineage struct {
	now      time.Time
	ttl      time.Duration
	rows     map[string]*Seen
	shards   map[string]*stream.Shard
	children map[string][]string
	finished map[string]bool // memo of done; false also guards against loops
}

func newLineage(v View, now time.Time) *lineage {
	l := &lineage{
		now: now, ttl: v.TTL,
		rows:     make(map[string]*Seen, len(v.Rows)),
		shards:   make(map[string]*stream.Shard, len(v.Shards)),
		children: make(map[string][]string),
		finished: make(map[string]bool),
	}
	for i := range v.Shards {
		l.shards[v.Shards[i].ID] = &v.Shards[i]
	}
	for i := range v.Rows {
		l.rows[v.Rows[i].Shard] = &v.Rows[i]
	}
	for id := range l.shards {
		l.link(id)
	}
	for id := range l.rows {
		if l.shards[id] == nil {
			l.link(id)
		}
	}
	return l
}

func (l *lineage) link(id string) {
	for _, p := range l.parents(id) {
		l.children[p] = append(l.children[p], id)
	}
}

func (l *lineage) parents(id string) []string {
	if s := l.shards[id]; s != nil {
		return s.Parents
	}
	if r := l.rows[id]; r != nil {
		return r.Parents
	}
	return nil
}

// done reports whether a shard without a row was read to its end and had its
// row cleaned up: then a child is under way. A shard whose row has not been
// created yet has no such child, because nobody starts a child before it.
func (l *lineage) done(id string) bool {
	if f, ok := l.finished[id]; ok {
		return f
	}
	l.finished[id] = false
	f := slices.ContainsFunc(l.children[id], func(c string) bool {
		if r := l.rows[c]; r != nil {
			return r.underWay()
		}
		return l.done(c)
	})
	l.finished[id] = f
	return f
}

// ended reports whether nothing is left to be read in the shard.
func (l *lineage) ended(id string) bool {
	row, listed := l.rows[id], l.shards[id] != nil
	switch {
	case row == nil:
		return !listed || l.done(id)
	case row.Ended():
		return true
	default:
		// A shard that is no longer listed is past the retention. Its owner, if
		// it lives, is about to find that out and will say so.
		return !listed && !row.Live(l.now, l.ttl)
	}
}

// ready reports whether the shard can be worked on: it is listed, something is
// left in it, and all its parents have ended.
func (l *lineage) ready(s *Seen) bool {
	if l.shards[s.Shard] == nil || s.Ended() {
		return false
	}
	return !slices.ContainsFunc(l.parents(s.Shard), func(p string) bool { return !l.ended(p) })
}

// takeable reports whether self may take the lease without stealing it. One
// that carries our name although we do not hold it is left over from a take
// whose reply was lost or a lease that we stopped trusting: nobody works on it.
func (l *lineage) takeable(s *Seen, v View, self string) bool {
	if _, held := v.Held[s.Shard]; held || !l.ready(s) {
		return false
	}
	return s.Owner == self || !s.Live(l.now, l.ttl)
}

// known reports whether any ancestor of the shard has a row.
func (l *lineage) known(id string, visited map[string]bool) bool {
	for _, p := range l.parents(id) {
		if visited[p] {
			continue
		}
		visited[p] = true
		if l.rows[p] != nil || l.known(p, visited) {
			return true
		}
	}
	return false
}

// stranger reports whether a row that appeared after before belongs to a shard
// that is not listed.
func (v View) stranger(before time.Time) bool {
	return !before.IsZero() && slices.ContainsFunc(v.Rows, func(s Seen) bool {
		return s.first.After(before) && !slices.ContainsFunc(v.Shards, func(sh stream.Shard) bool { return sh.ID == s.Shard })
	})
}
