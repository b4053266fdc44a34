package admin

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// opened is a Site that keeps its past in the file.
func opened(t *testing.T, path string) (*Site, *metrics.Metrics, *Recent) {
	t.Helper()
	m, recent := new(metrics.Metrics), NewRecent()
	s, err := New(Config{
		Worker: "me", Metrics: m, Recent: recent, Past: path,
		Status: func() worker.Status { return worker.Status{} }, Verdict: func() verdict.Verdict { return verdict.Verdict{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, m, recent
}

// The counts of a process begin with nothing. What the last one counted is moved so
// that whoever takes differences meets no step, and its problems count no more.
func TestTheNextWorkerRecallsThePast(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seat.past")
	first, m, recent := opened(t, path)
	start := time.Now()
	first.past.samples = nil // the last process began a minute ago
	for i := range 4 {
		m.RecordsRead.Add(100)
		m.RecordsProcessed.Add(90)
		m.EventsBy.Add("orders", 80)
		first.past.sample(start.Add(time.Duration(i+1)*time.Second-time.Minute), first.c)
	}
	slog.New(recent.Wrap(slog.DiscardHandler)).Error("load failed", "error", "paused")
	if err := first.keep(time.Now()); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kept as %v, %v; want a file of the user's alone", info, err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("%v stay beside it", left)
	}

	next, _, recalled := opened(t, path)
	samples := next.past.history()
	if len(samples) < 5 {
		t.Fatalf("%d samples, want those of the last process and one of this", len(samples))
	}
	orders := behindColumn + 1
	for i, one := range samples {
		if i > 0 && (one[1] < samples[i-1][1] || one[orders] < samples[i-1][orders]) {
			t.Errorf("the counts step back at %d: %v after %v", i, one, samples[i-1])
		}
	}
	last := samples[len(samples)-1]
	if last[1] != 0 || last[orders] != 0 || samples[1][1]-samples[0][1] != 100 || samples[1][orders]-samples[0][orders] != 80 {
		t.Errorf("recalled as %v", samples)
	}
	if list := recalled.Problems(); len(list) != 1 || !list[0].Before || list[0].Error != "paused" {
		t.Errorf("problems %+v", list)
	}
	if counted := recalled.Since(time.Time{}); len(counted) > 0 {
		t.Errorf("%+v counts against a worker that it did not happen to", counted)
	}
	slog.New(recalled.Wrap(slog.DiscardHandler)).Error("load failed", "error", "again")
	if list := recalled.Problems(); len(list) != 1 || list[0].Before || list[0].Times != 1 {
		t.Errorf("met again: %+v, want it to be of this process, once", list)
	}
}

func TestAPastThatCannotBeUsedIsLeftAlone(t *testing.T) {
	for name, content := range map[string]string{
		"no JSON":        "\x00",
		"other columns":  `{"samples":[[1,2],[3,4,5,6,7]]}`,
		"long ago":       `{"samples":[[1000,1,1,1,1,1,1,1,1]],"problems":[{"at":"2020-01-01T00:00:00Z","message":"old"}]}`,
		"of the future":  `{"samples":[[99999999999999,1,1,1,1,1,1,1,1]],"problems":[{"at":"2199-01-01T00:00:00Z","message":"new"}]}`,
		"of other types": `{"samples":"many"}`,
	} {
		path := filepath.Join(t.TempDir(), "past")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		s, _, recent := opened(t, path)
		if got := s.past.history(); len(got) != 1 || len(recent.Problems()) != 0 {
			t.Errorf("%s: %v, %+v", name, got, recent.Problems())
		}
	}
	s, _, _ := opened(t, filepath.Join(t.TempDir(), "no folder", "past"))
	if err := s.keep(time.Now()); err == nil {
		t.Error("kept where there is no folder")
	}
}

// A shard of others is as far as its owner wrote, as the warehouse says where it wrote
// nothing, and not known where neither does.
func TestTheFleetIsToldFromTheLeaseTableAndTheWarehouse(t *testing.T) {
	r := serve(t)
	now := time.Now()
	told := verdict.Member{Worker: "other", Shards: 3, Alive: true, Self: &verdict.Self{Version: "v2", Since: now, Rate: 7}}
	r.leases.Store(&Leases{Seen: now, Workers: []verdict.Member{told}, Shards: []Lease{
		{Shard: "a", Owner: "other", Until: now.Add(-10 * time.Second), Seen: now.Add(-3 * time.Second)},
		{Shard: "b", Until: now.Add(-time.Minute), Seen: now.Add(-time.Minute)},
		{Shard: "c", Owner: "other"},
		{Shard: "d", Owner: "other"},
		{Shard: "e", Ended: true},
	}})
	lag := func(s Status, i int) int64 {
		if len(s.Fleet) != 4 {
			t.Fatalf("fleet %+v, want four shards", s.Fleet)
		}
		if s.Fleet[i].LagMillis == nil {
			return -1
		}
		return *s.Fleet[i].LagMillis
	}
	alone := r.site.status(now)
	for i, want := range []int64{7000, 60000, -1, -1} {
		if got := lag(alone, i); got != want {
			t.Errorf("from the lease table alone, %s is %d ms behind, want %d", alone.Fleet[i].ID, got, want)
		}
	}
	r.site.feed.loaded = map[string]time.Time{"a": now.Add(-time.Hour), "c": now.Add(-20 * time.Second)}
	both := r.site.status(now)
	for i, want := range []int64{7000, 60000, 20000, -1} {
		if got := lag(both, i); got != want {
			t.Errorf("with the warehouse, %s is %d ms behind, want %d", both.Fleet[i].ID, got, want)
		}
	}
	if len(both.Workers) != 2 || both.Workers[0].Self.Version != "v2" || both.Workers[1].Worker != "me" || !both.Workers[1].Alive {
		t.Errorf("workers %+v, want the other and this one, which has no shard there", both.Workers)
	}
}
