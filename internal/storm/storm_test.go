package storm

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// machineModel is a machine in numbers: what others use, what the processors use
// for their duty, and queries that use CPU for a while once they have started.
type machineModel struct {
	others  float64 // share of the CPU
	power   float64 // share that the processors take at a duty of 1
	query   float64 // share that one query takes while it runs
	lasts   int     // ticks of a query
	running []int   // ticks left
	noise   *rand.Rand
}

func (m *machineModel) tick(o orders) float64 {
	busy := m.others + m.power*o.duty
	var left []int
	for _, n := range m.running {
		busy += m.query
		if n > 1 {
			left = append(left, n-1)
		}
	}
	m.running = left
	for range o.starts {
		if m.query > 0 && len(m.running) < min(100, o.flight) {
			m.running = append(m.running, m.lasts)
		}
	}
	return math.Max(0, math.Min(1, busy+m.noise.NormFloat64()*0.03))
}

// TestTheLoopHoldsTheTarget: whatever else uses the CPU, the mean over any ten
// seconds after the first fifteen is within three points of the target, as long
// as the others leave room for it.
func TestTheLoopHoldsTheTarget(t *testing.T) {
	for name, m := range map[string]machineModel{
		"an idle machine":           {power: 1},
		"a busy one":                {power: 1, others: 0.08},
		"processors that wait much": {power: 0.7},
		"quick queries":             {power: 1, query: 0.3, lasts: 1},
		"queries that take it all":  {power: 1, query: 0.9, lasts: 1},
		"slow queries":              {power: 1, query: 0.06, lasts: 15},
		"a warehouse elsewhere":     {power: 1, query: 0.001, lasts: 50},
	} {
		for _, target := range []float64{0.1, 0.3, 0.6, 0.9} {
			if m.power+m.others < target {
				continue
			}
			m := m
			m.running, m.noise = nil, rand.New(rand.NewPCG(1, 2))
			c := control{target: target}
			var o orders
			var seconds []Second
			sum := 0.0
			for n := range 300 * 5 {
				busy := m.tick(o)
				o = c.step(busy, tick, len(m.running))
				if sum += busy; n%5 == 4 {
					seconds = append(seconds, Second{CPU: 100 * sum / 5})
					sum = 0
				}
			}
			if got := cpuReport("", 100*target, seconds); got.Worst > 3 {
				t.Errorf("%s, target %.0f %%: %.1f points off over 10 s, mean %.1f", name, 100*target, got.Worst, got.Mean)
			}
		}
	}
}

// TestTheGateHoldsQueriesBack: where queries alone would pass the target, they
// wait.
func TestTheGateHoldsQueriesBack(t *testing.T) {
	c := control{target: 0.3}
	for range 20 {
		c.step(0.9, tick, 10)
	}
	if o := c.step(0.9, tick, 10); o.open() || o.duty > 0 || o.flight > 6 {
		t.Errorf("at 90 %% of a target of 30 %%: %+v", o)
	}
	for range 60 {
		c.step(0.1, tick, 1)
	}
	if o := c.step(0.1, tick, 1); !o.open() || o.duty == 0 {
		t.Errorf("at 10 %% of a target of 30 %%: %+v", o)
	}
}

func TestTheLimitAdapts(t *testing.T) {
	now := time.Now()
	l := newLimit(100, 20)
	in := func(n int) (got int) {
		for range n {
			ok, _ := l.take()
			if !ok {
				break
			}
			got++
			l.accepted()
		}
		return got
	}
	if got := in(1000); got != 100 {
		t.Fatalf("%d in flight of 100 that may be", got)
	}
	l.throttled(now)
	l.throttled(now.Add(time.Second)) // of the same burst
	if s := l.state(); s.most != 50 {
		t.Errorf("after a throttle %d are allowed, want 50", s.most)
	}
	for range 60 {
		l.give()
	}
	if ok, _ := l.take(); !ok {
		t.Fatal("no place although most are free")
	}
	l.full() // 41 in flight, one of them refused
	if s := l.state(); s.found != 40 || s.most != 20 {
		t.Errorf("full at %d, and %d allowed; want 40 and 20: the room is the workers'", s.found, s.most)
	}
	for range 1000 {
		l.accepted()
	}
	if s := l.state(); s.most != 20 || s.highest != 100 {
		t.Errorf("%+v: what was found once is not tried again", s)
	}
}

// TestTheSequenceIsTheSeeds: the same seed asks the same, another one something
// else, and every round has each kind once. Every query reads.
func TestTheSequenceIsTheSeeds(t *testing.T) {
	newest := time.Date(2026, 11, 20, 15, 4, 5, 0, time.UTC)
	a, b, other := NewSequence(7, newest, 1000), NewSequence(7, newest.Add(time.Hour), 1000), NewSequence(8, newest, 1000)
	seen, differ := make(map[string]int), 0
	writes := regexp.MustCompile(`(?i)\b(insert|update|delete|create|drop|alter|truncate|copy|unload|lock|grant|call|set)\b`)
	for n := range 20 * Round() {
		q := a.Query(n)
		if q != b.Query(n) {
			t.Errorf("query %d differs between two storms of one seed", n)
		}
		if q.SQL != other.Query(n).SQL {
			differ++
		}
		if !strings.HasPrefix(q.SQL, "SELECT ") || writes.MatchString(q.SQL) || strings.Contains(q.SQL, ";") {
			t.Errorf("query %d does more than read: %s", n, q.SQL)
		}
		seen[q.Kind]++
	}
	for _, k := range kinds {
		if seen[k.name] != 20 {
			t.Errorf("%s came %d times in 20 rounds", k.name, seen[k.name])
		}
	}
	if differ < 19*Round() {
		t.Errorf("only %d of %d queries differ from those of another seed", differ, 20*Round())
	}
}

func rowsOf(n int) [][]warehouse.Value {
	rng := rand.New(rand.NewPCG(4, 4))
	out := make([][]warehouse.Value, n)
	for i := range out {
		out[i] = []warehouse.Value{{Text: "name"}, {Text: "12.50"}, {Null: rng.IntN(2) == 0}, {Text: time.Unix(rng.Int64N(1e9), 0).UTC().Format(time.DateTime)}}
	}
	return out
}

// TestTheChecksumHasNoOrder: neither the order of rows nor how they are cut into
// pages matters, and everything else does.
func TestTheChecksumHasNoOrder(t *testing.T) {
	rows := rowsOf(100)
	sum := func(query int, rows [][]warehouse.Value, cuts ...int) string {
		var c Checksum
		for i := range cuts {
			to := len(rows)
			if i+1 < len(cuts) {
				to = cuts[i+1]
			}
			out, err := process(page{query: query, columns: []string{"a", "b", "c", "d"}, rows: rows[cuts[i]:to]})
			if err != nil {
				t.Fatal(err)
			}
			c.add(out.sum)
		}
		return c.String()
	}
	want := sum(1, rows, 0)
	mixed := append([][]warehouse.Value(nil), rows...)
	rand.New(rand.NewPCG(9, 9)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	if got := sum(1, mixed, 0, 13, 50); got != want {
		t.Errorf("other order and pages: %s, want %s", got, want)
	}
	if sum(2, rows, 0) == want || sum(1, rows[1:], 0) == want || sum(1, append(rows, rows[0]), 0) == want {
		t.Error("another query, a row less or a row twice give the same checksum")
	}
	rows[5][0].Text, rows[5][1].Text = "name1", "2.50" // the same bytes in a row
	if sum(1, rows, 0) == want {
		t.Error("values that are cut differently give the same checksum")
	}
}

func TestProcessMakesAReport(t *testing.T) {
	out, err := process(page{query: 3, columns: []string{"store_id", "revenue"}, rows: [][]warehouse.Value{{{Text: "7"}, {Text: "10.00"}}, {{Text: "8"}, {Text: "20.00"}}}, bytes: 12})
	if err != nil || out.rows != 2 || out.bytes != 12 || len(out.sha) != 64 || len(out.md5) != 32 {
		t.Fatalf("%+v, %v", out, err)
	}
	if f := figureReport(out.figures); f.Sum != 30 || f.Mean != 15 || f.Largest != 20 || f.Spread != 5 {
		t.Errorf("%+v", f)
	}
	if _, err := process(page{rows: [][]warehouse.Value{{{Text: "\xff"}}}}); err != nil && !errors.Is(err, errIntegrity) {
		t.Errorf("bytes that are no UTF-8: %v", err)
	}
}

func TestAlarmsFire(t *testing.T) {
	var seconds []Second
	for n := range 600 {
		s := Second{CPU: 40, Freshness: -1}
		if n >= 100 {
			s = Second{CPU: 90, Freshness: 30}
		}
		seconds = append(seconds, s)
	}
	got := judge(Alarms(), seconds)
	// The minute from 60 s has a mean of 56 %; the three after it are above 70 %.
	if a := got[0]; !a.Fired || a.FiredAt != 300 {
		t.Errorf("%+v, want fired at 300 s", a)
	}
	if a := got[1]; a.Fired {
		t.Errorf("%+v: 30 s are no lag of 60 s", a)
	}
}

// TestTheQuotaOfAContainer reads files as a container has them.
func TestTheQuotaOfAContainer(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("self", "0::/app/unit\n")
	write("fs/app/unit/cpu.max", "max 100000\n")
	if _, _, ok := quotaReader(filepath.Join(root, "fs"), filepath.Join(root, "self")); ok {
		t.Error("no quota counts as one")
	}
	write("fs/app/cpu.max", "50000 100000\n")
	write("fs/app/cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
	read, cores, ok := quotaReader(filepath.Join(root, "fs"), filepath.Join(root, "self"))
	if !ok || cores != 0.5 {
		t.Fatalf("a quota of half a CPU: %v, %v", cores, ok)
	}
	if busy, _, err := read(); err != nil || busy != 2.5 {
		t.Errorf("%v seconds used, %v", busy, err)
	}
	write("fs/app/cpu.stat", "user_usec 1\n")
	if _, _, err := read(); err == nil {
		t.Error("a file without the usage is no error")
	}
	if runtime.GOOS == "linux" {
		m, err := NewMeter()
		if err != nil {
			t.Fatal(err)
		}
		if share, err := m.Busy(); err != nil || share < 0 || share > 1 {
			t.Errorf("%v, %v", share, err)
		}
	}
}
