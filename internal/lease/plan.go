package lease

import (
	"cmp"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Kind is what an Action does.
type Kind int

// The kinds of actions.
const (
	Create Kind = iota + 1 // write a row for a shard that has none
	Take                   // become the owner
	Delete                 // remove the row of a shard that has been read to its end
	Expire                 // end a shard that vanished from the stream while nobody owned it
)

func (k Kind) String() string {
	return [...]string{"nothing", "create", "take", "delete", "expire"}[k]
}

// arrivalSkew is how far the clocks that date the arrival of records may be
// apart, and from the one that we go by.
const arrivalSkew = 2 * time.Second

// Action is one step that a worker should make now.
type Action struct {
	Kind  Kind
	Row   Row          // Create: the row to write; else the row as seen. A created row without a checkpoint starts at the initial position
	Shard stream.Shard // for Create and Take
	Wave  int          // Creates of a lower wave come first
	Why   string       // for the log
	// Begin, of a Take, is the position to write down with it, because the row's
	// own is none to begin at; zero = the row's own is one.
	Begin stream.Position
	// Again, of a Take, is that the worker is due more than the plan takes: it should
	// look again at once.
	Again bool
}

// Plan decides what the worker self should do about the leases that it sees.
// It is a pure function: chance comes from self and now alone, so that workers
// who plan at the same moment choose differently.
func Plan(v View, self string, now time.Time) []Action {
	if !v.Other().IsZero() {
		return nil
	}
	l := newLineage(v, now)
	var out []Action
	// A listing that is older than the rows may lack the children of a shard
	// that has ended since; then it must not be used to create or delete. An
	// empty one is a stream being made or deleted.
	if v.Synced && len(v.Shards) > 0 {
		out = append(out, creates(v, l)...)
		out = append(out, deletes(v, l)...)
		out = append(out, expiries(v, l)...)
	}
	return append(out, takes(v, l, self, now)...)
}

// creates plans the missing rows, descendants first: a crash in the middle then
// leaves no ancestor whose row would make its children, still missing, look
// like the outcome of a later split.
func creates(v View, l *lineage) []Action {
	var out []Action
	heights := make(map[string]int)
	remade := slices.ContainsFunc(v.Rows, func(s Seen) bool { return s.Foreign && s.Stream.ARN == v.Stream.ARN })
	for _, s := range v.Shards {
		if l.rows[s.ID] != nil || l.done(s.ID) {
			continue
		}
		r := newRow(s)
		why := "first sight of the stream"
		switch {
		case l.known(s.ID, map[string]bool{}):
			// Not the initial position, which may be LATEST: the split may be
			// older than this process.
			r.Checkpoint = stream.Position{Sequence: stream.TrimHorizon}
			why = "a split or merge"
		case remade: // nor here: the new stream may have been written to for a while
			r.Checkpoint = stream.Position{Sequence: stream.TrimHorizon}
			why = "the stream was deleted and made anew"
		}
		out = append(out, Action{Kind: Create, Row: r, Shard: s, Wave: l.height(s.ID, heights), Why: why})
	}
	slices.SortStableFunc(out, func(a, b Action) int { return cmp.Compare(a.Wave, b.Wave) })
	return out
}

func newRow(s stream.Shard) Row {
	return Row{Shard: s.ID, Parents: slices.Sorted(slices.Values(s.Parents)), HashStart: s.HashStart, HashEnd: s.HashEnd}
}

// height is the length of the longest line of listed descendants.
func (l *lineage) height(id string, memo map[string]int) int {
	if h, ok := memo[id]; ok {
		return h
	}
	memo[id] = 0 // ends the recursion should a listing ever contain a loop
	h := 0
	for _, c := range l.children[id] {
		if l.shards[c] != nil {
			h = max(h, 1+l.height(c, memo))
		}
	}
	memo[id] = h
	return h
}

// deletes plans the removal of rows whose work is over. A row must outlive the
// start of all its children: it is what makes them start at their oldest record.
func deletes(v View, l *lineage) []Action {
	var out []Action
	for i := range v.Rows {
		s := &v.Rows[i]
		listed := l.shards[s.Shard] != nil
		if _, held := v.Held[s.Shard]; held || l.live(s) {
			continue
		}
		if s.Foreign && !listed {
			out = append(out, Action{Kind: Delete, Row: s.Row, Why: "it is of " + s.Stream.String()})
		}
		if !l.over(s) {
			continue
		}
		children := slices.Concat(l.children[s.Shard], s.Children)
		if listed && (len(children) == 0 || l.open(s.Shard)) {
			continue // the listing does not show its children yet
		}
		if !slices.ContainsFunc(children, func(c string) bool { return !l.started(c) }) {
			out = append(out, Action{Kind: Delete, Row: s.Row, Why: "all its children are under way"})
		}
	}
	return out
}

// expiries plans the end of shards that nobody owns and that are not listed any
// more: past the retention, or of a stream that was deleted. They have no owner
// who would say so. Rows that we have never written are left alone.
func expiries(v View, l *lineage) []Action {
	var out []Action
	for i := range v.Rows {
		s := &v.Rows[i]
		_, held := v.Held[s.Shard]
		ours := s.Term > 0 || !s.Stream.IsZero()
		if held || !ours || s.Foreign || s.Unreadable != "" || s.Ended() || l.live(s) || !v.stale(s.Lost) {
			continue
		}
		out = append(out, Action{Kind: Expire, Row: s.Row, Why: "not listed any more, and not read to its end"})
	}
	return out
}

// started reports whether the child of an ended shard is under way, or over.
func (l *lineage) started(id string) bool {
	if r := l.rows[id]; r != nil {
		return r.underWay()
	}
	return l.ended(id)
}

// takes plans which leases to take: KCL's rules, so that workers of both kinds
// settle. Free leases come first, up to a fair share; those that nobody wanted
// for long are taken whatever the share; only when nothing is free is a lease
// stolen.
func takes(v View, l *lineage, self string, now time.Time) []Action {
	load := map[string]int{self: 0} // leases of each live worker
	total := 0
	var free []*Seen
	theirs := map[string][]*Seen{}
	for i := range v.Rows {
		s := &v.Rows[i]
		live := l.live(s)
		if live && s.Owner != self && !l.over(s) {
			load[s.Owner] += 0 // a worker whose shards all wait for parents is a worker too
		}
		if !l.ready(s) {
			continue
		}
		total++
		_, held := v.Held[s.Shard]
		switch {
		case held && s.Owner == self:
			load[self]++
		case l.takeable(s, v, self):
			free = append(free, s)
		case live:
			load[s.Owner]++
			if !held { // one that we just lost is not taken before its Own has returned
				theirs[s.Owner] = append(theirs[s.Owner], s)
			}
		}
	}
	rng := rand.New(rand.NewPCG(hash(self), uint64(now.UnixNano())))
	target := (total + len(load) - 1) / len(load)
	if len(free) == 0 {
		return steals(l, self, load, theirs, target, rng)
	}
	rng.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	var out []Action
	for _, s := range free {
		why := ""
		switch {
		case !s.Free.IsZero() && now.Sub(s.Free) > 2*v.TTL: // which makes 3 since the last renewal
			why = "nobody took it for long"
		case load[self] >= target:
			continue
		case s.Owner == "":
			why = "free"
		case s.Owner == self:
			why = "ours from before"
		default:
			why = "its owner " + s.Owner + " stopped renewing"
		}
		load[self]++
		out = append(out, l.take(s, why))
	}
	return out
}

// take is the action of taking the lease.
func (l *lineage) take(s *Seen, why string) Action {
	a := Action{Kind: Take, Row: s.Row, Shard: *l.shards[s.Shard], Why: why}
	switch {
	case s.Foreign || s.Ended() || s.Checkpoint.IsZero():
		// The position is of another shard, or one that an open shard cannot have,
		// or none. The warehouse knows better, if anybody does.
		a.Begin = stream.Position{Sequence: stream.TrimHorizon}
	case s.Checkpoint.Sequence == stream.Latest && s.Term > 0:
		// An older version of ours has worked here and left the word as it was. When
		// it began is written nowhere, and what it read need not be loaded.
		a.Begin = stream.Position{Sequence: stream.TrimHorizon}
	case s.Checkpoint.Sequence == stream.Latest:
		// KCL leaves LATEST in a row until the shard's first checkpoint. Whoever
		// opened the shard there would skip what its last owner read and did not
		// load. A time that is written down with the first take, before anything is
		// read, is the same for all owners; and at that of the first look at the row
		// nobody of ours can have read anything yet.
		a.Begin = stream.AtTime(s.first.Add(-arrivalSkew))
	}
	return a
}

// steals plans to take leases from the most loaded worker. It never takes more
// than half the difference, so no lease has a reason to come back, and at most
// a quarter of what is missing at a time (KCL: one): a worker that joins late
// reaches its share in a number of rounds that grows with the logarithm of the
// share, while those who join together leave each other something to take.
func steals(l *lineage, self string, load map[string]int, theirs map[string][]*Seen, target int, rng *rand.Rand) []Action {
	need := target - load[self]
	victim := ""
	for w := range load {
		if w != self && (victim == "" || load[w] > load[victim] || load[w] == load[victim] && w < victim) {
			victim = w
		}
	}
	if need <= 0 || victim == "" {
		return nil
	}
	n := min((need+3)/4, (load[victim]-load[self])/2, len(theirs[victim]))
	from := theirs[victim]
	rng.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	var out []Action
	for _, s := range from[:max(n, 0)] {
		a := l.take(s, "stolen from "+victim+" for balance")
		a.Again = need > n
		out = append(out, a)
	}
	return out
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
