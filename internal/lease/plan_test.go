package lease

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

const ttl = 10 * time.Second

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(seq string) stream.Position { return stream.Position{Sequence: seq} }

// picture makes the view of a worker that has watched rows since before.
func picture(shards []stream.Shard, held map[string]int64, seen ...Seen) View {
	v := View{At: t0, TTL: ttl, Shards: shards, Rows: seen, Synced: true, Held: held}
	if v.Held == nil {
		v.Held = map[string]int64{}
	}
	return v
}

func shard(id string, parents ...string) stream.Shard { return stream.Shard{ID: id, Parents: parents} }

// ago is a row whose counter was last seen to move so long before t0.
func ago(d time.Duration, r Row) Seen { return Seen{Row: r, Changed: t0.Add(-d)} }

func steps(plan []Action) []string {
	var out []string
	for _, a := range plan {
		s := a.Kind.String() + " " + a.Row.Shard
		if a.Kind == Create {
			s += " " + a.Row.Checkpoint.Sequence
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

func TestPlan(t *testing.T) {
	horizon := at(stream.TrimHorizon)
	end := at(stream.ShardEnd)
	split := []stream.Shard{shard("p"), shard("a", "p"), shard("b", "p")}
	merge := []stream.Shard{shard("p"), shard("q"), shard("m", "p", "q")}
	for _, c := range []struct {
		name string
		view View
		want []string
	}{
		{"nothing", picture(nil, nil), nil},
		{"an empty listing deletes nothing", picture(nil, nil, ago(0, Row{Shard: "a", Checkpoint: end})), nil},
		{
			"a new stream: every row at the initial position", picture(split, nil),
			[]string{"create a ", "create b ", "create p "},
		},
		{
			"a split after the start: children at their oldest record",
			picture(split, map[string]int64{"p": 1}, ago(0, Row{Shard: "p", Owner: "me", Term: 1, Checkpoint: horizon})),
			[]string{"create a TRIM_HORIZON", "create b TRIM_HORIZON"},
		},
		{
			"a split whose parent is no longer listed but has a row",
			picture(split[1:], nil, ago(0, Row{Shard: "p", Checkpoint: at("5")})),
			[]string{"create a TRIM_HORIZON", "create b TRIM_HORIZON"},
		},
		{
			"a creation that stopped half way is completed",
			picture(split, nil, ago(0, Row{Shard: "a", Checkpoint: at(stream.Latest)})),
			[]string{"create b ", "create p "},
		},
		{
			"a finished parent whose row was removed is not made again",
			picture(split, map[string]int64{"a": 1, "b": 1},
				ago(0, Row{Shard: "a", Owner: "me", Term: 1, Checkpoint: at("5")}), ago(0, Row{Shard: "b", Owner: "me", Term: 1, Checkpoint: horizon})),
			nil,
		},
		{
			"a child whose finished parent's row was removed is taken",
			picture(split, nil, ago(0, Row{Shard: "a", Term: 1, Checkpoint: at("5")}), ago(0, Row{Shard: "b", Term: 1, Checkpoint: horizon})),
			[]string{"take a", "take b"},
		},
		{
			"a child waits for its parent", picture(split, nil,
				ago(0, Row{Shard: "p", Owner: "other", Checkpoint: horizon}),
				ago(0, Row{Shard: "a", Checkpoint: horizon}), ago(0, Row{Shard: "b", Checkpoint: horizon})),
			nil,
		},
		{
			"a merged child waits for both parents", picture(merge, nil,
				ago(0, Row{Shard: "p", Checkpoint: end}), ago(0, Row{Shard: "q", Owner: "other", Checkpoint: at("5")}),
				ago(0, Row{Shard: "m", Checkpoint: horizon})),
			nil,
		},
		{
			"a merged child starts after both", picture(merge, nil,
				ago(0, Row{Shard: "p", Checkpoint: end}), ago(0, Row{Shard: "q", Checkpoint: end}), ago(0, Row{Shard: "m", Checkpoint: horizon})),
			[]string{"take m"},
		},
		{
			"a child waits for a parent whose row is yet to be made",
			picture(merge, nil, ago(0, Row{Shard: "p", Checkpoint: end}), ago(0, Row{Shard: "m", Checkpoint: horizon})),
			[]string{"create q "},
		},
		{
			"a parent past the retention blocks nobody", picture(split[1:], nil,
				ago(time.Minute, Row{Shard: "p", Owner: "dead", Checkpoint: at("5")}),
				ago(0, Row{Shard: "a", Checkpoint: horizon}), ago(0, Row{Shard: "b", Checkpoint: horizon})),
			[]string{"take a", "take b"},
		},
		{
			"a parent past the retention blocks while its owner lives", picture(split[1:], nil,
				ago(0, Row{Shard: "p", Owner: "other", Checkpoint: at("5")}),
				ago(0, Row{Shard: "a", Checkpoint: horizon}), ago(0, Row{Shard: "b", Checkpoint: horizon})),
			nil,
		},
		{
			"a finished parent goes once all its children are under way", picture(split, map[string]int64{"a": 1, "b": 1},
				ago(0, Row{Shard: "p", Checkpoint: end}),
				ago(0, Row{Shard: "a", Owner: "me", Term: 1, Checkpoint: horizon}), ago(0, Row{Shard: "b", Owner: "me", Checkpoint: at("5")})),
			[]string{"delete p"},
		},
		{
			"a finished parent stays while one child was never taken", picture(split, map[string]int64{"a": 1},
				ago(0, Row{Shard: "p", Checkpoint: end}),
				ago(0, Row{Shard: "a", Owner: "me", Term: 1, Checkpoint: horizon}), ago(0, Row{Shard: "b", Checkpoint: horizon})),
			[]string{"take b"},
		},
		{
			"a finished parent stays while a child has no row", picture(split, map[string]int64{"a": 1},
				ago(0, Row{Shard: "p", Checkpoint: end}), ago(0, Row{Shard: "a", Owner: "me", Term: 1, Checkpoint: horizon})),
			[]string{"create b TRIM_HORIZON"},
		},
		{
			"a finished shard stays while the listing shows no children",
			picture(split[:1], nil, ago(0, Row{Shard: "p", Checkpoint: end})), nil,
		},
		{
			"a finished shard that is gone from the listing, children and all, goes",
			picture([]stream.Shard{shard("z")}, map[string]int64{"z": 1}, ago(0, Row{Shard: "p", Checkpoint: end}), ago(0, Row{Shard: "z", Owner: "me"})),
			[]string{"delete p"},
		},
		{
			"a row of a shard that is not listed is left alone",
			picture([]stream.Shard{shard("z")}, map[string]int64{"z": 1}, ago(time.Hour, Row{Shard: "x", Owner: "kcl", Checkpoint: at("5")}), ago(0, Row{Shard: "z", Owner: "me"})),
			nil,
		},
		{
			"an owner that stopped renewing loses its lease",
			picture([]stream.Shard{shard("a")}, nil, ago(ttl+1, Row{Shard: "a", Owner: "dead"})),
			[]string{"take a"},
		},
		{"a live one keeps it", picture([]stream.Shard{shard("a")}, nil, ago(ttl, Row{Shard: "a", Owner: "other"})), nil},
		{
			"ours from before is taken back at once",
			picture([]stream.Shard{shard("a")}, nil, ago(0, Row{Shard: "a", Owner: "me"})),
			[]string{"take a"},
		},
		{
			"a lease still being given up is not taken again",
			picture([]stream.Shard{shard("a")}, map[string]int64{"a": 4}, ago(time.Hour, Row{Shard: "a", Owner: "other"})), nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := steps(Plan(c.view, "me", t0)); !slices.Equal(got, c.want) {
				t.Errorf("plan = %q\nwant   %q", got, c.want)
			}
		})
	}
}

// owned builds a view of shards in order that the named workers own.
func owned(owners ...string) View {
	v := picture(nil, nil)
	for i, o := range owners {
		id := fmt.Sprintf("s%03d", i)
		v.Shards = append(v.Shards, shard(id))
		v.Rows = append(v.Rows, ago(0, Row{Shard: id, Owner: o, Checkpoint: at("1")}))
		if o == "me" {
			v.Held[id] = 1
		}
	}
	return v
}

func TestPlanSharesFairly(t *testing.T) {
	for _, c := range []struct {
		name   string
		owners []string
		takes  int
	}{
		{"alone: everything that is free", []string{"", "", "", ""}, 4},
		{"with one other: half", []string{"b", "", "", "", "", ""}, 3},
		{"at the share: nothing more", []string{"me", "me", "b", ""}, 0},
		{"below it: up to it", []string{"me", "b", "b", "", ""}, 2},
		{"balanced within one: no steal", []string{"me", "b", "b"}, 0},
		{"two apart: one is stolen", []string{"b", "b"}, 1},
		{"five to one: one at a time", []string{"me", "b", "b", "b", "b", "b"}, 1},
		{"a late joiner: a quarter of its share", slices.Repeat([]string{"b"}, 40), 5},
		{"more workers than shards", []string{"b", "c", "d"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Plan(owned(c.owners...), "me", t0); len(got) != c.takes {
				t.Errorf("plan = %q; want %d takes", steps(got), c.takes)
			}
		})
	}
	t.Run("what nobody takes for long is taken beyond the share", func(t *testing.T) {
		v := owned("me", "me", "b", "")
		v.Rows[3].Free = t0.Add(-2*ttl - 1)
		if got := steps(Plan(v, "me", t0)); !slices.Equal(got, []string{"take s003"}) {
			t.Errorf("plan = %q", got)
		}
	})
}

// fate draws a stream that was split and merged at random, and a table in some
// state, possible or not.
func fate(rng *rand.Rand) View {
	v := picture(nil, nil)
	v.Synced = rng.IntN(4) > 0
	var open []string
	for i := range 1 + rng.IntN(12) {
		id := fmt.Sprintf("s%02d", i)
		var parents []string
		switch n := len(open); {
		case n > 0 && rng.IntN(3) == 0:
			parents = []string{open[rng.IntN(n)]}
		case n > 1 && rng.IntN(4) == 0:
			parents = []string{open[n-1], open[n-2]}
		}
		open = append(open, id)
		if rng.IntN(6) > 0 {
			v.Shards = append(v.Shards, shard(id, parents...))
		}
		if rng.IntN(5) == 0 {
			continue
		}
		r := Row{
			Shard: id, Parents: parents, Counter: rng.Int64N(50), Term: rng.Int64N(3),
			Owner:      []string{"", "", "me", "b", "c", "d"}[rng.IntN(6)],
			Checkpoint: at([]string{stream.TrimHorizon, stream.Latest, "77", stream.ShardEnd, ""}[rng.IntN(5)]),
		}
		if r.Owner == "me" && rng.IntN(3) > 0 || rng.IntN(10) == 0 {
			v.Held[id] = r.Term
		}
		s := ago(time.Duration(rng.Int64N(int64(4*ttl))), r)
		if rng.IntN(2) == 0 {
			s.Free = s.Changed
		}
		v.Rows = append(v.Rows, s)
	}
	return v
}

func TestPlanProperties(t *testing.T) {
	for seed := range uint64(6_000) {
		v := fate(rand.New(rand.NewPCG(seed, 1)))
		kept := picture(slices.Clone(v.Shards), maps.Clone(v.Held), slices.Clone(v.Rows)...)
		kept.Synced = v.Synced
		plan := Plan(v, "me", t0)
		if !reflect.DeepEqual(plan, Plan(v, "me", t0)) {
			t.Fatalf("seed %d: the same view gives two plans", seed)
		}
		if !reflect.DeepEqual(v, kept) {
			t.Fatalf("seed %d: Plan changed its input", seed)
		}
		if err := proper(v, plan); err != nil {
			t.Fatalf("seed %d: %v\nview %+v\nplan %q", seed, err, v, steps(plan))
		}
	}
}

// proper checks a plan against the rules, in words of its own.
func proper(v View, plan []Action) error {
	rows := map[string]Seen{}
	load := map[string]int{}
	for _, s := range v.Rows {
		rows[s.Shard] = s
		if !s.Ended() {
			load[s.Owner]++
		}
	}
	listed := map[string]stream.Shard{}
	for _, s := range v.Shards {
		listed[s.ID] = s
	}
	dead := func(s Seen) bool { return s.Owner == "" || s.Owner == "me" || t0.Sub(s.Changed) > ttl }
	seen := map[string]bool{}
	wave, free, stolen := 0, 0, 0
	for _, a := range plan {
		id := a.Row.Shard
		row, has := rows[id]
		_, held := v.Held[id]
		_, isListed := listed[id]
		switch {
		case seen[id]:
			return fmt.Errorf("two actions on %s", id)
		case a.Kind == Create && (has || !isListed || !v.Synced || a.Wave < wave):
			return fmt.Errorf("create %s: row %v, listed %v, synced %v, wave %d after %d", id, has, isListed, v.Synced, a.Wave, wave)
		case a.Kind == Delete && (!row.Ended() || held || !v.Synced):
			return fmt.Errorf("delete %s: %+v", id, row)
		case a.Kind == Take && (!has || !isListed || held || row.Ended()):
			return fmt.Errorf("take %s: row %v, listed %v, held %v", id, has, isListed, held)
		}
		seen[id] = true
		switch {
		case a.Kind == Create:
			wave = a.Wave
			for _, p := range listed[id].Parents {
				if seen[p] {
					return fmt.Errorf("create %s after its parent %s", id, p)
				}
			}
		case a.Kind == Take && dead(row):
			free++
		case a.Kind == Take:
			stolen++
			if load[row.Owner]-stolen < 1 {
				return fmt.Errorf("steals the last lease of %s", row.Owner)
			}
		}
		if a.Kind == Take {
			for _, p := range listed[id].Parents {
				parent, has := rows[p]
				if _, l := listed[p]; l && has && !parent.Ended() {
					return fmt.Errorf("take %s before its parent %s ended", id, p)
				}
			}
		}
	}
	if free > 0 && stolen > 0 {
		return fmt.Errorf("steals %d although %d are free", stolen, free)
	}
	return nil
}

// TestPlanConverges lets workers plan, all at once or in turn, over the same
// rows until nobody has a plan any more.
func TestPlanConverges(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2))
		workers, shards := 1+rng.IntN(7), 1+rng.IntN(60)
		names := make([]string, workers)
		for i := range names {
			names[i] = fmt.Sprintf("w%d", i)
		}
		v := owned(make([]string, shards)...)
		atOnce, allOwned := rng.IntN(2) == 0, rng.IntN(2) == 0
		count := make([]int, workers)
		for i := range v.Rows {
			if allOwned || rng.IntN(3) > 0 {
				w := rng.IntN(1 + rng.IntN(workers))
				v.Rows[i].Owner = names[w]
				count[w]++
			}
		}
		most := 0 // moves that can be called for: away from the overloaded, or to those below
		for _, n := range count {
			most += max(0, n-(shards+workers-1)/workers) + max(0, shards/workers-n)
		}
		moves, rounds := 0, 0
		now := t0
		for ; ; rounds++ {
			if rounds > 60 {
				t.Fatalf("seed %d: %d workers, %d shards: still moving after %d rounds", seed, workers, shards, rounds)
			}
			m, any := converge(&v, names, now, atOnce)
			moves += m
			if !any {
				break
			}
			now = now.Add(time.Second / 10)
		}
		load := map[string]int{}
		for _, w := range names {
			load[w] = 0
		}
		for _, r := range v.Rows {
			if r.Owner == "" {
				t.Fatalf("seed %d: %s was forgotten", seed, r.Shard)
			}
			load[r.Owner]++
		}
		counts := slices.Sorted(maps.Values(load))
		if counts[len(counts)-1]-counts[0] > 1 {
			t.Errorf("seed %d: settled at %v", seed, counts)
		}
		// One after the other no lease moves in vain; at once, thieves that hit
		// the same victim may overdo it.
		if allOwned && !atOnce && moves > most {
			t.Errorf("seed %d: %d steals, %d were called for", seed, moves, most)
		}
	}
}

// converge plays one round and returns how many leases were stolen, and whether
// anyone had a plan.
func converge(v *View, names []string, now time.Time, atOnce bool) (stolen int, any bool) {
	before := slices.Clone(v.Rows)
	for _, w := range names {
		mine := *v
		mine.Rows = v.Rows
		if atOnce {
			mine.Rows = before
		}
		mine.Held = map[string]int64{}
		for _, r := range mine.Rows {
			if r.Owner == w {
				mine.Held[r.Shard] = 1
			}
		}
		for _, a := range Plan(mine, w, now) {
			any = true
			i := slices.IndexFunc(v.Rows, func(s Seen) bool { return s.Shard == a.Row.Shard })
			if v.Rows[i].Counter != a.Row.Counter {
				continue // someone else was faster
			}
			if a.Row.Owner != "" {
				stolen++
			}
			v.Rows[i].Owner, v.Rows[i].Counter, v.Rows[i].Changed = w, a.Row.Counter+1, now
		}
	}
	for i := range v.Rows {
		v.Rows[i].Changed = now
	}
	return stolen, any
}

func TestObserveCountsFromTheReply(t *testing.T) {
	v := picture([]stream.Shard{shard("a")}, nil)
	row := Row{Shard: "a", Owner: "other", Counter: 1}
	v = v.observe([]Row{row}, "me", t0)
	v = v.observe([]Row{row}, "me", t0.Add(ttl))
	if !v.Rows[0].Changed.Equal(t0) || !v.Rows[0].Free.IsZero() {
		t.Fatalf("after one lease time: %+v", v.Rows[0])
	}
	v = v.observe([]Row{row}, "me", t0.Add(ttl+1))
	if !v.Rows[0].Free.Equal(t0.Add(ttl + 1)) {
		t.Fatalf("past the lease time: %+v", v.Rows[0])
	}
	row.Counter++
	v = v.observe([]Row{row}, "me", t0.Add(ttl+2))
	if !v.Rows[0].Changed.Equal(t0.Add(ttl+2)) || !v.Rows[0].Free.IsZero() {
		t.Fatalf("renewed late: %+v", v.Rows[0])
	}
}
