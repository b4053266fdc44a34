package awstest

import (
	"fmt"
	"math"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdkcloudwatch "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

const namespace = "CloudCafe/Analytics"

// datapoints reads a metric back with a client of the SDK's own.
func datapoints(t *testing.T, metric string, from, to time.Time, period time.Duration) []types.Datapoint {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := sdkcloudwatch.NewFromConfig(cfg).GetMetricStatistics(t.Context(), &sdkcloudwatch.GetMetricStatisticsInput{
		Namespace: sdk.String(namespace), MetricName: &metric, Period: sdk.Int32(int32(period.Seconds())), StartTime: &from, EndTime: &to,
		Dimensions: []types.Dimension{{Name: sdk.String("Environment"), Value: sdk.String("dev")}},
		Statistics: []types.Statistic{types.StatisticSum, types.StatisticSampleCount, types.StatisticMaximum},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Datapoints
}

// statistics sums a metric up.
func statistics(t *testing.T, metric string, at time.Time) types.Datapoint {
	t.Helper()
	var sum types.Datapoint
	sum.Sum, sum.SampleCount, sum.Maximum = sdk.Float64(0), sdk.Float64(0), sdk.Float64(math.Inf(-1))
	for _, p := range datapoints(t, metric, at.Add(-time.Hour), at.Add(time.Hour), time.Hour) { // the time may lie in two periods
		*sum.Sum += *p.Sum
		*sum.SampleCount += *p.SampleCount
		*sum.Maximum = max(*sum.Maximum, *p.Maximum)
	}
	return sum
}

func datum(name string, values ...float64) aws.Datum {
	return aws.Datum{Name: name, Unit: "Count", Dimensions: []aws.Dimension{{Name: "Environment", Value: "dev"}}, Values: values}
}

func TestMetricsArriveWithinTheLimitsAndWithoutWhatCloudWatchRefuses(t *testing.T) {
	l, a := start(t, true)
	now := time.Now()
	many := datum("Many")
	for i := range 400 { // three data of at most 150 values
		many.Values = append(many.Values, float64(i))
		many.Counts = append(many.Counts, 2)
	}
	data := []aws.Datum{many, datum("Odd", 1, math.NaN(), math.Inf(1), 2), datum("Nothing"), datum("AllBad", math.NaN())}
	for i := range 1200 { // more than one call takes
		data = append(data, datum(fmt.Sprintf("M%04d", i), 1))
	}
	for i := range data {
		data[i].Time = now
	}
	if err := a.Metrics(namespace).PutMetricData(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	if got := len(l.Calls("", "PutMetricData")); got != 2 {
		t.Errorf("%d calls", got)
	}
	if p := statistics(t, "Many", now); *p.Sum != 2*399*400/2 || *p.SampleCount != 800 {
		t.Errorf("Many: sum %v of %v", *p.Sum, *p.SampleCount)
	}
	if p := statistics(t, "Odd", now); *p.Sum != 3 || *p.SampleCount != 2 {
		t.Errorf("Odd: sum %v of %v", *p.Sum, *p.SampleCount)
	}
	if p := statistics(t, "M1199", now); *p.Sum != 1 {
		t.Errorf("the last one: sum %v", *p.Sum)
	}
	if err := a.Metrics(namespace).PutMetricData(t.Context(), []aws.Datum{datum("Nothing")}); err != nil || len(l.Calls("", "PutMetricData")) != 2 {
		t.Errorf("a call for nothing: %v", err)
	}
}

// What is published more often than once a minute can be told apart by the second,
// if it says so; CloudWatch keeps minutes otherwise.
func TestMetricsAreKeptByTheSecond(t *testing.T) {
	_, a := start(t, true)
	at := time.Now().Truncate(time.Minute).Add(-time.Minute)
	var data []aws.Datum
	for second := range 3 {
		for name, fine := range map[string]bool{"Fine": true, "Coarse": false} {
			d := datum(name, float64(second))
			d.Time, d.BySecond = at.Add(time.Duration(second)*time.Second), fine
			data = append(data, d)
		}
	}
	if err := a.Metrics(namespace).PutMetricData(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"Fine": 3, "Coarse": 0} {
		if p := datapoints(t, name, at, at.Add(time.Minute), time.Second); len(p) != want {
			t.Errorf("%s has %d seconds apart, want %d", name, len(p), want)
		}
		if p := datapoints(t, name, at, at.Add(time.Minute), time.Minute); len(p) != 1 || *p[0].Sum != 3 {
			t.Errorf("%s by the minute: %+v", name, p)
		}
	}
}

func TestMetricsAreNotCountedTwiceAfterALostReply(t *testing.T) {
	l, a := start(t, true)
	l.SetFaults(fault.Fault{Service: "cloudwatch", Operation: "PutMetricData", Kind: fault.ReplyLost, Count: 1})
	if err := a.Metrics(namespace).PutMetricData(t.Context(), []aws.Datum{datum("Orders", 5)}); err == nil {
		t.Error("no error, although the reply was lost")
	}
	if p := statistics(t, "Orders", time.Now()); *p.Sum != 5 {
		t.Errorf("sum %v, want 5", *p.Sum)
	}
}

// A worker may make two calls a minute, and publishes once a minute and once at
// its end: nothing may call again for a call that failed, throttles least of all.
func TestAPublicationIsOneCallWhateverBecomesOfIt(t *testing.T) {
	for _, kind := range []fault.Kind{fault.Throttle, fault.InternalError, fault.Reset, fault.ReplyLost} {
		t.Run(string(kind), func(t *testing.T) {
			l, a := start(t, true)
			l.SetFaults(fault.Fault{Service: "cloudwatch", Operation: "PutMetricData", Kind: kind})
			m := a.Metrics(namespace)
			for publication := 1; publication <= 2; publication++ {
				if err := m.PutMetricData(t.Context(), []aws.Datum{datum("Orders", 5)}); err == nil {
					t.Error("no error")
				}
				if got := len(l.Calls("", "PutMetricData")); got != publication {
					t.Fatalf("%d calls for %d publications", got, publication)
				}
			}
			l.SetFaults()
			if err := m.PutMetricData(t.Context(), []aws.Datum{datum("Orders", 5)}); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestProbeSeesWhatIsWrongAndPublishesNothing(t *testing.T) {
	l, a := start(t, true)
	m := a.Metrics(namespace)
	if err := m.Probe(t.Context()); err != nil {
		t.Errorf("nothing is wrong: %v", err)
	}
	if p := statistics(t, "Probe", time.Now()); *p.SampleCount != 0 {
		t.Errorf("%v values were published", *p.SampleCount)
	}
	for _, kind := range []fault.Kind{fault.Throttle, fault.InternalError, fault.Reset} {
		l.SetFaults(fault.Fault{Service: "cloudwatch", Kind: kind})
		if err := m.Probe(t.Context()); err == nil {
			t.Errorf("%s is not seen", kind)
		}
	}
}
