package storm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// machineModel is a machine in numbers: what others use, what the processors use
// for their duty, and a warehouse on the machine, if it costs anything, which takes
// all that the others leave while it has queries.
type machineModel struct {
	others float64 // share of the CPU
	power  float64 // share that the processors take at a duty of 1
	known  float64 // what the loop takes that for
	query  float64 // seconds of the whole machine that a query takes; the odd one six times that, which at a target of 10 % is as much as can be
	most   float64 // share that a query takes at most while it runs
	slots  int
	lag    int // ticks until a query's end is noticed

	work   []float64 // left of each query
	ended  []int     // ticks until the end of these is noticed
	credit float64
	n      int
	noise  *rand.Rand
}

func (m *machineModel) flying() int { return len(m.work) + len(m.ended) }

func (m *machineModel) tick(o orders) Load {
	own := m.power * o.duty
	room := max(0, 1-m.others)
	house := 0.0
	running := min(len(m.work), m.slots)
	for i := range running {
		takes := min(m.work[i], min(m.most, room/float64(running))*tick.Seconds())
		m.work[i] -= takes
		house += takes / tick.Seconds()
	}
	m.work = slices.DeleteFunc(m.work, func(left float64) bool {
		if left <= 1e-9 {
			m.ended = append(m.ended, m.lag)
		}
		return left <= 1e-9
	})
	for i := range m.ended {
		m.ended[i]--
	}
	m.ended = slices.DeleteFunc(m.ended, func(n int) bool { return n <= 0 })
	own = min(own, room-house) // the processors have a low priority
	m.credit = min(1, m.credit+o.pace*tick.Seconds())
	if o.open && m.credit >= 1 && m.flying() < o.flight {
		m.credit--
		m.n++
		m.work = append(m.work, m.query*[]float64{1, 1, 1, 1, 1, 6}[m.n%6])
	}
	own = max(0, own+m.noise.NormFloat64()*0.02)
	return Load{Busy: min(1, m.others+house+own), Own: own}
}

// TestTheLoopHoldsTheTarget: whatever else uses the CPU, the mean over any ten
// seconds after the first fifteen is within three points of the target, as long
// as the others leave room for it.
func TestTheLoopHoldsTheTarget(t *testing.T) {
	for name, m := range map[string]machineModel{
		"an idle machine":           {power: 1},
		"a busy one":                {power: 1, others: 0.08},
		"processors that wait much": {power: 0.7},
		"a quota of a quarter CPU":  {power: 8, known: 8},
		"half of the processors":    {power: 0.5, known: 0.5},
		"quick queries":             {power: 1, query: 0.01, most: 1, slots: 5, lag: 3},
		"queries on all cores":      {power: 1, query: 0.04, most: 1, slots: 5, lag: 3},
		"queries on one core":       {power: 1, query: 0.04, most: 0.5, slots: 5, lag: 3},
		"slow queries":              {power: 1, query: 0.2, most: 0.05, slots: 40, lag: 8},
		"a warehouse elsewhere":     {power: 1, query: 0.001, most: 0.001, slots: 500, lag: 10},
	} {
		for _, target := range []float64{0.1, 0.3, 0.6, 0.9} {
			if m.power+m.others < target {
				continue
			}
			m := m
			m.noise = rand.New(rand.NewPCG(1, 2))
			if m.query == 0 {
				m.slots, m.query, m.most = 1, 1e-6, 1e-6
			}
			if m.known == 0 {
				m.known = 1
			}
			c := newControl(target, m.known)
			var o orders
			var seconds []Second
			var second mean
			for n := range 300 * 10 {
				l := m.tick(o)
				o = c.step(l.Busy, l.Own, tick, m.flying())
				if second.add(l, tick); n%10 == 9 {
					seconds = append(seconds, Second{CPU: 100 * second.load().Busy})
					second = mean{}
				}
			}
			if got := cpuReport("", 100*target, seconds); got.Worst > 3 {
				t.Errorf("%s, target %.0f %%: %.1f points off over 10 s, mean %.1f", name, 100*target, got.Worst, got.Mean)
			}
			if m.n < 5 {
				t.Errorf("%s, target %.0f %%: %d queries started", name, 100*target, m.n)
			}
			t.Logf("%s at %.0f: %d queries, pace %.1f, flight %d", name, 100*target, m.n, o.pace, o.flight)
		}
	}
}

// TestAWarehouseElsewhereIsUsed: queries that cost this machine nothing are not
// held back for long.
func TestAWarehouseElsewhereIsUsed(t *testing.T) {
	c := newControl(0.5, 1)
	var o orders
	for range 15 * int(time.Second/tick) {
		o = c.step(0.5, 0.49, tick, o.flight)
	}
	if o.pace < submitRate || o.flight < mostFlight {
		t.Errorf("after 15 s: %+v", o)
	}
}

// TestTheGateHoldsQueriesBack: where queries alone would pass the target, they
// wait.
func TestTheGateHoldsQueriesBack(t *testing.T) {
	c := newControl(0.3, 1)
	for range 40 {
		c.step(0.9, 0, tick, 10)
	}
	if o := c.step(0.9, 0, tick, 10); o.open || o.duty > 0 || o.flight > 6 || o.pace > 1 {
		t.Errorf("at 90 %% of a target of 30 %%: %+v", o)
	}
	for range 120 {
		c.step(0.1, 0.05, tick, 1)
	}
	if o := c.step(0.1, 0.05, tick, 1); !o.open || o.duty == 0 || o.pace < 2 {
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
			l.accepted(now)
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
	l.full(now) // 41 in flight, one of them refused
	if s := l.state(); s.found != 40 || s.most != 20 {
		t.Errorf("full at %d, and %d allowed; want 40 and 20: the room is the workers'", s.found, s.most)
	}
	for n := range 59 {
		l.accepted(now.Add(time.Duration(n) * time.Second))
	}
	if s := l.state(); s.most != 20 {
		t.Errorf("%+v: what was found is tried again at once", s)
	}
	for n := range 20 {
		l.accepted(now.Add(foundFor + time.Duration(n)*time.Second))
	}
	if s := l.state(); s.most != 30 {
		t.Errorf("%+v: want one more every two seconds after a minute", s)
	}
	for l.state().most > 1 {
		l.allowed, l.flying = 100, 2
		l.full(now)
	}
	for n := range 1000 {
		l.accepted(now.Add(time.Duration(n) * time.Second))
	}
	if s := l.state(); s.most != 100 {
		t.Errorf("%+v: others' statements that have ended long since bound a storm for good", s)
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
		// A result has no more rows than were asked for, whatever the query.
		for most, pages := range map[int]int{1: 1, 1500: 2} {
			small := NewSequence(7, newest, most).Query(n)
			var limit int
			_, err := fmt.Sscanf(small.SQL[strings.LastIndex(small.SQL, "LIMIT"):], "LIMIT %d", &limit)
			if err != nil || limit > most || small.Pages < 1 || small.Pages > pages {
				t.Errorf("query %d of at most %d rows: %d pages, %s", n, most, small.Pages, small.SQL)
			}
		}
	}
	for _, k := range kinds {
		if seen[k.name] != 20*k.times {
			t.Errorf("%s came %d times in 20 rounds, want %d in each", k.name, seen[k.name], k.times)
		}
	}
	if differ < 15*Round() {
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
	minute := time.Date(2026, 11, 20, 15, 4, 0, 0, time.UTC)
	var seconds []Second
	for n := range 600 {
		s := Second{CPU: 40, Freshness: -1}
		if n >= 100 {
			s = Second{CPU: 90, Freshness: 30}
		}
		seconds = append(seconds, s)
	}
	seconds[400].Freshness = 61 // once in a minute is enough for a maximum
	seconds[599].Freshness = 301
	got := judge(Alarms(), minute, seconds)
	// The minute from 60 s has a mean of 56 %; the three after it are above 70 %.
	if a := got[0]; !a.Fired || a.FiredAt != 300 {
		t.Errorf("%+v, want fired at 300 s", a)
	}
	if a := got[1]; a.Fired {
		t.Errorf("%+v: two minutes with a lag of 60 s are not three in a row", a)
	}
	if a := got[2]; !a.Fired || a.FiredAt != 600 {
		t.Errorf("%+v, want fired at 600 s", a)
	}
	seconds[480].Freshness, seconds[539].Freshness = 61, 61
	seconds[420].Freshness = 61
	if a := judge(Alarms(), minute, seconds)[1]; !a.Fired || a.FiredAt != 540 {
		t.Errorf("%+v, want fired at 540 s: minutes 7, 8 and 9", a)
	}
}

// TestAlarmsGoByTheClock: CloudWatch's periods are the clock's minutes, wherever in one
// a storm begins.
func TestAlarmsGoByTheClock(t *testing.T) {
	began := time.Date(2026, 11, 20, 15, 4, 40, 900_000_000, time.UTC)
	seconds := make([]Second, 230)
	for i := range seconds {
		seconds[i] = Second{CPU: 90, Freshness: 20}
	}
	seconds[5].Freshness, seconds[25].Freshness, seconds[139].Freshness = 61, 61, 61
	got := judge(Alarms(), began, seconds)
	// 20 s are left of the first minute: what the CPU was before in it is not known.
	if a := got[0]; !a.Fired || a.FiredAt != 200 || a.Seen != 3 {
		t.Errorf("%+v, want fired at 200 s, by three whole minutes", a)
	}
	// A maximum is above a threshold whatever came before.
	if a := got[1]; !a.Fired || a.FiredAt != 140 || a.Seen != 4 || a.Unknown != 0 {
		t.Errorf("%+v, want fired at 140 s", a)
	}
	if a := judge(Alarms(), began, seconds[:199])[0]; a.Fired || a.Seen != 2 {
		t.Errorf("%+v fired by a minute that was not over", a)
	}
}

// TestAnAlarmOfWhatIsNotKnownIsNotJudged: the lag comes from the workers, and is there
// while the storm cannot tell it.
func TestAnAlarmOfWhatIsNotKnownIsNotJudged(t *testing.T) {
	seconds := make([]Second, 300)
	for i := range seconds {
		seconds[i] = Second{CPU: 50, Freshness: -1}
	}
	began := time.Date(2026, 11, 20, 15, 4, 0, 0, time.UTC)
	for _, a := range judge(Alarms(), began, seconds)[1:] {
		if a.Fired || a.Seen != 0 || a.Unknown != 300 {
			t.Errorf("%+v, want nothing seen", a)
		}
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
	if _, _, ok := quotaReader(filepath.Join(root, "fs"), filepath.Join(root, "self")); ok {
		t.Error("a quota whose usage cannot be read counts as one")
	}
	if runtime.GOOS == "linux" {
		m, err := NewMeter()
		if err != nil {
			t.Fatal(err)
		}
		if l, err := m.Load(); err != nil || l.Busy < 0 || l.Busy > 1 || l.Own > 1 {
			t.Errorf("%+v, %v", l, err)
		}
	}
}

// TestTheQuotaOfAnOldContainer reads files as version 1 of cgroups has them: the
// controllers in folders of their own, and the container's group named as its host
// sees it.
func TestTheQuotaOfAnOldContainer(t *testing.T) {
	for name, c := range map[string]struct {
		self  string
		files map[string]string
		cores float64 // 0 = there is no quota
	}{
		"on the host": {"5:cpu,cpuacct:/docker/abc\n0::/\n", map[string]string{
			"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n",
			"cpu/docker/abc/cpu.cfs_quota_us": "25000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n", "cpuacct/docker/abc/cpuacct.usage": "1500000000\n",
		}, 0.25},
		"inside": {"2:cpuacct,cpu:/docker/abc\n", map[string]string{
			"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n", "cpuacct/cpuacct.usage": "1500000000\n",
		}, 0.5},
		"without a quota": {"2:cpu:/\n1:cpuacct:/\n", map[string]string{
			"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n", "cpuacct/cpuacct.usage": "1500000000\n",
		}, 0},
		"counted elsewhere": {"2:cpu:/a\n1:cpuacct:/\n", map[string]string{
			"cpu/a/cpu.cfs_quota_us": "50000\n", "cpu/a/cpu.cfs_period_us": "100000\n", "cpuacct/cpuacct.usage": "1500000000\n",
		}, 0},
	} {
		root := t.TempDir()
		for file, text := range c.files {
			if err := os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		self := filepath.Join(t.TempDir(), "cgroup")
		if err := os.WriteFile(self, []byte(c.self), 0o600); err != nil {
			t.Fatal(err)
		}
		read, cores, ok := quotaReader(root, self)
		if ok != (c.cores > 0) || cores != c.cores {
			t.Errorf("%s: a quota of %v CPUs, want %v", name, cores, c.cores)
			continue
		}
		if ok {
			if busy, _, err := read(); err != nil || busy != 1.5 {
				t.Errorf("%s: %v seconds used, %v", name, busy, err)
			}
		}
	}
}
