package cloudwatch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awscw "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, s *Service) *awscw.Client {
	t.Helper()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{s}}).Start(t)
	return awscw.New(awscw.Options{
		Region: endpoint.Region, BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials:                 credentials.NewStaticCredentialsProvider("k", "s", ""),
		Retryer:                     aws.NopRetryer{},
		RequestMinCompressSizeBytes: 10240,
	})
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestPutAndReadBack(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Minute)
	env := []types.Dimension{{Name: aws.String("Environment"), Value: aws.String("dev")}}
	put := func(d ...types.MetricDatum) {
		t.Helper()
		_, err := c.PutMetricData(ctx, &awscw.PutMetricDataInput{Namespace: aws.String("CloudCafe/Analytics"), MetricData: d})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(types.MetricDatum{MetricName: aws.String("RecordsProcessed"), Dimensions: env, Timestamp: &at, Value: aws.Float64(40), Unit: types.StandardUnitCount},
		types.MetricDatum{MetricName: aws.String("RecordsProcessed"), Dimensions: env, Timestamp: aws.Time(at.Add(30 * time.Second)), Value: aws.Float64(2), Unit: types.StandardUnitCount})
	put(types.MetricDatum{
		MetricName: aws.String("RedshiftWriteDuration"), Dimensions: env, Timestamp: &at, Unit: types.StandardUnitMilliseconds,
		Values: []float64{10, 20, 1000}, Counts: []float64{50, 49, 1},
	})
	stats := func(name string, in awscw.GetMetricStatisticsInput) []types.Datapoint {
		t.Helper()
		in.Namespace, in.MetricName, in.Dimensions = aws.String("CloudCafe/Analytics"), &name, env
		in.StartTime, in.EndTime, in.Period = aws.Time(at.Add(-time.Minute)), aws.Time(at.Add(5*time.Minute)), aws.Int32(60)
		out, err := c.GetMetricStatistics(ctx, &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.Datapoints
	}
	got := stats("RecordsProcessed", awscw.GetMetricStatisticsInput{Statistics: []types.Statistic{
		types.StatisticSum, types.StatisticSampleCount, types.StatisticMaximum, types.StatisticMinimum, types.StatisticAverage,
	}})
	if len(got) != 1 || *got[0].Sum != 42 || *got[0].SampleCount != 2 || *got[0].Maximum != 40 || *got[0].Minimum != 2 ||
		*got[0].Average != 21 || got[0].Unit != types.StandardUnitCount || !got[0].Timestamp.Equal(at) {
		t.Errorf("got %+v", got)
	}
	got = stats("RedshiftWriteDuration", awscw.GetMetricStatisticsInput{ExtendedStatistics: []string{"p50", "p90", "p99.5"}})
	if len(got) != 1 || got[0].ExtendedStatistics["p50"] != 10 || got[0].ExtendedStatistics["p90"] != 20 || got[0].ExtendedStatistics["p99.5"] != 1000 {
		t.Errorf("percentiles: %+v", got)
	}
	if got := stats("RecordsProcessed", awscw.GetMetricStatisticsInput{Statistics: []types.Statistic{types.StatisticSum}, Unit: types.StandardUnitSeconds}); len(got) != 0 {
		t.Errorf("of another unit: %+v", got)
	}

	data, err := c.GetMetricData(ctx, &awscw.GetMetricDataInput{
		StartTime: aws.Time(at.Add(-time.Hour)), EndTime: aws.Time(at.Add(time.Hour)), ScanBy: types.ScanByTimestampAscending,
		MetricDataQueries: []types.MetricDataQuery{
			{Id: aws.String("r"), MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: aws.String("CloudCafe/Analytics"), MetricName: aws.String("RecordsProcessed"), Dimensions: env},
				Period: aws.Int32(300), Stat: aws.String("Sum"),
			}},
			{Id: aws.String("none"), Label: aws.String("nothing"), MetricStat: &types.MetricStat{
				Metric: &types.Metric{Namespace: aws.String("CloudCafe/Analytics"), MetricName: aws.String("Never")},
				Period: aws.Int32(60), Stat: aws.String("p99"),
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := data.MetricDataResults
	if len(r) != 2 || !slices.Equal(r[0].Values, []float64{42}) || !r[0].Timestamps[0].Equal(at.Truncate(5*time.Minute)) ||
		r[0].StatusCode != types.StatusCodeComplete || *r[1].Label != "nothing" || len(r[1].Values) != 0 {
		t.Errorf("data: %+v", r)
	}

	list, err := c.ListMetrics(ctx, &awscw.ListMetricsInput{Dimensions: []types.DimensionFilter{{Name: aws.String("Environment")}}})
	if err != nil || len(list.Metrics) != 2 || *list.Metrics[0].MetricName != "RecordsProcessed" || *list.Metrics[0].Dimensions[0].Value != "dev" {
		t.Errorf("list: %+v, %v", list, err)
	}
	put(types.MetricDatum{MetricName: aws.String("Set"), Dimensions: env, Timestamp: &at, StatisticValues: &types.StatisticSet{
		SampleCount: aws.Float64(2), Sum: aws.Float64(3), Minimum: aws.Float64(1), Maximum: aws.Float64(2),
	}})
	if got = stats("Set", awscw.GetMetricStatisticsInput{ExtendedStatistics: []string{"p50"}}); len(got) != 0 {
		t.Errorf("a datapoint without a percentile: %+v", got)
	}
}

func TestTheWholeRequestFails(t *testing.T) {
	s := New(Options{Limits: true})
	c := client(t, s)
	good := types.MetricDatum{MetricName: aws.String("Good"), Value: aws.Float64(1)}
	datum := func(edit func(*types.MetricDatum)) []types.MetricDatum {
		d := types.MetricDatum{MetricName: aws.String("M"), Value: aws.Float64(1)}
		edit(&d)
		return []types.MetricDatum{good, d}
	}
	dims := func(n int) (out []types.Dimension) {
		for i := range n {
			out = append(out, types.Dimension{Name: aws.String(fmt.Sprint("d", i)), Value: aws.String("v")})
		}
		return out
	}
	dim := func(name, value string) func(d *types.MetricDatum) {
		return func(d *types.MetricDatum) {
			d.Dimensions = []types.Dimension{{Name: &name, Value: &value}}
		}
	}
	now := time.Now()
	for _, tt := range []struct {
		name, space, want string
		data              []types.MetricDatum
	}{
		{"a unit that is none", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Unit = "Records" })},
		{"NaN", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Value = aws.Float64(math.NaN()) })},
		{"infinity", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Value = aws.Float64(math.Inf(-1)) })},
		{"too large", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Value = aws.Float64(math.Ldexp(1, 361)) })},
		{"a service's namespace", "AWS/Kinesis", "InvalidParameterValue", datum(func(*types.MetricDatum) {})},
		{"a namespace with a colon", ":N", "InvalidParameterValue", datum(func(*types.MetricDatum) {})},
		{"a blank namespace", " ", "InvalidParameterValue", datum(func(*types.MetricDatum) {})},
		{"a namespace of control characters", "N\n", "InvalidParameterValue", datum(func(*types.MetricDatum) {})},
		{"a long namespace", strings.Repeat("n", 256), "InvalidParameterValue", datum(func(*types.MetricDatum) {})},
		{"31 dimensions", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Dimensions = dims(31) })},
		{"a dimension twice", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Dimensions = append(dims(1), dims(1)...) })},
		{"an empty dimension", "N", "MissingParameter", datum(dim("d", ""))},
		{"a blank dimension", "N", "InvalidParameterValue", datum(dim("d", "  "))},
		{"a dimension that is not ASCII", "N", "InvalidParameterValue", datum(dim("d", "Zürich"))},
		{"a dimension's colon", "N", "InvalidParameterValue", datum(dim(":d", "v"))},
		{"a long dimension", "N", "InvalidParameterValue", datum(dim("d", strings.Repeat("v", 1025)))},
		{"an old time", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Timestamp = aws.Time(now.Add(-15 * 24 * time.Hour)) })},
		{"a future time", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Timestamp = aws.Time(now.Add(3 * time.Hour)) })},
		{"a resolution", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.StorageResolution = aws.Int32(5) })},
		{"no value", "N", "MissingParameter", datum(func(d *types.MetricDatum) { d.Value = nil })},
		{"two kinds of value", "N", "InvalidParameterCombination", datum(func(d *types.MetricDatum) { d.Values = []float64{1} })},
		{"counts of another length", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Value, d.Values, d.Counts = nil, []float64{1, 2}, []float64{1} })},
		{"151 values", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) { d.Value, d.Values = nil, make([]float64, 151) })},
		{"a set upside down", "N", "InvalidParameterValue", datum(func(d *types.MetricDatum) {
			d.Value, d.StatisticValues = nil, &types.StatisticSet{SampleCount: aws.Float64(1), Sum: aws.Float64(1), Minimum: aws.Float64(2), Maximum: aws.Float64(1)}
		})},
		{"1001 metrics", "N", "InvalidParameterValue", slices.Repeat([]types.MetricDatum{good}, 1001)},
		{"no metrics", "N", "MissingParameter", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := c.PutMetricData(t.Context(), &awscw.PutMetricDataInput{Namespace: &tt.space, MetricData: tt.data})
			// The SDK calls an error by its shape, or by its query code.
			if got := strings.TrimSuffix(code(err), "Exception"); got != tt.want && got != "MissingRequiredParameter" {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	list, err := c.ListMetrics(t.Context(), &awscw.ListMetricsInput{})
	if err != nil || len(list.Metrics) != 0 {
		t.Errorf("a refused request left metrics: %+v, %v", list, err)
	}
	// The largest that is allowed goes through, gzipped.
	if _, err := c.PutMetricData(t.Context(), &awscw.PutMetricDataInput{
		Namespace: aws.String("N"), MetricData: slices.Repeat([]types.MetricDatum{good}, 1000),
	}); err != nil {
		t.Errorf("1000 metrics: %v", err)
	}
}

func TestReadingIsChecked(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	end := time.Now()
	ask := func(edit func(*awscw.GetMetricStatisticsInput)) error {
		in := &awscw.GetMetricStatisticsInput{
			Namespace: aws.String("N"), MetricName: aws.String("M"), Period: aws.Int32(60),
			StartTime: aws.Time(end.Add(-time.Hour)), EndTime: &end, Statistics: []types.Statistic{types.StatisticSum},
		}
		edit(in)
		_, err := c.GetMetricStatistics(t.Context(), in)
		return err
	}
	for name, tt := range map[string]struct {
		want string
		edit func(*awscw.GetMetricStatisticsInput)
	}{
		"fine":             {"<nil>", func(*awscw.GetMetricStatisticsInput) {}},
		"period":           {"InvalidParameterValue", func(in *awscw.GetMetricStatisticsInput) { in.Period = aws.Int32(90) }},
		"too many points":  {"InvalidParameterCombination", func(in *awscw.GetMetricStatisticsInput) { in.StartTime = aws.Time(end.Add(-25 * time.Hour)) }},
		"turned round":     {"InvalidParameterValue", func(in *awscw.GetMetricStatisticsInput) { in.StartTime = aws.Time(end.Add(time.Hour)) }},
		"no statistics":    {"InvalidParameterCombination", func(in *awscw.GetMetricStatisticsInput) { in.Statistics = nil }},
		"both statistics":  {"InvalidParameterCombination", func(in *awscw.GetMetricStatisticsInput) { in.ExtendedStatistics = []string{"p50"} }},
		"odd statistic":    {"InvalidParameterValue", func(in *awscw.GetMetricStatisticsInput) { in.Statistics = []types.Statistic{"Median"} }},
		"odd percentile":   {"InvalidParameterValue", func(in *awscw.GetMetricStatisticsInput) { in.Statistics, in.ExtendedStatistics = nil, []string{"p101"} }},
		"unit that is not": {"InvalidParameterValue", func(in *awscw.GetMetricStatisticsInput) { in.Unit = "Orders" }},
	} {
		t.Run(name, func(t *testing.T) {
			if got := strings.TrimSuffix(code(ask(tt.edit)), "Exception"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEveryProtocolTellsTheSameStory(t *testing.T) {
	local := endpoint.New(endpoint.Options{Services: []wire.Service{New(Options{Limits: true})}}).Start(t)
	send := func(body, contentType, target string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, local.URL+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", contentType)
		if target != "" {
			req.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801."+target)
		}
		res, err := local.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = res.Body.Close() }()
		out, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(out)
	}
	now := time.Now().UTC()
	from, to := now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)
	query := func(body string) (int, string) {
		return send(body+"&Version=2010-08-01", "application/x-www-form-urlencoded", "")
	}
	if status, out := query("Action=PutMetricData&Namespace=N&MetricData.member.1.MetricName=M&MetricData.member.1.Value=1.5" +
		"&MetricData.member.1.Dimensions.member.1.Name=D&MetricData.member.1.Dimensions.member.1.Value=V&MetricData.member.1.Unit=Count"); status != 200 {
		t.Fatalf("put: %d %s", status, out)
	}
	if status, out := send(`{"Namespace":"N","MetricData":[{"MetricName":"M","Values":[0.5],"Unit":"Count","Dimensions":[{"Name":"D","Value":"V"}],"Timestamp":`+
		fmt.Sprint(now.Unix())+`}]}`, "application/x-amz-json-1.0", "PutMetricData"); status != 200 {
		t.Fatalf("put: %d %s", status, out)
	}
	for _, tt := range []struct{ name, out, want string }{
		{"query statistics", second(query("Action=GetMetricStatistics&Namespace=N&MetricName=M&Period=3600&Statistics.member.1=Sum&ExtendedStatistics=" +
			"&Dimensions.member.1.Name=D&Dimensions.member.1.Value=V&StartTime=" + from + "&EndTime=" + to)), "<Sum>2</Sum>"},
		{"json statistics", second(send(fmt.Sprintf(`{"Namespace":"N","MetricName":"M","Period":3600,"ExtendedStatistics":["p100"],
			"Dimensions":[{"Name":"D","Value":"V"}],"StartTime":%d,"EndTime":%d}`, now.Unix()-3600, now.Unix()+3600), "application/x-amz-json-1.0", "GetMetricStatistics")), `"ExtendedStatistics":{"p100":1.5}`},
		{"query list", second(query("Action=ListMetrics&Namespace=N")), "<Metrics><member><Namespace>N</Namespace><MetricName>M</MetricName><Dimensions><member><Name>D</Name>"},
		{"query list of nothing", second(query("Action=ListMetrics&Namespace=X")), "<Metrics></Metrics>"},
		{"query error", second(query("Action=PutMetricData&Namespace=N")), "<Code>MissingParameter</Code>"},
		{"query NaN", second(query("Action=PutMetricData&Namespace=N&MetricData.member.1.MetricName=M&MetricData.member.1.Value=NaN")), "<Code>InvalidParameterValue</Code>"},
		{"query unknown", second(query("Action=PutEverything")), "<Code>InvalidAction</Code>"},
		{"json error", second(send(`{}`, "application/x-amz-json-1.0", "PutMetricData")), `"__type":"MissingRequiredParameterException"`},
		{"json garbage", second(send(`{`, "application/x-amz-json-1.0", "PutMetricData")), `"__type":"SerializationException"`},
		{"json unknown", second(send(`{}`, "application/x-amz-json-1.0", "Nope")), `"__type":"UnknownOperationException"`},
	} {
		if !strings.Contains(tt.out, tt.want) {
			t.Errorf("%s: %s\nlacks %s", tt.name, tt.out, tt.want)
		}
	}
}

func second(_ int, s string) string { return s }

func TestDataIsKeptForAWhileAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		put := func(name string) {
			err := s.putMetricData(&putMetricDataInput{Namespace: "N", MetricData: []datum{{MetricName: name, Value: new(number)}}}, 0, time.Now())
			if err != nil {
				t.Fatal(err)
			}
		}
		names := func() (out []string) {
			list, err := s.listMetrics(&listMetricsInput{}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range list.Metrics {
				out = append(out, m.MetricName)
			}
			return out
		}
		put("early")
		time.Sleep(2 * time.Hour) // of the bubble's clock
		put("late")
		if got := names(); !slices.Equal(got, []string{"early", "late"}) {
			t.Errorf("after 2 h: %v", got)
		}
		time.Sleep(time.Hour)
		if got := names(); !slices.Equal(got, []string{"late"}) {
			t.Errorf("after 3 h: %v", got)
		}
		s.store.max = 100
		for i := range 1000 {
			put(fmt.Sprint("m", i))
		}
		if s.store.weight > 100 || len(s.store.series) > 50 || len(s.store.cells) > 50 {
			t.Errorf("weight %d, %d series, %d cells", s.store.weight, len(s.store.series), len(s.store.cells))
		}
		if got := names(); !slices.Contains(got, "m999") {
			t.Errorf("the newest is gone: %v", got)
		}
	})
}

func TestPercentiles(t *testing.T) {
	var fine, coarse, negative, opaque tally
	for i := 1; i <= 100; i++ {
		fine.observe(float64(i), 1)
	}
	for i := 1; i <= 100_000; i++ {
		coarse.observe(float64(i), 1)
	}
	negative.observe(-1, 1)
	opaque.put(&datum{StatisticValues: &statisticSet{SampleCount: 2, Sum: 3, Minimum: 1, Maximum: 2}})
	if v, ok := fine.statistic("p90"); !ok || v != 90 {
		t.Errorf("p90 of 1..100 is %v", v)
	}
	if v, ok := coarse.statistic("p50"); !ok || math.Abs(v-50_000) > 1000 {
		t.Errorf("p50 of 1..100000 is %v", v)
	}
	if len(coarse.values) > 2*fineValues || coarse.sum != 5000050000 {
		t.Errorf("%d values kept, sum %v", len(coarse.values), coarse.sum)
	}
	for name, tl := range map[string]*tally{"negative": &negative, "set": &opaque} {
		if v, ok := tl.statistic("p50"); ok {
			t.Errorf("%s: there is no percentile, got %v", name, v)
		}
	}
	same := tally{}
	same.put(&datum{StatisticValues: &statisticSet{SampleCount: 3, Sum: 6, Minimum: 2, Maximum: 2}})
	if v, ok := same.statistic("p50"); !ok || v != 2 {
		t.Errorf("a set of equal values: %v, %v", v, ok)
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Limits: true})
		refused := 0
		for range 600 {
			if _, err := s.call(jsonProtocol{}, &http.Request{}, "PutMetricData", nil); err.Code == "Throttling" {
				refused++
			}
		}
		if refused != 100 {
			t.Errorf("%d of 600 calls at once were throttled, want 100", refused)
		}
	})
}

func FuzzRequests(f *testing.F) {
	f.Add(byte(0), []byte("\xbfiNamespaceaNjMetricData\x9f\xbfjMetricNameaMeValue\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00\xff\xff\xff"))
	f.Add(byte(1), []byte(`{"Namespace":"N","MetricData":[{"MetricName":"M","Timestamp":1e300}]}`))
	f.Add(byte(2), []byte("Action=PutMetricData&Version=2010-08-01&MetricData.member.1.MetricName=M&MetricData.member.1=x"))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		s := New(Options{})
		for _, op := range []string{"PutMetricData", "GetMetricStatistics", "GetMetricData", "ListMetrics"} {
			path, head := "/", http.Header{}
			switch kind % 3 {
			case 0:
				path = rpcPath + op
			case 1:
				head.Set("X-Amz-Target", target+op)
			}
			r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body))
			r.Header = head
			name, ok := s.Match(r, body)
			if !ok {
				continue
			}
			w := httptest.NewRecorder()
			s.Serve(w, r, name, body)
			if w.Code == 500 {
				t.Errorf("%s: %s", name, w.Body)
			}
		}
	})
}
