package awstest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	made "github.com/cloudcafe/analytics-worker/internal/madeup"
)

// The figures of the whole worker, as a process against localaws as another:
// what a record costs in CPU and memory, and how long it takes from the stream
// to the warehouse. `make bench PKG=./internal/aws/awstest` prints them.

const million = 1_000_000

// programs builds the two programs once and returns their folder.
func programs(b testing.TB) string {
	b.Helper()
	dir := b.TempDir()
	for name, cgo := range map[string]string{"analytics-worker": "0", "localaws": "1"} {
		build := exec.CommandContext(b.Context(), "go", "build", "-o", filepath.Join(dir, name), "../../../cmd/"+name)
		build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

func freePort(b testing.TB) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// site is localaws as a process, with a stream and the tables. more are flags of its.
type site struct {
	b       testing.TB
	bin     string
	url     string
	local   *exec.Cmd // localaws
	account *aws.Account
	stream  *aws.Stream
}

func newSite(b testing.TB, bin string, shards int, limits string, more ...string) *site {
	b.Helper()
	s := &site{b: b, bin: bin}
	addr := freePort(b)
	s.url = "http://" + addr
	b.Setenv("AWS_ENDPOINT_URL", s.url)
	b.Setenv("AWS_ACCESS_KEY_ID", "local")
	b.Setenv("AWS_SECRET_ACCESS_KEY", "local")
	b.Setenv("AWS_REGION", "us-east-1")
	b.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	s.local = s.start("localaws", nil, append([]string{"--addr", addr, "--limits", limits}, more...)...)
	s.await("localaws answers", func() bool { return s.get(s.url+"/_localaws/health", nil) })
	var err error
	if s.account, err = aws.Open(b.Context(), aws.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.account.Close)
	s.stream = s.account.Stream("order-events")
	if err := s.stream.Create(b.Context(), shards); err != nil {
		b.Fatal(err)
	}
	if err := s.stream.WaitActive(b.Context()); err != nil {
		b.Fatal(err)
	}
	bucket, err := s.account.Bucket("s3://staging")
	if err != nil {
		b.Fatal(err)
	}
	if err := bucket.EnsureBucket(b.Context()); err != nil {
		b.Fatal(err)
	}
	schema := exec.CommandContext(b.Context(), filepath.Join(bin, "analytics-worker"), "schema", "--apply")
	if out, err := schema.CombinedOutput(); err != nil {
		b.Fatalf("schema --apply: %v\n%s", err, out)
	}
	return s
}

// start starts a program that ends with the benchmark at the latest.
func (s *site) start(name string, env []string, args ...string) *exec.Cmd {
	s.b.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(func() { s.end(cmd) })
	return cmd
}

// end stops a program and returns what it used.
func (s *site) end(cmd *exec.Cmd) *os.ProcessState {
	if cmd.ProcessState == nil {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	return cmd.ProcessState
}

// status is what the figures need of a worker's status page.
type status struct {
	Read      int64 `json:"records_read"`
	Processed int64 `json:"records_processed"`
	Full      bool  `json:"reading_waits_for_memory"`
	Behind    int64 `json:"millis_behind_latest"`
	Rejected  int64 `json:"records_rejected"`
	DelayP50  int64 `json:"end_to_end_p50_millis"`
	DelayP99  int64 `json:"end_to_end_p99_millis"`
	LoadP50   int64 `json:"load_p50_millis"`
	LoadP99   int64 `json:"load_p99_millis"`

	Shards []json.RawMessage `json:"shards"`
}

// worker starts a worker and returns it with a way to ask how it is doing.
func (s *site) worker(env ...string) (*exec.Cmd, func() status) {
	s.b.Helper()
	addr := freePort(s.b)
	cmd := s.start("analytics-worker", append([]string{
		"HTTP_ADDR=" + addr, "LEASE_TABLE=none", "METRICS_INTERVAL=60", "DEAD_LETTER_URL=file://" + s.b.TempDir(),
	}, env...))
	return cmd, func() status {
		var st status
		s.get("http://"+addr+"/status", &st)
		return st
	}
}

func (s *site) get(url string, into any) bool {
	request, err := http.NewRequestWithContext(s.b.Context(), http.MethodGet, url, nil)
	if err != nil {
		s.b.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK && (into == nil || json.NewDecoder(response.Body).Decode(into) == nil)
}

func (s *site) await(what string, ok func() bool) {
	s.b.Helper()
	s.awaitBy(100*time.Millisecond, what, ok)
}

// awaitBy is await that looks that seldom: a worker is measured the while.
func (s *site) awaitBy(every time.Duration, what string, ok func() bool) {
	s.b.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for start := time.Now(); !ok(); <-tick.C {
		if time.Since(start) > 5*time.Minute {
			s.b.Fatalf("waited in vain until %s", what)
		}
	}
}

// preload puts n orders on the stream, in several sequences side by side.
func (s *site) preload(n int) {
	s.b.Helper()
	const writers = 4
	g, ctx := errgroup.WithContext(s.b.Context())
	for i := range writers {
		g.Go(func() error { return s.write(ctx, uint64(i), n/writers) })
	}
	if err := g.Wait(); err != nil {
		s.b.Fatal(err)
	}
}

func (s *site) write(ctx context.Context, seed uint64, n int) error {
	g := made.New(seed)
	for n > 0 {
		entries := make([]aws.Entry, min(500, n))
		for i := range entries {
			e := g.Next(time.Now())
			entries[i] = aws.Entry{PartitionKey: e.Key, Data: e.Data}
		}
		if _, err := s.stream.Put(ctx, entries); err != nil {
			return err
		}
		n -= len(entries)
	}
	return nil
}

// BenchmarkMillionOrders loads a million preloaded orders by COPY and reports
// the worker's whole CPU time and peak memory, beside the CPU time that a plain
// SDK loop takes in the same run to read them and throw them away.
func BenchmarkMillionOrders(b *testing.B) {
	bin := programs(b)
	for _, shards := range []int{4, 32} {
		b.Run(fmt.Sprintf("shards-%d", shards), func(b *testing.B) {
			for range b.N {
				s := newSite(b, bin, shards, "off")
				s.preload(million)
				cmd, ask := s.worker("STAGING_URL=s3://staging/orders")
				s.awaitBy(time.Second, "a million orders are loaded", func() bool { return ask().Processed == million })
				peak := peakMemory(b, cmd)
				used := s.end(cmd)
				worker := used.UserTime() + used.SystemTime()
				loop := s.sdkLoop()
				b.ReportMetric(worker.Seconds(), "worker-cpu-s")
				b.ReportMetric(loop.Seconds(), "sdk-read-cpu-s")
				b.ReportMetric(worker.Seconds()/loop.Seconds(), "worker/sdk-read")
				b.ReportMetric(float64(peak)/(1<<20), "worker-peak-MiB")
			}
		})
	}
}

// sdkLoop reads the whole stream with the SDK as it comes and returns the CPU
// time that this process used for it.
func (s *site) sdkLoop() time.Duration {
	s.b.Helper()
	cfg, err := config.LoadDefaultConfig(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	client := kinesis.NewFromConfig(cfg)
	shards, err := s.stream.Shards(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	before := cpuTime(s.b)
	g, ctx := errgroup.WithContext(s.b.Context())
	for _, sh := range shards {
		g.Go(func() error { return throwAway(ctx, client, sh.ID) })
	}
	if err := g.Wait(); err != nil {
		s.b.Fatal(err)
	}
	return cpuTime(s.b) - before
}

func throwAway(ctx context.Context, client *kinesis.Client, shard string) error {
	at, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: sdk.String("order-events"), ShardId: &shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})
	if err != nil {
		return err
	}
	for next := at.ShardIterator; next != nil; {
		out, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
		if err != nil {
			return err
		}
		if len(out.Records) == 0 && sdk.ToInt64(out.MillisBehindLatest) == 0 {
			return nil
		}
		next = out.NextShardIterator
	}
	return nil
}

func cpuTime(b testing.TB) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSteadyThousand keeps 1,000 orders a second flowing over 4 shards with
// AWS's limits on, and reports how long they take from the stream to the
// warehouse, for two settings of POLL_INTERVAL.
func BenchmarkSteadyThousand(b *testing.B) {
	bin := programs(b)
	const seconds = 40
	for _, poll := range []string{"5", "500ms"} {
		b.Run("poll-"+poll, func(b *testing.B) {
			for range b.N {
				s := newSite(b, bin, 4, "aws")
				_, ask := s.worker("POLL_INTERVAL=" + poll)
				if err := s.steady(seconds, 1000, false); err != nil {
					b.Fatal(err)
				}
				end := ask()
				s.await("all is loaded", func() bool { return ask().Processed == seconds*1000 })
				last := ask()
				b.ReportMetric(float64(last.DelayP50)/1000, "delay-p50-s")
				b.ReportMetric(float64(last.DelayP99)/1000, "delay-p99-s")
				b.ReportMetric(float64(last.LoadP99)/1000, "load-p99-s")
				b.ReportMetric(float64(seconds*1000-end.Processed), "left-at-end")
			}
		})
	}
}

// BenchmarkMixed compares, in one run and in turns, how long records take from the
// stream to the warehouse: 1,000 orders a second, and as many records of all
// families. The best of three counts of either: what else the machine does only
// ever adds.
func BenchmarkMixed(b *testing.B) {
	bin := programs(b)
	for range b.N {
		orders, all := steadyBest{}, steadyBest{}
		for range 3 {
			orders.note(steadyOnce(b, bin, false))
			all.note(steadyOnce(b, bin, true))
		}
		b.ReportMetric(orders.p50, "orders-p50-s")
		b.ReportMetric(orders.p99, "orders-p99-s")
		b.ReportMetric(orders.load, "orders-load-p50-s")
		b.ReportMetric(all.p50, "mixed-p50-s")
		b.ReportMetric(all.p99, "mixed-p99-s")
		b.ReportMetric(all.load, "mixed-load-p50-s")
		b.ReportMetric(all.p99/orders.p99, "mixed/orders-p99")
		if all.p99 > 1.3*orders.p99 {
			b.Errorf("the p99 of a mixed stream is %.2f s, that of orders alone %.2f s", all.p99, orders.p99)
		}
	}
}

// steadyBest is the least of some figures in seconds; 0 = none yet.
type steadyBest struct{ p50, p99, load float64 }

func (s *steadyBest) note(of status) {
	least := func(best *float64, millis int64) {
		if seconds := float64(millis) / 1000; *best == 0 || seconds < *best {
			*best = seconds
		}
	}
	least(&s.p50, of.DelayP50)
	least(&s.p99, of.DelayP99)
	least(&s.load, of.LoadP50)
}

// steadyOnce is how a worker did with 1,000 records a second.
func steadyOnce(b *testing.B, bin string, mixed bool) status {
	b.Helper()
	const seconds = 40
	s := newSite(b, bin, 4, "aws")
	cmd, ask := s.worker("POLL_INTERVAL=500ms")
	if err := s.steady(seconds, 1000, mixed); err != nil {
		b.Fatal(err)
	}
	s.await("all is loaded", func() bool { return ask().Processed == seconds*1000 })
	last := ask()
	if last.Rejected != 0 {
		b.Errorf("%d records are rejected", last.Rejected)
	}
	s.end(cmd)
	return last
}

// steady puts orders, or events of all families, on the stream at an even rate.
func (s *site) steady(seconds, perSecond int, mixed bool) error {
	const parts = 10 // a second
	g := made.New(99)
	g.Mixed = mixed
	tick := time.NewTicker(time.Second / parts)
	defer tick.Stop()
	for range seconds * parts {
		<-tick.C
		entries := make([]aws.Entry, perSecond/parts)
		for i := range entries {
			e := g.Next(time.Now())
			entries[i] = aws.Entry{PartitionKey: e.Key, Data: e.Data}
		}
		if _, err := s.stream.Put(s.b.Context(), entries); err != nil {
			return err
		}
	}
	return nil
}
