package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits, on a loaded machine.
const patience = 2 * time.Minute

// running is a Site that serves on a port of its own.
type running struct {
	url     string
	addr    string
	site    *Site
	status  atomic.Pointer[worker.Status]
	leases  atomic.Pointer[Leases]
	verdict atomic.Pointer[verdict.Verdict]
	asked   atomic.Int64 // questions to the warehouse
	metrics *metrics.Metrics
	recent  *Recent
}

func serve(t *testing.T) *running {
	t.Helper()
	r := &running{metrics: new(metrics.Metrics), recent: NewRecent()}
	r.status.Store(&worker.Status{Shards: []worker.ShardStatus{{ID: "shardId-0", Term: 2, CompleteUntil: time.Now()}}})
	r.verdict.Store(&verdict.Verdict{Finding: verdict.Finding{Cause: verdict.Quiet, State: verdict.Fine, Says: "All is loaded"}, Others: []verdict.Finding{}})
	r.leases.Store(&Leases{Seen: time.Now(), Shards: []Lease{{Shard: "shardId-0", Owner: "me"}, {Shard: "shardId-1", Owner: "other"}, {Shard: "old", Ended: true}}})
	shown, err := metrics.Collector(r.metrics)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(shown)
	r.site, err = New(Config{
		Version: "v1", Worker: "me", Stream: "order-events", Metrics: r.metrics, Recent: r.recent, Gatherer: registry,
		Status:  func() worker.Status { return *r.status.Load() },
		Leases:  func() Leases { return *r.leases.Load() },
		Verdict: func() verdict.Verdict { return *r.verdict.Load() },
		Sales:   func(context.Context) (Sales, error) { r.asked.Add(1); return Sales{At: time.Now()}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr, r.url = l.Addr().String(), "http://"+l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.site.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

func TestPagesAnswerWithSaneHeaders(t *testing.T) {
	r := serve(t)
	for path, want := range map[string]struct {
		status     int
		kind, text string
	}{
		"/healthz": {200, "text/plain", "ok"},
		"/readyz":  {200, "text/plain", "ready"},
		"/status":  {200, "application/json", `"stream": "order-events"`},
		"/metrics": {200, "text/plain", "analytics_worker_records_processed_total 0"},
		"/":        {200, "text/html", "<title>CloudCafe orders</title>"},
		"/other":   {404, "text/plain", "not found"},
	} {
		response, body := get(t, r.url+path)
		if response.StatusCode != want.status || !strings.HasPrefix(response.Header.Get("Content-Type"), want.kind) || !strings.Contains(body, want.text) {
			t.Errorf("%s: %s %s: %.200s", path, response.Status, response.Header.Get("Content-Type"), body)
		}
		h := response.Header
		if h.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	if response, err := http.Post(r.url+"/status", "text/plain", nil); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v %v", response, err)
	} else {
		_ = response.Body.Close()
	}
}

func TestPageIsSmallAndLoadsNothingElse(t *testing.T) {
	if n := len(dashboard); n > 150_000 {
		t.Errorf("%d bytes, at most 150,000", n)
	}
	text := string(dashboard)
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "<link rel=\"stylesheet", " src=", "@import", "url(", " style=\"", " onclick"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
}

// A page anywhere on the web can give 127.0.0.1 a name of its own.
func TestOnlyLocalNamesAreAnsweredOnLoopback(t *testing.T) {
	r := serve(t)
	_, port, _ := net.SplitHostPort(r.addr)
	for host, want := range map[string]int{
		"localhost:" + port: 200, "127.0.0.1:" + port: 200, "[::1]:" + port: 200, "localhost": 200,
		"evil.example:" + port: http.StatusMisdirectedRequest, "evil.example": http.StatusMisdirectedRequest, "10.0.0.1": http.StatusMisdirectedRequest,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("for %s: %s, want %d", host, response.Status, want)
		}
	}
}

// The pages say what the verdict says. Unready is a worker that does not do its work;
// what else is not well is told beside it.
func TestReadiness(t *testing.T) {
	full := verdict.Finding{Cause: verdict.WarehouseFull, State: verdict.Act, Says: "The warehouse is full", Next: "free space", Command: "some command", Stops: true}
	rejected := verdict.Finding{Cause: verdict.RejectedAll, State: verdict.Act, Says: "All is rejected", Next: "look"}
	fine := verdict.Finding{Cause: verdict.Quiet, State: verdict.Fine, Says: "All is loaded"}
	for name, c := range map[string]struct {
		found []verdict.Finding
		want  string
		ready bool
	}{
		"fine":        {[]verdict.Finding{fine}, "ready\n", true},
		"works on":    {[]verdict.Finding{rejected}, "ready\nact: All is rejected -> look\n", true},
		"stopped":     {[]verdict.Finding{full}, "not ready: The warehouse is full -> free space: some command\n", false},
		"two of them": {[]verdict.Finding{rejected, full}, "not ready: The warehouse is full -> free space: some command\nact: All is rejected -> look\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t)
			r.verdict.Store(&verdict.Verdict{Finding: c.found[0], Others: c.found[1:]})
			response, body := get(t, r.url+"/readyz")
			if body != c.want || (response.StatusCode == 200) != c.ready {
				t.Errorf("%s: %s, want %s", response.Status, body, c.want)
			}
			var st Status
			if _, body := get(t, r.url+"/status"); json.Unmarshal([]byte(body), &st) != nil || st.Verdict.Finding != c.found[0] || (st.NotReady == "") != c.ready {
				t.Errorf("/status says %+v, not ready %q", st.Verdict, st.NotReady)
			}
		})
	}
}

func TestStatusTellsTheWorstOfTheShards(t *testing.T) {
	r := serve(t)
	early := time.Now().Add(-time.Minute).UTC().Truncate(time.Millisecond)
	r.status.Store(&worker.Status{
		Shards: []worker.ShardStatus{{ID: "a", CompleteUntil: early.Add(time.Second)}, {ID: "b", CompleteUntil: early}}, Behind: 1500 * time.Millisecond, Lag: time.Minute, Parked: 3,
	})
	r.metrics.RecordsProcessed.Add(7)
	r.metrics.RejectedBy.Add("not JSON", 2)
	r.metrics.RejectedFrom.Add(event.NoFamily, 2)
	r.metrics.EventsBy.Add("payments", 5)
	log := slog.New(r.recent.Wrap(slog.DiscardHandler)).With("worker", "me")
	log.Info("fine")
	for range 3 {
		log.Error("load failed", "error", errors.New("away"), "hint", "wake it", "shard", "a")
	}
	log.Warn(strings.Repeat("long ", 1000))
	_, body := get(t, r.url+"/status")
	var s Status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if s.ArrivedUntil == nil || !s.ArrivedUntil.Equal(early) || s.BehindMillis != 1500 || s.LagMillis == nil || *s.LagMillis != 60_000 || s.Processed != 7 || s.RejectedByReason["not JSON"] != 2 || s.Parked != 3 {
		t.Errorf("%+v", s)
	}
	if n := len(s.Families) - 1; n != len(event.Families()) || s.Families[event.Payments] != (FamilyStatus{"payments", 5, 0}) || s.Families[n] != (FamilyStatus{"none", 0, 2}) {
		t.Errorf("families %+v", s.Families)
	}
	if len(s.Fleet) != 2 || s.Fleet[1].Owner != "other" {
		t.Errorf("fleet %+v, want the two shards that have not ended", s.Fleet)
	}
	if len(s.Problems) != 2 || len(s.Problems[0].Message) > maxText+10 {
		t.Fatalf("problems %+v", s.Problems)
	}
	if p := s.Problems[1]; p.Times != 3 || p.Error != "away" || p.Hint != "wake it" || p.Fields != "worker=me shard=a" || p.Level != "ERROR" {
		t.Errorf("problem %+v", p)
	}
	r.status.Store(&worker.Status{Shards: []worker.ShardStatus{{ID: "a", CompleteUntil: early}, {ID: "b"}}})
	if _, body = get(t, r.url+"/status"); !strings.Contains(body, "\n  \"arrived_until\": null") {
		t.Errorf("a watermark although that of a shard is not known: %s", body)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	r := NewRecent()
	log := slog.New(r.Wrap(slog.DiscardHandler))
	for i := range 10 * maxProblems {
		log.Warn(fmt.Sprint("problem ", i))
	}
	away := errors.New("away")
	log.With("error", away).Warn("last")
	if last := r.Since(time.Now().Add(-time.Minute))[0]; last.Message != "last" || last.Err != away || last.Error {
		t.Errorf("the last one is %+v", last)
	}
	got := r.Problems()[1:]
	if len(got) != maxProblems-1 || got[0].Message != fmt.Sprint("problem ", 10*maxProblems-1) {
		t.Errorf("%d problems, first %q", len(got), got[0].Message)
	}
}

// watch opens /events and calls seen with each event's name and data until ctx ends.
func watch(ctx context.Context, r *running, client *http.Client, seen func(name, data string)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/events", nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	in := bufio.NewScanner(response.Body)
	in.Buffer(nil, 1<<20)
	name := ""
	for in.Scan() {
		if n, ok := strings.CutPrefix(in.Text(), "event: "); ok {
			name = n
		}
		if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			seen(name, data)
		}
	}
	return ctx.Err()
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (s *Site) viewers() int {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return len(s.feed.viewers)
}

// 200 dashboards: each is fed, the warehouse is asked once for all of them, and
// not at all once they are gone.
func TestTwoHundredDashboardsShareOneState(t *testing.T) {
	r := serve(t)
	if r.asked.Load() != 0 {
		t.Error("the warehouse was asked while nobody watched")
	}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	const clients = 200
	var fed [clients]atomic.Int64
	before := runtime.NumGoroutine()
	cpu, began := cpuTime(), time.Now()
	for i := range clients {
		watching.Go(func() {
			err := watch(ctx, r, client, func(name, data string) {
				if name == "state" && strings.Contains(data, `"sales":{`) {
					fed[i].Add(1)
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	await(t, "all are fed with the sales three times", func() bool {
		for i := range fed {
			if fed[i].Load() < 3 {
				return false
			}
		}
		return true
	})
	t.Logf("%d goroutines more, %v of CPU for both sides", runtime.NumGoroutine()-before, cpuTime()-cpu)
	if n, took := r.asked.Load(), time.Since(began); n > 1+int64(took/salesEvery) {
		t.Errorf("the warehouse was asked %d times within %v, want once within %v", n, took, salesEvery)
	}
	cancel()
	watching.Wait()
	await(t, "all are forgotten", func() bool { return r.site.viewers() == 0 })
}

// A client that takes nothing: the others are fed as before, and what is kept
// for it is one event.
func TestASlowDashboardDelaysNobody(t *testing.T) {
	r := serve(t)
	connection, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the slow one is there", func() bool { return r.site.viewers() == 1 })
	var slow *viewer
	r.site.feed.mu.Lock()
	for v := range r.site.feed.viewers {
		slow = v
	}
	r.site.feed.mu.Unlock()
	big := []byte("data: " + strings.Repeat("x", 4<<20) + "\n\n") // more than a socket's buffers hold
	began := time.Now()
	for range 100 {
		r.site.feed.tell(big)
	}
	if took := time.Since(began); took >= r.site.feed.patience { // which one that waited for it would take
		t.Errorf("100 events took %v to hand over", took)
	}
	if n := len(slow.next); n > 1 {
		t.Errorf("%d events are kept for it", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	states := 0
	err = watch(ctx, r, client, func(name, _ string) {
		if name == "state" {
			if states++; states == 3 {
				cancel()
			}
		}
	})
	if states < 3 {
		t.Errorf("another client saw %d states: %v", states, err)
	}
}

func TestASlowDashboardIsDropped(t *testing.T) {
	r := serve(t)
	r.site.feed.patience = 300 * time.Millisecond
	connection, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if _, err := fmt.Fprintf(connection, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	await(t, "the slow one is there", func() bool { return r.site.viewers() == 1 })
	r.site.feed.tell([]byte("data: " + strings.Repeat("x", 16<<20) + "\n\n"))
	await(t, "it is dropped", func() bool { return r.site.viewers() == 0 })
}

// Scrapers that ask and do not read: health, status and the dashboard answer.
func TestHangingScrapersAffectNothing(t *testing.T) {
	r := serve(t)
	for range 50 {
		connection, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = connection.Close() }()
		if _, err := fmt.Fprintf(connection, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/healthz", "/status", "/"} {
		if response, _ := get(t, r.url+path); response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	await(t, "a scrape gets through", func() bool { response, _ := get(t, r.url+"/metrics"); return response.StatusCode == 200 })
}

func TestHistoryIsBoundedAndComesFirst(t *testing.T) {
	r := serve(t)
	at := time.Now()
	for i := range 3 * maxSamples {
		r.site.past.sample(at.Add(time.Duration(i)*sampleEvery), r.site.c)
	}
	ctx, cancel := context.WithCancel(t.Context())
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	var first string
	var past []sample // each with a count for each family, and for none
	if err := watch(ctx, r, client, func(name, data string) {
		if first == "" {
			first = name
			if err := json.Unmarshal([]byte(data), &past); err != nil {
				t.Error(err)
			}
		}
		cancel()
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if first != "history" || len(past) != maxSamples {
		t.Errorf("first %q with %d samples, want history with %d", first, len(past), maxSamples)
	}
	if n := len(past[0]); n != 5+len(event.Families())+1 {
		t.Errorf("a sample has %d counts", n)
	}
	if n := len(r.site.past.marks); n > maxMarks {
		t.Errorf("%d marks are kept", n)
	}
}
