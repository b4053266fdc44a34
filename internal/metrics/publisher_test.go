package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// service takes publications as CloudWatch would, or fails as it is told to.
type service struct {
	fail func(ctx context.Context, call int) error

	mu    sync.Mutex // guards what follows
	calls int
	most  int // data of the largest call
	data  []Datum
	when  []time.Time
}

func (s *service) PutMetricData(ctx context.Context, data []Datum) error {
	s.mu.Lock()
	s.calls++
	s.most = max(s.most, len(data))
	s.when = append(s.when, time.Now())
	call, fail := s.calls, s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(ctx, call); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = append(s.data, data...)
	return nil
}

// of is what was published of one metric, in order.
func (s *service) of(name string) (out []Datum) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.data {
		if d.Name == name {
			out = append(out, d)
		}
	}
	return out
}

func (s *service) sum(name string) (sum float64) {
	for _, d := range s.of(name) {
		for i, v := range d.Values {
			sum += v * d.Counts[i]
		}
	}
	return sum
}

// run publishes to s each minute until the returned function is called.
func run(t *testing.T, s *service, log *bytes.Buffer, sets ...Set) (stop func()) {
	t.Helper()
	p, err := NewPublisher(s, time.Minute, slog.New(slog.NewTextHandler(log, nil)), sets...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

func TestPublisherSendsGrowthZerosAndTheLastBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := &service{}, new(Metrics)
		m.Behind.From(func() (float64, bool) { return 0, true })
		stop := run(t, s, new(bytes.Buffer), Set{m, []Dimension{{"Environment", "dev"}}})
		m.RecordsProcessed.Add(40)
		m.EndToEnd.Observe(300*time.Millisecond, 40)
		time.Sleep(90 * time.Second)
		m.RecordsProcessed.Add(2)
		time.Sleep(60 * time.Second)
		m.RecordsProcessed.Add(5)
		stop()
		var got []float64
		for _, d := range s.of("RecordsProcessed") {
			if len(d.Values) != 1 || d.Counts[0] != 1 || d.Unit != "Count" || d.Dimensions[0] != (Dimension{"Environment", "dev"}) {
				t.Errorf("%+v", d)
			}
			got = append(got, d.Values[0])
		}
		if fmt.Sprint(got) != "[40 2 5]" {
			t.Errorf("published %v, want [40 2 5]", got)
		}
		for _, name := range []string{"RecordsRejected", "WorkerError", "MillisBehindLatest"} {
			if d := s.of(name); len(d) != 3 || d[1].Values[0] != 0 {
				t.Errorf("%s: %+v, want a 0 each time", name, d)
			}
		}
		if d := s.of("EndToEndLatency"); len(d) != 1 || d[0].Counts[0] != 40 {
			t.Errorf("latency: %+v, want one datum, where there was something to observe", d)
		}
		if d := s.of("RetentionHeadroom"); len(d) != 0 {
			t.Errorf("headroom: %+v, but it is not known", d)
		}
		if s.calls != 3 {
			t.Errorf("%d calls, want one an interval and one at the end", s.calls)
		}
	})
}

// A second set stands for Query Storm, whose metrics have another dimension.
func TestPublisherKeepsTheSetsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storm := new(struct {
			Iterations Counter `cloudwatch:"QueryStormIterations" help:"Queries run."`
		})
		s := &service{}
		stop := run(t, s, new(bytes.Buffer), Set{new(Metrics), []Dimension{{"Environment", "dev"}}},
			Set{storm, []Dimension{{"Scenario", "QueryStorm"}}})
		storm.Iterations.Add(7)
		stop()
		if d := s.of("QueryStormIterations"); len(d) != 1 || d[0].Dimensions[0].Name != "Scenario" || s.calls != 1 {
			t.Errorf("%+v in %d calls, want both sets in one call", d, s.calls)
		}
	})
}

func TestPublisherKeepsWhatIsRefusedAndSendsItOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m, log := &service{}, new(Metrics), new(bytes.Buffer)
		s.fail = func(_ context.Context, call int) error {
			if call <= 5 {
				return errors.New("Throttling: rate exceeded")
			}
			return nil
		}
		stop := run(t, s, log, Set{Metrics: m})
		for range 10 {
			m.RecordsProcessed.Add(10)
			time.Sleep(time.Minute)
		}
		stop()
		d := s.of("RecordsProcessed")
		if len(d) < 10 || s.sum("RecordsProcessed") != 100 || d[1].Time.Sub(d[0].Time) != time.Minute {
			t.Errorf("%d intervals of sum %v, want each with its own time and 100 in all", len(d), s.sum("RecordsProcessed"))
		}
		if n := strings.Count(log.String(), "publishing metrics failed"); n != 1 {
			t.Errorf("%d complaints, want 1:\n%s", n, log)
		}
		if !strings.Contains(log.String(), "published again") {
			t.Errorf("the end of the outage is not told:\n%s", log)
		}
	})
}

func TestPublisherNeverRepeatsWhatMayBeIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, m := &service{}, new(Metrics)
		s.fail = func(_ context.Context, call int) error {
			if call == 1 {
				return fmt.Errorf("reply lost: %w", ErrUnsettled)
			}
			return nil
		}
		stop := run(t, s, new(bytes.Buffer), Set{Metrics: m})
		m.RecordsProcessed.Add(10)
		time.Sleep(90 * time.Second)
		m.RecordsProcessed.Add(1)
		stop()
		if got := s.sum("RecordsProcessed"); got != 1 {
			t.Errorf("%v published after a lost reply, want only what came after it", got)
		}
	})
}

// An hour of each trouble: counting goes on unhindered, memory stays flat, the
// log stays quiet, and the end is not held up.
func TestPublisherOutlastsAnHourOfTrouble(t *testing.T) {
	for name, fail := range map[string]func(ctx context.Context, call int) error{
		"unreachable": func(context.Context, int) error { return errors.New("dial tcp: connection refused") },
		"throttled":   func(context.Context, int) error { return errors.New("Throttling: rate exceeded") },
		"garbage":     func(context.Context, int) error { return fmt.Errorf("decode the reply: %w", ErrUnsettled) },
		"hanging":     func(ctx context.Context, _ int) error { <-ctx.Done(); return context.Cause(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, m, log := &service{fail: fail}, new(Metrics), new(bytes.Buffer)
				stop := run(t, s, log, Set{m, []Dimension{{"Environment", "dev"}}})
				var early, late uint64
				for second := range 3600 {
					before := time.Now()
					m.RecordsProcessed.Add(1000)
					for i := range 10 { // a wide spread: the largest data there can be
						m.EndToEnd.Observe(time.Duration(second*i)*time.Second, 100)
					}
					if took := time.Since(before); took != 0 {
						t.Fatalf("counting waited %v for CloudWatch", took)
					}
					time.Sleep(time.Second)
					switch second {
					case 40 * 60: // all that is kept is full
						early = heap()
					case 3599:
						late = heap()
					}
				}
				if late > early+256<<10 {
					t.Errorf("the heap grew from %d to %d bytes in 20 minutes", early, late)
				}
				began := time.Now()
				stop()
				if took := time.Since(began); took > 2*lastTime {
					t.Errorf("the end was held up for %v", took)
				}
				if s.most > 1000 || s.calls > 62 {
					t.Errorf("%d calls of up to %d data, want one a minute of at most 1000", s.calls, s.most)
				}
				if n := strings.Count(log.String(), "\n"); n < 3 || n > 8 {
					t.Errorf("%d log lines in an hour:\n%s", n, log)
				}
			})
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
