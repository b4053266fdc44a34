package awstest

import (
	"flag"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	sdkcloudwatch "github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

var (
	fleets = flag.String("workers", "1", "how many workers BenchmarkQueryable runs, as a list: 1,4,8,16")
	houses = flag.String("warehouses", "duckdb", "what runs BenchmarkQueryable's SQL, as a list: duckdb,postgres")
)

// paces are the settings of localaws for the time that SQL takes.
var paces = []struct {
	name string
	args []string
}{
	{"engine", nil},
	{"redshift", []string{"--pace", "redshift"}},
	{"lock-3s", []string{"--pace-commit", "3s"}},
}

// BenchmarkQueryable lets workers that share the leases of 16 shards load 1,000
// orders a second by COPY, with AWS's limits on, and reports how long an order
// takes from its arrival on the stream until it is queryable, over all workers:
// at the engine's own pace, at Redshift's, and where each load holds its locks for
// 3 s longer than it needs. One row of a table is
//
//	go test ./internal/aws/awstest -run '^$' -bench 'Queryable/duckdb/redshift' -benchtime 1x -timeout 0 -workers 1,4,8,16
func BenchmarkQueryable(b *testing.B) {
	bin := programs(b)
	for house := range strings.SplitSeq(*houses, ",") {
		for _, pace := range paces {
			for number := range strings.SplitSeq(*fleets, ",") {
				workers, err := strconv.Atoi(number)
				if err != nil || workers < 1 {
					b.Fatalf("-workers %q: give numbers, like 1,4,8,16", *fleets)
				}
				b.Run(fmt.Sprintf("%s/%s/workers-%d", house, pace.name, workers), func(b *testing.B) {
					args := pace.args
					if house == "postgres" {
						args = append([]string{"--warehouse", pgtest.Start(b)}, args...)
					}
					for range b.N {
						queryable(b, bin, workers, args)
					}
				})
			}
		}
	}
}

// queryable is one run. The more workers there are, the longer it takes until each
// has waited for all the others, and the longer is the run.
func queryable(b *testing.B, bin string, workers int, args []string) {
	const shards, rate, first = 16, 1000, 160
	seconds := 60 + 10*workers
	s := newSite(b, bin, shards, "aws", args...)
	var fleet []*exec.Cmd
	var ask []func() status
	for range workers {
		cmd, status := s.worker("LEASE_TABLE=leases", "STAGING_URL=s3://staging/orders", "BATCH_SIZE=1000", "POLL_INTERVAL=1", "METRICS_INTERVAL=5")
		fleet, ask = append(fleet, cmd), append(ask, status)
	}
	s.await("the workers have their shards", func() bool { return shared(ask, shards) })
	if err := s.write(b.Context(), 1, first); err != nil {
		b.Fatal(err)
	}
	s.await("the first orders are loaded", func() bool { return processed(ask) == first })

	began, before := time.Now(), s.submitted()
	if err := s.steady(seconds, rate, false); err != nil {
		b.Fatal(err)
	}
	left := int64(seconds*rate+first) - processed(ask)
	loads := float64(s.submitted()-before) / time.Since(began).Seconds()
	s.await("all is loaded", func() bool { return processed(ask) == int64(seconds*rate+first) })
	for _, cmd := range fleet {
		s.end(cmd) // which publishes the last of its metrics
	}
	end := s.endToEnd(began)
	b.ReportMetric(end["Average"], "delay-mean-s")
	b.ReportMetric(end["p50"], "delay-p50-s")
	b.ReportMetric(end["p99"], "delay-p99-s")
	b.ReportMetric(loads, "submits/s")
	b.ReportMetric(float64(left), "left-at-end")
	s.verified(seconds*rate + first)
	s.end(s.local)
}

// BenchmarkBacklog has workers that share the leases of 16 shards load a million and a
// half orders that arrive as fast as they can be put, by COPY, where each load holds its locks for
// 3 s longer than it needs, and reports how many rows a second go in: what one
// worker may keep in memory bounds its batch, so that more workers bring more into each
// load, until what a load does for its rows takes the time. -workers as above.
func BenchmarkBacklog(b *testing.B) {
	bin := programs(b)
	const shards, orders = 16, 3 * million / 2
	for number := range strings.SplitSeq(*fleets, ",") {
		workers, err := strconv.Atoi(number)
		if err != nil || workers < 1 {
			b.Fatalf("-workers %q: give numbers, like 1,4,8,16", *fleets)
		}
		b.Run(fmt.Sprintf("lock-3s/workers-%d", workers), func(b *testing.B) {
			for range b.N {
				s := newSite(b, bin, shards, "off", "--pace-commit", "3s")
				var fleet []*exec.Cmd
				var ask []func() status
				for range workers {
					cmd, status := s.worker("LEASE_TABLE=leases", "STAGING_URL=s3://staging/orders")
					fleet, ask = append(fleet, cmd), append(ask, status)
				}
				s.await("the workers have their shards", func() bool { return shared(ask, shards) })
				before, began := s.submitted(), time.Now()
				s.preload(orders)
				s.awaitBy(time.Second, "all is loaded", func() bool { return processed(ask) == orders })
				took := time.Since(began)
				b.ReportMetric(orders/took.Seconds(), "rows/s")
				b.ReportMetric(float64(s.submitted()-before), "submits")
				for _, cmd := range fleet {
					s.end(cmd)
				}
				s.end(s.local)
			}
		})
	}
}

// shared reports whether all workers have as many of the shards, where that can be.
func shared(workers []func() status, shards int) bool {
	for _, status := range workers {
		if len(status().Shards) != shards/len(workers) && shards%len(workers) == 0 {
			return false
		}
	}
	return true
}

// processed is how many records the workers have loaded.
func processed(workers []func() status) (n int64) {
	for _, status := range workers {
		n += status().Processed
	}
	return n
}

// submitted is how many batches were submitted to the warehouse so far.
func (s *site) submitted() int {
	s.b.Helper()
	var calls []struct{}
	if !s.get(s.url+"/_localaws/calls?service=redshift-data&operation=BatchExecuteStatement", &calls) {
		s.b.Fatal("the log of calls cannot be read")
	}
	return len(calls)
}

// endToEnd asks CloudWatch, where all workers publish it, how long orders took, in
// seconds.
func (s *site) endToEnd(since time.Time) map[string]float64 {
	s.b.Helper()
	cfg, err := config.LoadDefaultConfig(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	client := sdkcloudwatch.NewFromConfig(cfg)
	ask := func(in sdkcloudwatch.GetMetricStatisticsInput) types.Datapoint {
		in.Namespace, in.MetricName, in.Period = sdk.String(namespace), sdk.String("EndToEndLatency"), sdk.Int32(86400)
		in.Dimensions = []types.Dimension{{Name: sdk.String("Environment"), Value: sdk.String("dev")}}
		in.StartTime, in.EndTime = &since, sdk.Time(time.Now().Add(time.Minute))
		out, err := client.GetMetricStatistics(s.b.Context(), &in)
		if err != nil {
			s.b.Fatal(err)
		}
		if len(out.Datapoints) != 1 {
			s.b.Fatalf("%d datapoints of EndToEndLatency, want one; a run over midnight has two", len(out.Datapoints))
		}
		return out.Datapoints[0]
	}
	all := ask(sdkcloudwatch.GetMetricStatisticsInput{ExtendedStatistics: []string{"p50", "p99"}}).ExtendedStatistics
	all["Average"] = sdk.ToFloat64(ask(sdkcloudwatch.GetMetricStatisticsInput{Statistics: []types.Statistic{types.StatisticAverage}}).Average)
	for name := range all {
		all[name] /= 1000
	}
	return all
}
