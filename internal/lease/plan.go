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
)

func (k Kind) String() string {
	return [...]string{"nothing", "create", "take", "delete"}[k]
}

// Action is one step that a worker should make now.
type Action struct {
	Kind  Kind
	Row   Row          // Create: the row to write; else the row as seen. A created row without a checkpoint starts at the initial position
	Shard stream.Shard // for Create and Take
	Wave  int          // Creates of a lower wave come first
	Why   string       // for the log
}

// Plan decides what the worker self should do about the leases that it sees.
// It is a pure function: chance comes from self and now alone, so that workers
// who plan at the same moment choose differently.
func Plan(v View, self string, now time.Time) []Action {
	l := newLineage(v, now)
	var out []Action
	// A listing that is older than the rows may lack the children of a shard
	// that has ended since; then it must not be used to create or delete. An
	// empty one is a stream being made or deleted.
	if v.Synced && len(v.Shards) > 0 {
		out = append(out, creates(v, l)...)
		out = append(out, deletes(v, l, now)...)
	}
	return append(out, takes(v, l, self, now)...)
}

// creates plans the missing rows, descendants first: a crash in the middle then
// leaves no ancestor whose row would make its children, still missing, look
// like the outcome of a later split.
func creates(v View, l *lineage) []Action {
	var out []Action
	heights := make(map[string]int)
	for _, s := range v.Shards {
		if l.rows[s.ID] != nil || l.done(s.ID) {
			continue
		}
		r := newRow(s)
		why := "first sight of the stream"
		if l.known(s.ID, map[string]bool{}) {
			// Not the initial position, which may be LATEST: the split may be
			// older than this process.
			r.Checkpoint = stream.Position{Sequence: stream.TrimHorizon}
			why = "a split or merge"
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
func deletes(v View, l *lineage, now time.Time) []Action {
	var out []Action
	for i := range v.Rows {
		s := &v.Rows[i]
		if _, held := v.Held[s.Shard]; held || !s.Ended() || s.Live(now, v.TTL) {
			continue
		}
		children := slices.Concat(l.children[s.Shard], s.Children)
		if len(children) == 0 && l.shards[s.Shard] != nil {
			continue // the listing does not show its children yet
		}
		if !slices.ContainsFunc(children, func(c string) bool { return !l.started(c) }) {
			out = append(out, Action{Kind: Delete, Row: s.Row, Why: "all its children are under way"})
		}
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
		live := s.Live(now, v.TTL)
		if live && s.Owner != self && !s.Ended() {
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
		out = append(out, Action{Kind: Take, Row: s.Row, Shard: *l.shards[s.Shard], Why: why})
	}
	return out
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
		out = append(out, Action{Kind: Take, Row: s.Row, Shard: *l.shards[s.Shard], Why: "stolen from " + victim + " for balance"})
	}
	return out
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64()
}
