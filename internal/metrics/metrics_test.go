package metrics

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// designed are the names and units that dashboards, alarms and scaling policies
// outside rely on.
var designed = map[string]string{
	"RecordsProcessed": "Count", "RedshiftEventsWritten": "Count", "RedshiftWriteDuration": "Milliseconds",
	"ShardProcessingError": "Count", "RedshiftWriteError": "Count", "WorkerError": "Count",
	"MillisBehindLatest": "Milliseconds", "MillisBehindCommitted": "Milliseconds", "RecordsRejected": "Count", "DuplicateEvents": "Count",
	"EndToEndLatency": "Milliseconds", "RetentionHeadroom": "Seconds",
	"StagedBatchAge": "Milliseconds",
}

// units is CloudWatch's own list, as its API reference has it.
var units = strings.Fields(`Seconds Microseconds Milliseconds Bytes Kilobytes Megabytes Gigabytes Terabytes
 Bits Kilobits Megabits Gigabits Terabits Percent Count Bytes/Second Kilobytes/Second Megabytes/Second Gigabytes/Second
 Terabytes/Second Bits/Second Kilobits/Second Megabits/Second Gigabits/Second Terabits/Second Count/Second None`)

func TestEveryDesignedMetricIsDeclaredWithItsUnit(t *testing.T) {
	declared, err := Declared(new(Metrics))
	if err != nil {
		t.Fatal(err)
	}
	left := len(designed)
	for _, d := range declared {
		if !slices.Contains(units, d.Unit) {
			t.Errorf("%s%s: CloudWatch has no unit %q", d.CloudWatch, d.Prometheus, d.Unit)
		}
		if d.CloudWatch == "" {
			continue
		}
		if want, ok := designed[d.CloudWatch]; !ok || d.Unit != want {
			t.Errorf("%s is in %s, want %q (empty: unknown)", d.CloudWatch, d.Unit, want)
		}
		left--
	}
	if left != 0 {
		t.Errorf("%d designed metrics are not declared, or some are declared twice", left)
	}
}

func TestPrometheusNamesFollowItsCustoms(t *testing.T) {
	declared, err := Declared(new(Metrics))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range declared {
		_, counter := d.instrument.(*Counter)
		_, counterBy := d.instrument.(*CounterBy)
		if total := strings.HasSuffix(d.Prometheus, "_total"); total != (counter || counterBy) {
			t.Errorf("%s: counters, and only they, end in _total", d.Prometheus)
		}
		if time := d.Unit == "Milliseconds" || d.Unit == "Seconds"; time != strings.HasSuffix(d.Prometheus, "_seconds") {
			t.Errorf("%s: times, and only they, end in _seconds", d.Prometheus)
		}
	}
}

func TestDeclaredRefusesWhatCannotBePublished(t *testing.T) {
	type hidden struct{ Counter }
	for name, set := range map[string]any{
		"a struct":     Metrics{},
		"nil":          nil,
		"no metric":    &struct{ N int }{},
		"not exported": new(struct{ hidden }),
		"no help": new(struct {
			C Counter `cloudwatch:"C"`
		}),
		"no unit": new(struct {
			G Gauge `cloudwatch:"G" help:"h"`
		}),
		"for nobody": new(struct {
			C Counter `help:"h"`
		}),
		"without a label": new(struct {
			C CounterBy `prometheus:"c_total" help:"h"`
		}),
		"label in CloudWatch": new(struct {
			C CounterBy `cloudwatch:"C" label:"l" help:"h"`
		}),
	} {
		if _, err := Declared(set); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDistributionReadsBackWithinTwoPercent(t *testing.T) {
	for _, v := range []time.Duration{0, 300 * time.Microsecond, time.Millisecond, 42 * time.Millisecond, time.Second, 25 * time.Hour, 365 * 24 * time.Hour, 5000 * 24 * time.Hour} {
		var d Distribution
		for i := range 100 { // a spread narrower than a bucket
			d.Observe(v+v*time.Duration(i)/10_000, 1)
		}
		if got := d.Quantile(0.5); math.Abs(float64(got-v)) > 0.02*float64(v)+1 {
			t.Errorf("%v is read back as %v", v, got)
		}
	}
}

func TestDistributionQuantiles(t *testing.T) {
	var d Distribution
	if d.Quantile(0.99) != 0 {
		t.Error("a quantile of nothing is not 0")
	}
	d.Observe(10*time.Millisecond, 98)
	d.Observe(-time.Second, 1) // a clock ahead of the stream's
	mark := d.Mark()
	d.Observe(time.Second, 1)
	for q, want := range map[float64]time.Duration{0: 0, 0.01: 0, 0.02: 10 * time.Millisecond, 0.99: 10 * time.Millisecond, 1: time.Second} {
		if got := d.Quantile(q); (got - want).Abs() > time.Microsecond {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	since, n := d.QuantileSince(mark, 0.5)
	if n != 1 || (since[0]-time.Second).Abs() > time.Microsecond {
		t.Errorf("since the mark: %v of %d", since, n)
	}
}

func TestCursorOfDistributionKeepsCountAndSumWithinCloudWatchsLimit(t *testing.T) {
	var d Distribution
	read := d.cursor()
	if values, _ := read(); len(values) != 0 {
		t.Errorf("nothing observed, but %v told", values)
	}
	for round := range 2 {
		sum, count := 0.0, 0.0
		for ms := 1.0; ms < 4e10; ms *= 1.02 { // more unique values than one datum takes
			d.Observe(time.Duration(ms*float64(time.Millisecond)), 3)
			sum += 3 * ms
			count += 3
		}
		values, counts := read()
		if len(values) > maxValues || len(values) < maxValues/3 || len(values) != len(counts) {
			t.Fatalf("round %d: %d values and %d counts", round, len(values), len(counts))
		}
		for i, v := range values {
			sum -= v * counts[i]
			count -= counts[i]
		}
		if count != 0 || math.Abs(sum) > 1 {
			t.Errorf("round %d: count off by %v, sum off by %v ms", round, count, sum)
		}
	}
}

func TestLabelsAreBounded(t *testing.T) {
	var c CounterBy
	for i := range 10 * maxLabels {
		c.Add(fmt.Sprint(i), 1)
	}
	got := c.Values()
	if len(got) > maxLabels+1 || got[otherLabel] != 9*maxLabels {
		t.Errorf("%d labels, %d counted as %s", len(got), got[otherLabel], otherLabel)
	}
}

// scrape reads the set over HTTP: values by name and labels.
func scrape(t *testing.T, set any) map[string]string {
	t.Helper()
	c, err := Collector(set)
	if err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if page.Code != http.StatusOK {
		t.Fatalf("status %d: %s", page.Code, page.Body)
	}
	out := make(map[string]string)
	for line := range strings.Lines(page.Body.String()) {
		if i := strings.LastIndexByte(line, ' '); line[0] != '#' {
			out[strings.TrimPrefix(line[:i], prefix)] = strings.TrimSpace(line[i:])
		}
	}
	return out
}

func TestPrometheusReadsTheSameValues(t *testing.T) {
	m := new(Metrics)
	if v, there := scrape(t, m)["behind_latest_seconds"]; there {
		t.Errorf("a gauge without a value is shown as %s", v)
	}
	m.RecordsProcessed.Add(42)
	m.RejectedBy.Add("not JSON", 2)
	m.Behind.From(func() (float64, bool) { return 1500, true })
	m.RetentionHeadroom.From(func() (float64, bool) { return 86400, true })
	m.ShardBehind.From(func() map[string]float64 { return map[string]float64{"shardId-1": 2500} })
	m.WriteDuration.Observe(40*time.Millisecond, 3)
	m.WriteDuration.Observe(48*time.Hour, 1)
	got := scrape(t, m)
	const load = "redshift_write_duration_seconds"
	for name, want := range map[string]string{
		"records_processed_total": "42", "records_rejected_total": "0", "behind_latest_seconds": "1.5",
		"retention_headroom_seconds": "86400", `shard_behind_latest_seconds{shard="shardId-1"}`: "2.5",
		`records_rejected_by_reason_total{reason="not JSON"}`: "2",
		load + "_count": "4", load + "_sum": "172800.12",
		load + `_bucket{le="0.025"}`: "0", load + `_bucket{le="0.05"}`: "3", load + `_bucket{le="86400"}`: "3", load + `_bucket{le="+Inf"}`: "4",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %s", name, got[name], want)
		}
	}
}

// The struct is what everybody counts into: a field that nobody declares would
// be counted for nobody.
func TestEveryFieldIsToldToSomebody(t *testing.T) {
	declared, err := Declared(new(Metrics))
	if err != nil {
		t.Fatal(err)
	}
	if n := reflect.TypeFor[Metrics]().NumField(); n != len(declared) {
		t.Errorf("%d fields, %d declarations", n, len(declared))
	}
}

// TestPercentIsTheMeanOfTheInterval: what is published has the count and mean of what
// was seen since the publication before, in few enough values for one datum.
func TestPercentIsTheMeanOfTheInterval(t *testing.T) {
	var p Percent
	read := p.cursor()
	for range 2 {
		want := 0.0
		for n := range 1000 {
			v := float64(n) / 10
			p.Observe(v)
			want += v
		}
		p.Observe(150)
		p.Observe(math.NaN())
		want += 100
		values, counts := read()
		sum, n := 0.0, 0.0
		for i := range values {
			sum += values[i] * counts[i]
			n += counts[i]
		}
		if n != 1002 || math.Abs(sum-want) > 1e-6 || len(values) > maxValues {
			t.Errorf("%v values with the sum %v, want 1002 with %v; %d unique", n, sum, want, len(values))
		}
	}
	if values, _ := read(); len(values) > 0 {
		t.Errorf("%v of an interval without any", values)
	}
}
