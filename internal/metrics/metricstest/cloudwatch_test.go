// Package metricstest tries the publishing of metrics over the wire, against the
// local AWS's CloudWatch.
package metricstest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awscw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/localaws/cloudwatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const namespace = "CloudCafe/Analytics"

// local is a CloudWatch that counts its calls and can be made to spoil them.
type local struct {
	service *cloudwatch.Service
	calls   atomic.Int64
	spoil   atomic.Pointer[http.HandlerFunc] // answers in place of the service
}

func (l *local) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	in := io.Reader(bytes.NewReader(raw))
	if r.Header.Get("Content-Encoding") == "gzip" {
		if in, err = gzip.NewReader(in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	body, err := io.ReadAll(in)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	operation, ok := l.service.Match(r, body)
	if !ok {
		http.Error(w, "no call of CloudWatch", http.StatusTeapot)
		return
	}
	if operation == "PutMetricData" {
		l.calls.Add(1)
		if spoil := l.spoil.Load(); spoil != nil {
			(*spoil)(w, r)
			return
		}
	}
	l.service.Serve(w, r, operation, body)
}

func start(t *testing.T) (*local, *aws.Account) {
	t.Helper()
	l := &local{service: cloudwatch.New(cloudwatch.Options{Limits: true})}
	server := httptest.NewServer(l)
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	a, err := aws.Open(context.Background(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); server.Close() })
	return l, a
}

// account sends as the worker does: what metrics measures, by what aws offers.
type account struct{ to *aws.Metrics }

func (a account) PutMetricData(ctx context.Context, data []metrics.Datum) error {
	out := make([]aws.Datum, len(data))
	for i, d := range data {
		out[i] = aws.Datum{Name: d.Name, Unit: d.Unit, Time: d.Time, Values: d.Values, Counts: d.Counts}
		for _, dim := range d.Dimensions {
			out[i].Dimensions = append(out[i].Dimensions, aws.Dimension(dim))
		}
	}
	err := a.to.PutMetricData(ctx, out)
	if errors.Is(err, aws.ErrUnsettled) {
		return errors.Join(err, metrics.ErrUnsettled)
	}
	return err
}

// publish runs a Publisher until the returned function is called.
func publish(t *testing.T, a *aws.Account, m *metrics.Metrics, every time.Duration) (stop func()) {
	t.Helper()
	p, err := metrics.NewPublisher(account{a.Metrics(namespace)}, every, slog.New(slog.DiscardHandler),
		metrics.Set{Metrics: m, Dimensions: []metrics.Dimension{{Name: "Environment", Value: "dev"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.Run(ctx) })
	return func() { cancel(); running.Wait() }
}

// read reads a metric back with a client of the SDK's own, over the last hour.
func read(t *testing.T, name string, unit types.StandardUnit) (got types.Datapoint, found bool) {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	in := &awscw.GetMetricStatisticsInput{
		Namespace: sdk.String(namespace), MetricName: &name, Period: sdk.Int32(86400), Unit: unit,
		StartTime: sdk.Time(now.Add(-23 * time.Hour)), EndTime: sdk.Time(now.Add(time.Hour)),
		Dimensions: []types.Dimension{{Name: sdk.String("Environment"), Value: sdk.String("dev")}},
		Statistics: []types.Statistic{types.StatisticSum, types.StatisticSampleCount, types.StatisticMaximum},
	}
	client := awscw.NewFromConfig(cfg)
	out, err := client.GetMetricStatistics(t.Context(), in)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	if len(out.Datapoints) == 0 {
		return got, false
	}
	got = out.Datapoints[0]
	in.Statistics, in.ExtendedStatistics = nil, []string{"p50", "p99"}
	if out, err = client.GetMetricStatistics(t.Context(), in); err != nil {
		t.Fatalf("read percentiles of %s: %v", name, err)
	}
	got.ExtendedStatistics = out.Datapoints[0].ExtendedStatistics
	return got, true
}

func TestEveryMetricArrivesInOneCall(t *testing.T) {
	l, a := start(t)
	m := new(metrics.Metrics)
	m.Behind.From(func() (float64, bool) { return 0, true })
	m.RetentionHeadroom.From(func() (float64, bool) { return 86400, true })
	m.Staged.From(func() (float64, bool) { return 1200, true })
	m.RecordsProcessed.Add(1000)
	m.RecordsRejected.Add(10)
	for ms := range 3000 { // a spread over many values
		m.EndToEnd.Observe(time.Duration(ms)*time.Millisecond, 1)
	}
	m.WriteDuration.Observe(250*time.Millisecond, 1)
	publish(t, a, m, time.Hour)() // the last batch of a worker that stops at once

	if n := l.calls.Load(); n != 1 {
		t.Errorf("%d calls of PutMetricData, want 1", n)
	}
	for name, want := range map[string]struct {
		unit types.StandardUnit
		sum  float64
	}{
		"RecordsProcessed": {"Count", 1000}, "RecordsRejected": {"Count", 10}, "RedshiftEventsWritten": {"Count", 0},
		"DuplicateEvents": {"Count", 0}, "ShardProcessingError": {"Count", 0}, "RedshiftWriteError": {"Count", 0}, "WorkerError": {"Count", 0},
		"MillisBehindLatest": {"Milliseconds", 0}, "RetentionHeadroom": {"Seconds", 86400}, "StagedBatchAge": {"Milliseconds", 1200},
		"RedshiftWriteDuration": {"Milliseconds", 250}, "EndToEndLatency": {"Milliseconds", 3000 * 2999 / 2},
	} {
		got, found := read(t, name, want.unit)
		if !found {
			t.Errorf("%s in %s is not there", name, want.unit)
			continue
		}
		if math.Abs(*got.Sum-want.sum) > 0.001 {
			t.Errorf("%s sums up to %v, want %v", name, *got.Sum, want.sum)
		}
	}
	delay, _ := read(t, "EndToEndLatency", "Milliseconds")
	if p50, p99 := delay.ExtendedStatistics["p50"], delay.ExtendedStatistics["p99"]; math.Abs(p50-1500) > 60 || math.Abs(p99-2970) > 120 || *delay.SampleCount != 3000 {
		t.Errorf("p50 %v, p99 %v of %v records; want 1500 and 2970 of 3000, within 4 %%", p50, p99, *delay.SampleCount)
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Each trouble in turn, while a worker counts. What was refused comes in late;
// what may have gone in is not sent twice.
func TestCountsAreRightAfterEachTrouble(t *testing.T) {
	refuse := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
		w.Header().Set("Content-Type", "application/cbor")
		w.Header().Set("X-Amzn-Query-Error", "Throttling;Sender")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte("\xa2f__typejThrottlinggmessageiSlow down")) // a CBOR map of two texts
	}
	garbage := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>not CBOR")) }
	reset := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		spoil http.HandlerFunc
		late  bool
	}{
		"throttled": {refuse, true}, "garbage": {garbage, false}, "reset": {reset, false},
	} {
		t.Run(name, func(t *testing.T) {
			l, a := start(t)
			l.spoil.Store(&c.spoil)
			m := new(metrics.Metrics)
			m.RecordsProcessed.Add(100)
			stop := publish(t, a, m, 20*time.Millisecond)
			await(t, "a publication is spoiled", func() bool { return l.calls.Load() >= 2 })
			before := l.calls.Load()
			l.spoil.Store(nil)
			await(t, "publications go on", func() bool { return l.calls.Load() > before+2 })
			m.RecordsProcessed.Add(7)
			stop()
			want := 7.0
			if c.late {
				want = 107
			}
			if got, found := read(t, "RecordsProcessed", "Count"); !found || *got.Sum != want {
				t.Errorf("published %+v, want a sum of %v", got, want)
			}
		})
	}
}

// Whatever answers in CloudWatch's place may answer without an end. The SDK reads
// an error's body into memory.
func TestAnEndlessAnswerIsCutOff(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusBadRequest, http.StatusServiceUnavailable} {
		for _, protocol := range []string{"rpc-v2-cbor", ""} {
			t.Run(fmt.Sprintf("%d %s", status, protocol), func(t *testing.T) {
				l, a := start(t)
				var written atomic.Int64
				endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					if protocol != "" {
						w.Header().Set("Smithy-Protocol", protocol)
						w.Header().Set("Content-Type", "application/cbor")
					}
					w.WriteHeader(status)
					for chunk := bytes.Repeat([]byte("<html>"), 10_000); written.Load() < 1<<30; {
						n, err := w.Write(chunk)
						if written.Add(int64(n)); err != nil {
							return
						}
					}
				})
				l.spoil.Store(&endless)
				err := account{a.Metrics(namespace)}.PutMetricData(t.Context(), []metrics.Datum{{Name: "N", Unit: "Count", Values: []float64{1}}})
				if protocol == "" && err == nil {
					t.Error("no error")
				}
				if n := written.Load(); n > 64<<20 { // what the system's buffers hold, and room
					t.Errorf("%d bytes were taken", n)
				}
			})
		}
	}
}

// A port where nobody listens is the one trouble of the network that is known
// to have kept the data out: they are kept.
func TestAnUnreachableCloudWatchIsNotUnsettled(t *testing.T) {
	start(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	t.Setenv("AWS_ENDPOINT_URL", closed.URL)
	a, err := aws.Open(t.Context(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	err = account{a.Metrics(namespace)}.PutMetricData(t.Context(), []metrics.Datum{{Name: "N", Unit: "Count", Values: []float64{1}}})
	if err == nil || errors.Is(err, metrics.ErrUnsettled) {
		t.Errorf("%v, want an error that is not ErrUnsettled", err)
	}
}
