package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/madeup"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

func TestMain(m *testing.M) {
	if err := SetEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := pgtest.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a test waits for what must happen, on a loaded machine.
// What moves meanwhile is waited for longer (settle).
const patience = 3 * time.Minute

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// ofEachKind is all of the cases, or with the race detector the first of each kind.
func ofEachKind[C any, K comparable](all []C, kind func(C) K) []C {
	if !detector {
		return all
	}
	var out []C
	seen := make(map[K]bool)
	for _, c := range all {
		if k := kind(c); !seen[k] {
			seen[k], out = true, append(out, c)
		}
	}
	return out
}

// withDetector is few with the race detector, and all without it.
func withDetector[N any](few, all N) N {
	if detector {
		return few
	}
	return all
}

// engines runs a test on DuckDB and on PostgreSQL, with the race detector on DuckDB
// alone: the worker's part is the same.
func engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("DuckDB", func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	if detector {
		return
	}
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, pgtest.Start(t))
	})
}

func newWorld(t testing.TB, o Options) *World {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	_, measured := t.(*testing.B)
	o.Tiny = !measured
	if testing.Verbose() && os.Getenv("SIMULATION_LOG") != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w, err := NewWorld(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// start starts a worker that is killed at the end of the test at the latest.
func start(t testing.TB, w *World, c Worker) *Running {
	t.Helper()
	r, err := w.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Kill)
	return r
}

// made makes n order events, a share of them broken.
func made(seed uint64, n int, bad float64) []aws.Entry {
	g := madeup.New(seed)
	g.Bad = bad
	at := time.Now().Add(-time.Hour)
	out := make([]aws.Entry, n)
	for i := range out {
		e := g.Next(at.Add(time.Duration(i) * time.Millisecond))
		out[i] = aws.Entry{PartitionKey: e.Key, Data: e.Data}
	}
	return out
}

func put(t testing.TB, w *World, entries []aws.Entry) {
	t.Helper()
	if err := w.Put(deadline(t), entries); err != nil {
		t.Fatal(err)
	}
}

// settle waits until all that was published is loaded or rejected, and then
// asks the verifier.
func settle(t testing.TB, w *World, published int) *verify.Report {
	t.Helper()
	last, since := int64(-1), time.Now()
	for {
		began := time.Now()
		r, err := w.Verify(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		if r.Records == int64(published) {
			break
		}
		if r.Records != last {
			last, since = r.Records, time.Now()
		}
		if time.Since(since) > patience {
			t.Fatalf("settled %d of %d, and no more for %v: %+v", r.Records, published, patience, r)
		}
		// The verifier takes the machine from the worker that it waits for.
		<-time.After(max(20*time.Millisecond, 3*time.Since(began)))
	}
	// That comparison may have begun before the last load; this one did not.
	return checkOK(t, w)
}

// checkAgrees asks the verifier in the middle of things: what the checkpoints
// cover must be there at any moment, and that nothing is loaded yet is no fault.
func checkAgrees(t testing.TB, w *World) *verify.Report {
	t.Helper()
	r, err := w.Verify(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Differences) > 0 {
		t.Fatalf("the warehouse differs from the stream: %+v", r)
	}
	return r
}

// checkOK asks the verifier about what is there now, once something is loaded.
func checkOK(t testing.TB, w *World) *verify.Report {
	t.Helper()
	r, err := w.Verify(deadline(t))
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK {
		t.Fatalf("the warehouse differs from the stream: %+v", r)
	}
	return r
}

// scalar asks the warehouse for one value.
func scalar(t testing.TB, w *World, sql string) string {
	t.Helper()
	r, err := w.DB.Run(deadline(t), warehouse.Token(), []string{sql})
	if err != nil {
		t.Fatal(err)
	}
	return r[0].Rows[0][0].Text
}

// crash is a transport that stops working for good at the nth call, before it
// reaches the wire or after its effect.
type crash struct {
	next  http.RoundTripper
	at    int // 0 = never
	after bool
	died  func()

	mu    sync.Mutex // guards calls and dead
	calls int
	dead  bool
}

var errCrashed = errors.New("crashed")

func (c *crash) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.calls++
	now := c.calls == c.at
	dead := c.dead
	c.dead = dead || now
	c.mu.Unlock()
	if dead || now && !c.after {
		if now {
			c.died()
		}
		return nil, errCrashed
	}
	response, err := c.next.RoundTrip(r)
	if now {
		if err == nil {
			_ = response.Body.Close()
		}
		c.died()
		return nil, errCrashed
	}
	return response, err
}

func (c *crash) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// rowOf is the row of an event, as a fill wants it.
func rowOf(fill warehouse.Fill, move int, e event.Event) warehouse.Row {
	return warehouse.Row{Move: move, Family: e.Family(), Line: fill.Encoder().Append(nil, &e)}
}

// orderRow is that of an order.
func orderRow(fill warehouse.Fill, move int, o event.Order) warehouse.Row {
	return rowOf(fill, move, event.Event{Row: &o})
}
