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
	Listed time.Time        // when that was; zero before the first time
	Synced bool             // Shards was listed just before the table was read
	Stream stream.Identity  // of the stream that was listed; zero = not known
	Held   map[string]int64 // the terms of the leases that this worker holds, by shard
	Ended  string           // an owner whose process is known to have ended; see Config.Predecessor
	// Patience is how long listings and rows may contradict each other before that
	// counts: a listing shows a split or an end tens of seconds late.
	Patience time.Duration
	// Rowless is since when a shard that is listed, and has work left, has no row.
	Rowless map[string]time.Time
}

// Seen is a row and what this worker has watched it do, by its own monotonic
// clock: the table holds no time that one would have to trust.
type Seen struct {
	Row
	Changed time.Time // when this worker first saw the row's present counter and owner
	Free    time.Time // since when this worker could have taken it; zero while it cannot
	Lost    time.Time // since when its shard is not listed; zero while it is
	Doubted time.Time // since when it says that a shard has ended which is listed as open; zero while it does not
	// Foreign: the row is of another stream, or of one of this name that was
	// deleted. What it says of positions and of parents and children means nothing.
	Foreign bool
	first   time.Time // when this worker first saw a row of the shard
	left    bool      // the owner's process is known to have ended
}

// Live reports whether the row's owner still counts as alive.
func (s Seen) Live(now time.Time, ttl time.Duration) bool {
	return s.Owner != "" && !s.left && now.Sub(s.Changed) <= ttl
}

// underWay is Row's, for a row of this stream.
func (s Seen) underWay() bool { return !s.Foreign && s.Row.underWay() }

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
		s := Seen{Row: r, Changed: now, first: now, Foreign: v.foreign(r), left: r.Owner != "" && r.Owner == v.Ended}
		if b, ok := before[r.Shard]; ok {
			s.first, s.Free, s.Lost, s.Doubted = b.first, b.Free, b.Lost, b.Doubted
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
		since(&s.Lost, len(v.Shards) > 0 && l.shards[s.Shard] == nil, now)
		since(&s.Doubted, s.Ended() && !s.Foreign && l.open(s.Shard), now)
	}
	for i := range v.Rows {
		s := &v.Rows[i]
		since(&s.Free, l.takeable(s, v, self), now)
	}
	v.Rowless = l.rowless(v.Rowless)
	return v
}

// since keeps in at the beginning of the present stretch in which is has been true.
func since(at *time.Time, is bool, now time.Time) {
	switch {
	case !is:
		*at = time.Time{}
	case at.IsZero():
		*at = now
	}
}

// foreign reports whether the row says that it is of another stream than ours.
func (v View) foreign(r Row) bool {
	return !r.Stream.IsZero() && !v.Stream.IsZero() && !r.Stream.Equal(v.Stream)
}

// Other is the stream that the lease table belongs to where that is not ours,
// but one of another ARN, and else the zero Identity. A table is the stream's
// whose row comes first: should two streams begin in an empty table at the same
// moment, that decides for both of them alike.
func (v View) Other() stream.Identity {
	for _, s := range v.Rows {
		if s.Stream.ARN == "" || v.Stream.ARN == "" {
			continue
		}
		if s.Stream.ARN != v.Stream.ARN {
			return s.Stream
		}
		break
	}
	return stream.Identity{}
}

// stale reports whether what was seen at since has been so for long by what the
// last listing showed.
func (v View) stale(since time.Time) bool {
	return !since.IsZero() && v.Listed.Sub(since) >= v.Patience
}

// lineage answers which shards come before which, from the listing and from
// what the rows remember of shards that are no longer listed.
type lineage struct {
	v        View
	now      time.Time
	rows     map[string]*Seen
	shards   map[string]*stream.Shard
	children map[string][]string
	finished map[string]bool // memo of done; false also guards against loops
}

func newLineage(v View, now time.Time) *lineage {
	l := &lineage{
		v: v, now: now,
		rows:     make(map[string]*Seen, len(v.Rows)),
		shards:   make(map[string]*stream.Shard, len(v.Shards)),
		children: make(map[string][]string),
		finished: make(map[string]bool),
	}
	for i := range v.Shards {
		l.shards[v.Shards[i].ID] = &v.Shards[i]
	}
	for i := range v.Rows {
		s := &v.Rows[i]
		if s.Foreign && l.shards[s.Shard] == nil {
			continue // it takes no part in this stream's lineage
		}
		l.rows[s.Shard] = s
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

func (l *lineage) live(s *Seen) bool { return s.Live(l.now, l.v.TTL) }

// open reports whether the listing shows the shard to take records still: a
// closed one has an ending sequence number, or children.
func (l *lineage) open(id string) bool {
	s := l.shards[id]
	return s != nil && !s.Closed && !slices.ContainsFunc(l.children[id], func(c string) bool { return l.shards[c] != nil })
}

// over reports whether the row says that the shard was read to its end, and can
// be believed: an open shard has no end, whatever a row says for longer than a
// listing may lag.
func (l *lineage) over(s *Seen) bool { return s.Ended() && !s.Foreign && !l.v.stale(s.Doubted) }

// done reports whether a shard without a row was read to its end and had its
// row cleaned up: then a child is under way. A shard whose row has not been
// created yet has no such child, because nobody starts a child before it.
//
// Of a shard that is listed as open, a child that is not listed proves nothing
// unless somebody works on it now: its row may be left over from another stream.
func (l *lineage) done(id string) bool {
	if f, ok := l.finished[id]; ok {
		return f
	}
	l.finished[id] = false
	open := l.open(id)
	f := slices.ContainsFunc(l.children[id], func(c string) bool {
		switch r := l.rows[c]; {
		case r == nil:
			return l.done(c)
		case open && !l.live(r):
			return false
		default:
			return r.underWay()
		}
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
	case l.over(row):
		return true
	default:
		// A shard that is no longer listed is past the retention. Its owner, if
		// it lives, is about to find that out and will say so; see expiries.
		return !listed && !l.live(row)
	}
}

// ready reports whether the shard can be worked on: it is listed, something is
// left in it, and all its parents have ended.
func (l *lineage) ready(s *Seen) bool {
	if l.shards[s.Shard] == nil || l.over(s) || s.Unreadable != "" {
		return false
	}
	return !l.waits(s.Shard)
}

// waits reports whether a parent of the shard has not ended.
func (l *lineage) waits(id string) bool {
	return slices.ContainsFunc(l.parents(id), func(p string) bool { return !l.ended(p) })
}

// takeable reports whether self may take the lease without stealing it. One
// that carries our name although we do not hold it is left over from a take
// whose reply was lost or a lease that we stopped trusting: nobody works on it.
func (l *lineage) takeable(s *Seen, v View, self string) bool {
	if _, held := v.Held[s.Shard]; held || !l.ready(s) {
		return false
	}
	return s.Owner == self || !l.live(s)
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

// rowless are the listed shards that have work left, wait for nothing and have
// no row, and since when that is so.
func (l *lineage) rowless(before map[string]time.Time) map[string]time.Time {
	out := make(map[string]time.Time)
	for id := range l.shards {
		if l.rows[id] != nil || l.done(id) || l.waits(id) {
			continue
		}
		at := before[id]
		since(&at, true, l.now)
		out[id] = at
	}
	return out
}

// stranger reports whether a row that appeared after before belongs to a shard
// that is not listed.
func (v View) stranger(before time.Time) bool {
	return !before.IsZero() && slices.ContainsFunc(v.Rows, func(s Seen) bool {
		return s.first.After(before) && !slices.ContainsFunc(v.Shards, func(sh stream.Shard) bool { return sh.ID == s.Shard })
	})
}

// Owners are the workers that count as alive and own shards of this stream that have
// not ended, in the order of the first such shard of each. All workers see much the
// same, some of them a little later.
func (v View) Owners(now time.Time) []string {
	var out []string
	for _, s := range v.Rows {
		if s.Live(now, v.TTL) && !s.Foreign && !s.Ended() && s.Unreadable == "" && !slices.Contains(out, s.Owner) {
			out = append(out, s.Owner)
		}
	}
	return out
}
