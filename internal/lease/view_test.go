package lease

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

var (
	ours   = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:1:stream/orders", Created: t0.Add(-time.Hour)}
	before = stream.Identity{ARN: ours.ARN, Created: t0.Add(-100 * time.Hour)}
	theirs = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:1:stream/payments", Created: t0.Add(-time.Hour)}
)

// of is the row as one of the stream's.
func of(id stream.Identity, r Row) Row {
	r.Stream = id
	return r
}

// look is what a worker sees that looks at the same rows at once and then each
// half of its patience, with a fresh listing each time.
func look(looks int, shards []stream.Shard, rows ...Row) View {
	v := View{TTL: ttl, Patience: time.Minute, Stream: ours, Synced: true, Shards: shards, Held: map[string]int64{}}
	for i := range looks {
		v.Listed = t0.Add(time.Duration(i) * v.Patience / 2)
		v = v.observe(rows, "me", v.Listed)
	}
	return v
}

func plan(v View) []Action { return Plan(v, "me", v.At) }

func open(id string, parents ...string) stream.Shard { return shard(id, parents...) }

func closed(id string, parents ...string) stream.Shard {
	s := shard(id, parents...)
	s.Closed = true
	return s
}

func texts(v View) []string {
	var out []string
	for _, c := range v.Contradictions() {
		out = append(out, c.Error())
	}
	return out
}

// What one look shows may be late news; what three looks show in a row, at
// listings a minute apart, is a contradiction.
func TestPlanOfWhatContradictsTheListing(t *testing.T) {
	end, horizon := at(stream.ShardEnd), at(stream.TrimHorizon)
	for _, c := range []struct {
		name        string
		shards      []stream.Shard
		rows        []Row
		atFirst     []string
		later       []string
		told, tells string // a part of the one contradiction, at first and later; empty = none
	}{
		{
			name: "an open shard at its end is taken, once that is no late news", shards: []stream.Shard{open("a")},
			rows:    []Row{{Shard: "a", Term: 4, Checkpoint: end}},
			atFirst: nil, later: []string{"take a"}, tells: "a is open, and its position says that it was read to its end",
		},
		{
			name: "a closed shard at its end stays so", shards: []stream.Shard{closed("a")},
			rows: []Row{{Shard: "a", Term: 4, Checkpoint: end}},
		},
		{
			name: "one whose children are listed is closed", shards: []stream.Shard{open("a"), open("b", "a")},
			rows:    []Row{{Shard: "a", Term: 4, Checkpoint: end}, {Shard: "b", Checkpoint: horizon}},
			atFirst: []string{"take b"}, later: []string{"take b"}, tells: "b has no live worker",
		},
		{
			name: "a made-anew stream's first shard is not over because of rows of an older one's children", shards: []stream.Shard{open("a")},
			rows: []Row{
				{Shard: "a", Term: 4, Checkpoint: end, Children: []string{"b", "c"}},
				{Shard: "b", Term: 2, Checkpoint: at("77"), Parents: []string{"a"}},
				{Shard: "c", Term: 2, Checkpoint: end, Parents: []string{"a"}},
			},
			// c is over and gone from the listing, as far as anybody can tell.
			atFirst: []string{"delete c"}, later: []string{"delete c", "expire b", "take a"}, tells: "a is open",
		},
		{
			name: "nor where its row is gone already", shards: []stream.Shard{open("a")},
			rows:    []Row{{Shard: "b", Term: 2, Checkpoint: at("77"), Parents: []string{"a"}}},
			atFirst: []string{"create a "}, later: []string{"create a ", "expire b"}, tells: "a has no live worker",
		},
		{
			name: "but it is over where somebody works on a child that the listing does not show yet", shards: []stream.Shard{open("a")},
			rows: []Row{{Shard: "b", Owner: "other", Term: 2, Checkpoint: at("77"), Parents: []string{"a"}}},
			// The owner does not renew in this test, so that it counts as dead later.
			atFirst: nil, later: []string{"create a ", "expire b"},
		},
		{
			name: "a parent that vanished unfinished and unowned blocks nobody, and is told", shards: []stream.Shard{open("b", "a")},
			rows:    []Row{{Shard: "a", Term: 3, Checkpoint: at("5")}, {Shard: "b", Term: 1, Owner: "me", Checkpoint: horizon}},
			atFirst: []string{"take b"}, later: []string{"expire a", "take b"}, tells: "b has no live worker",
		},
		{
			name: "KCL's row of a shard that is not listed is left alone", shards: []stream.Shard{open("z")},
			rows:    []Row{{Shard: "a", Checkpoint: at("5")}, {Shard: "z", Checkpoint: horizon}},
			atFirst: []string{"take z"}, later: []string{"take z"}, tells: "z has no live worker",
		},
		{
			name: "a row that cannot be read is neither made nor taken", shards: []stream.Shard{open("a"), open("b", "a")},
			rows: []Row{{Shard: "a", Unreadable: "leaseCounter is missing"}, {Shard: "b", Checkpoint: horizon}},
			told: "a has a lease row that cannot be read", tells: "leaseCounter is missing",
		},
		{
			name: "rows of the stream that was deleted say nothing", shards: []stream.Shard{open("a"), open("b")},
			rows: []Row{
				of(before, Row{Shard: "a", Term: 3, Checkpoint: end, Children: []string{"c"}}),
				of(before, Row{Shard: "c", Term: 3, Checkpoint: at("5"), Parents: []string{"a"}}),
			},
			// b has no row, and the new stream may have been written to for long.
			atFirst: []string{"create b TRIM_HORIZON", "delete c", "take a"}, later: []string{"create b TRIM_HORIZON", "delete c", "take a"},
			tells: "a has no live worker",
		},
		{
			name: "a table of another stream is not touched", shards: []stream.Shard{open("a"), open("b")},
			rows: []Row{of(theirs, Row{Shard: "a", Term: 3, Checkpoint: at("5")}), {Shard: "b", Checkpoint: horizon}},
			told: "belongs to another stream, " + theirs.ARN, tells: "and not to " + ours.ARN,
		},
		{
			name: "rows that another stream wrote behind ours are ours to take", shards: []stream.Shard{open("a"), open("b")},
			rows:    []Row{of(ours, Row{Shard: "a", Term: 1, Checkpoint: at("5")}), of(theirs, Row{Shard: "b", Term: 3, Checkpoint: at("5")})},
			atFirst: []string{"take a", "take b"}, later: []string{"take a", "take b"}, tells: "has no live worker",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, later := look(1, c.shards, c.rows...), look(3, c.shards, c.rows...)
			if got := steps(plan(first)); !slices.Equal(got, c.atFirst) {
				t.Errorf("at first the plan is %q, want %q", got, c.atFirst)
			}
			if got := steps(plan(later)); !slices.Equal(got, c.later) {
				t.Errorf("later the plan is %q, want %q", got, c.later)
			}
			if got := texts(first); (c.told == "") != (len(got) == 0) || !strings.Contains(strings.Join(got, "\n"), c.told) {
				t.Errorf("at first it tells %q, want %q", got, c.told)
			}
			if got := texts(later); (c.tells == "") != (len(got) == 0) || !strings.Contains(strings.Join(got, "\n"), c.tells) {
				t.Errorf("later it tells %q, want %q", got, c.tells)
			}
		})
	}
}

func TestPlanBegins(t *testing.T) {
	horizon := at(stream.TrimHorizon)
	shards := []stream.Shard{open("a")}
	for _, c := range []struct {
		name string
		row  Row
		want stream.Position // zero = where the row says
	}{
		{"where the row says", Row{Checkpoint: at("5")}, stream.Position{}},
		{"at the oldest record, where it says so", Row{Checkpoint: horizon}, stream.Position{}},
		{"at the oldest record, where it says nothing", Row{}, horizon},
		{"at a time of the settings", Row{Checkpoint: stream.AtTime(t0)}, stream.Position{}},
		{"where KCL says LATEST, at the time of the first look", Row{Checkpoint: at(stream.Latest)}, stream.AtTime(t0.Add(-arrivalSkew))},
		{
			"where KCL's dead owner left LATEST, the same",
			Row{Checkpoint: at(stream.Latest), Owner: "kcl", Counter: 8, OwnerSwitches: 1},
			stream.AtTime(t0.Add(-arrivalSkew)),
		},
		{"where an older version of ours left LATEST, at the oldest record", Row{Checkpoint: at(stream.Latest), Term: 2}, horizon},
		{"at the oldest record of a stream made anew", of(before, Row{Checkpoint: at("5"), Term: 2}), horizon},
		{"at the oldest record of an open shard that counts as ended", Row{Checkpoint: at(stream.ShardEnd), Term: 2}, horizon},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.row.Shard = "a"
			p := plan(look(3, shards, c.row)) // three looks: a dead owner is known as one
			if len(p) != 1 || p[0].Kind != Take || p[0].Begin != c.want {
				t.Errorf("plan = %+v, want a take that begins at %v", p, c.want)
			}
		})
	}
	t.Run("all of them where it is stolen, too", func(t *testing.T) {
		v := look(1, []stream.Shard{open("a"), open("b")},
			Row{Shard: "a", Owner: "kcl", Checkpoint: at(stream.Latest)}, Row{Shard: "b", Owner: "kcl", Checkpoint: at(stream.Latest)})
		if p := plan(v); len(p) != 1 || p[0].Begin != stream.AtTime(t0.Add(-arrivalSkew)) {
			t.Errorf("plan = %+v", p)
		}
	})
}

// Whoever looks once sees at once what does not fit.
func TestGlance(t *testing.T) {
	rows := []Row{
		{Shard: "a", Owner: "w", Checkpoint: at("5")},
		{Shard: "b", Owner: "dead", Checkpoint: at("5")},
		{Shard: "c", Owner: "w", Checkpoint: at(stream.ShardEnd)},
		{Shard: "d", Checkpoint: at(stream.TrimHorizon)},
	}
	shards := []stream.Shard{open("a"), open("b"), open("c"), open("d", "a"), open("e")}
	got := texts(Glance(ours, shards, rows, map[string]bool{"w": true}, t0))
	want := []string{"b has no live worker", "c is open", "e has no live worker"}
	if len(got) != len(want) {
		t.Fatalf("it tells %q, want %q", got, want)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("it tells %q, want %q", got[i], want[i])
		}
	}
}
