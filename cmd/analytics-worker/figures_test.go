package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
)

// profiledWorker is the worker with a profile of its CPU, at CPU_PROFILE.
func profiledWorker() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	f, err := os.Create(os.Getenv("CPU_PROFILE"))
	if err == nil {
		// More often than the 100 times a second that StartCPUProfile sets and now
		// does not, complaining: more samples are less chance.
		runtime.SetCPUProfileRate(250)
		err = pprof.StartCPUProfile(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := run(ctx, nil, os.LookupEnv, os.Stdout, os.Stderr)
	pprof.StopCPUProfile()
	if err := f.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// The parts of observing, by the functions below which they spend their time.
// What a dashboard asks of the warehouse counts as the dashboard's.
var observing = map[string]string{
	"metrics":   `internal/metrics\.|\(\*Metrics\)\.PutMetricData|main\.cloudWatch`,
	"logs":      `log/slog\.`,
	"dashboard": `internal/admin\.|net/http\.\(\*conn\)\.serve|main\.sales`,
}

// background is what the runtime does for all alike: collecting garbage,
// scheduling. It is shared out in proportion.
const background = `runtime\.(gcBgMarkWorker|mcall|mstart|bgsweep|bgscavenge|goexit0)$`

// BenchmarkObserving loads a million waiting orders by COPY and reports which
// shares of the worker's CPU go into metrics, logs and the dashboard: with the
// default METRICS_INTERVAL, a scrape every 15 seconds, and one dashboard open.
// The shares come from a profile of one run: the difference of two runs is lost
// in what else the machine does. A run is some 600 samples, so the mean of a few
// is worth more (-benchtime 3x).
func BenchmarkObserving(b *testing.B) {
	const orders = 1_000_000
	sum := make(map[string]float64)
	for range b.N {
		m := newMachine(b)
		m.admin(http.MethodPut, "/staging", "")
		m.must("schema", "--apply")
		m.must("publish", "--create", "4", "--count", strconv.Itoa(orders), "--bad", "0.001")
		profile := filepath.Join(b.TempDir(), "cpu")
		w := start(b, append(m.env, "CPU_PROFILE="+profile, "STAGING_URL=s3://staging/orders", anyAddr, "METRICS_INTERVAL=60",
			"LOAD_INTERVAL=1", "POLL_INTERVAL=5", "BATCH_SIZE=5000"), "profiled-worker")
		addr := w.address()
		began := time.Now()
		m.watch(addr, orders)
		took := time.Since(began)
		w.signal(syscall.SIGTERM)
		if status := w.exit(patience); status != 0 {
			b.Fatalf("the worker's status is %d", status)
		}
		own := 100 - share(b, profile, background)
		for part, functions := range observing {
			percent := 100 * share(b, profile, functions) / own
			sum[part+"-cpu-%"] += percent
			sum["observing-cpu-%"] += percent
		}
		sum["worker-cpu-s"] += (w.cmd.ProcessState.UserTime() + w.cmd.ProcessState.SystemTime()).Seconds()
		sum["load-s"] += took.Seconds()
	}
	for unit, total := range sum {
		b.ReportMetric(total/float64(b.N), unit)
	}
}

// watch follows a worker as a dashboard and a scraper do, until it has processed
// as many records.
func (m *machine) watch(addr string, records int64) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var scraping sync.WaitGroup
	defer scraping.Wait()
	defer cancel()
	scraping.Go(func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			if response, err := m.http.Get("http://" + addr + "/metrics"); err == nil {
				_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
				_ = response.Body.Close()
			}
		}
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/events", nil)
	if err != nil {
		m.t.Fatal(err)
	}
	response, err := new(http.Client).Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	events := bufio.NewScanner(response.Body)
	events.Buffer(nil, 1<<20)
	for events.Scan() {
		var st admin.Status
		text, ok := strings.CutPrefix(events.Text(), "data: {")
		if ok && json.Unmarshal([]byte("{"+text), &st) == nil && st.Processed >= records {
			return
		}
	}
	m.t.Fatalf("the dashboard's stream ended before %d records were processed: %v", records, events.Err())
}

var accounted = regexp.MustCompile(`Showing nodes accounting for [^,]+, ([\d.]+)% of`)

// share is the percentage of a profile's samples that have one of the functions
// on their stack.
func share(b *testing.B, profile, functions string) float64 {
	b.Helper()
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=100000", "-nodefraction=0", "-focus="+functions, profile).CombinedOutput()
	if err != nil {
		b.Fatalf("go tool pprof: %v\n%s", err, out)
	}
	found := accounted.FindSubmatch(out)
	if found == nil {
		b.Fatalf("go tool pprof said\n%s", out)
	}
	percent, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return percent
}
