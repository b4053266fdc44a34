package awstest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5" // what Kinesis hashes keys with
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// peakMemory is the most physical memory that a running process has had, in
// bytes. The kernel counts it for the program alone; the ru_maxrss of a child
// that has ended counts its parent too, whose memory it shared until its exec.
func peakMemory(t testing.TB, cmd *exec.Cmd) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the kernel does not tell the peak of a process's memory")
	return 0
}

// onePage is what the promise allows beyond MEMORY_LIMIT: a full page, 10 MiB of
// data, with its records.
const onePage = 12 << 20

// backlog is what a worker is measured with.
type backlog struct {
	shards int
	perMiB int // MiB on each shard
	record int // bytes of one
}

// keys are partition keys, one for each open shard.
func (s *site) keys() []string {
	s.b.Helper()
	shards, err := s.stream.Shards(s.b.Context())
	if err != nil {
		s.b.Fatal(err)
	}
	// Shards divide the hashes evenly: the first bytes of a hash tell its shard.
	keys := make([]string, len(shards))
	for n, found := 0, 0; found < len(shards); n++ {
		key := strconv.Itoa(n)
		sum := md5.Sum([]byte(key))
		at := int(uint64(binary.BigEndian.Uint32(sum[:4])) * uint64(len(shards)) >> 32)
		if keys[at] == "" {
			keys[at], found = key, found+1
		}
	}
	return keys
}

// fill puts the backlog on the stream: orders with a member that nobody reads.
func (s *site) fill(b backlog) (records int64) {
	s.b.Helper()
	each := max(1, b.perMiB<<20/b.record)
	g, ctx := errgroup.WithContext(s.b.Context())
	g.SetLimit(4)
	for shard, key := range s.keys() {
		g.Go(func() error { return s.fillShard(ctx, shard, key, each, b.record) })
	}
	if err := g.Wait(); err != nil {
		s.b.Fatal(err)
	}
	return int64(b.shards * each)
}

func (s *site) fillShard(ctx context.Context, shard int, key string, records, size int) error {
	stamp := time.Now().UnixNano()
	padding := strings.Repeat("x", max(0, size-150))
	atOnce := min(500, max(1, 8<<20/size))
	for done := 0; done < records; {
		entries := make([]aws.Entry, min(atOnce, records-done))
		for i := range entries {
			data := make([]byte, 0, size+64)
			data = fmt.Appendf(data, `{"order_id":"o-%d-%d-%d","customer_id":"c-%d","store_id":%d,"total_amount":"12.50","item_count":2,"padding":"`,
				stamp, shard, done+i, i, i%7)
			entries[i] = aws.Entry{PartitionKey: key, Data: append(append(data, padding...), `"}`...)}
		}
		if _, err := s.stream.Put(ctx, entries); err != nil {
			return err
		}
		done += len(entries)
	}
	return nil
}

// faults replaces the faults of localaws.
func (s *site) faults(text string) {
	s.b.Helper()
	request, err := http.NewRequestWithContext(s.b.Context(), http.MethodPut, s.url+"/_localaws/faults", strings.NewReader(text))
	if err != nil {
		s.b.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.b.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode/100 != 2 {
		s.b.Fatalf("set faults: %s", response.Status)
	}
}

// memoryOf is the peaks of a worker that is limited to so many MiB: in a stall
// that ends, and with a backlog that waits when it starts. more are settings, its
// way to load among them.
func memoryOf(t testing.TB, bin string, b backlog, limit int, more ...string) (stall, cold int64) {
	t.Helper()
	s := newSite(t, bin, b.shards, "off")
	settings := append([]string{fmt.Sprintf("MEMORY_LIMIT=%dMiB", limit), "POLL_INTERVAL=1"}, more...)
	cmd, ask := s.worker(settings...)
	// Caught up, with small pages.
	few := backlog{shards: b.shards, record: 300}
	total := s.fill(few)
	s.await("the first orders are loaded", func() bool { return ask().Processed == total })
	// The warehouse stands still, and orders arrive meanwhile.
	s.faults(`[{"service":"redshift-data","fault":"paused"}]`)
	total += s.fill(b)
	s.await("reading waits for room", func() bool { now := ask(); return now.Full || now.Read == total })
	s.faults(`[]`)
	s.await("what came in the stall is loaded", func() bool { return ask().Processed == total })
	stall = peakMemory(t, cmd)
	s.end(cmd)

	// All of it once more, by a worker that has not read anything.
	if _, err := s.account.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"}).
		Run(t.Context(), "again", []string{"DELETE FROM worker_checkpoints WHERE shard_id <> '*'"}); err != nil {
		t.Fatal(err)
	}
	cmd, ask = s.worker(settings...)
	s.await("the backlog is loaded", func() bool { return ask().Processed == total })
	cold = peakMemory(t, cmd)
	s.end(cmd)
	return stall, cold
}

var fills = map[string]string{"INSERT": "STAGING_URL=", "COPY": "STAGING_URL=s3://staging/orders"}

// TestG9_TheProcessKeepsToItsLimit measures one case of BenchmarkMemory. The
// worker is built without the race detector, which takes memory of its own. It
// loads as fast as it can: a load a second of the few pages that the limit has
// room for would be two minutes.
func TestG9_TheProcessKeepsToItsLimit(t *testing.T) {
	const limit = 64
	stall, cold := memoryOf(t, programs(t), backlog{shards: 32, perMiB: 8, record: 95_000}, limit, fills["COPY"], "LOAD_INTERVAL=0")
	t.Logf("%d MiB in a stall that ends, %d MiB with a backlog, of %d MiB", stall>>20, cold>>20, limit)
	if most := int64(limit<<20 + onePage); stall > most || cold > most {
		t.Errorf("want at most %d MiB", most>>20)
	}
}

// BenchmarkMemory reports the peak memory of the worker for shards that wait with
// 8 to 10 MiB each, in MiB over MEMORY_LIMIT.
func BenchmarkMemory(b *testing.B) {
	bin := programs(b)
	for _, load := range []backlog{
		{shards: 32, perMiB: 10, record: 95_000},
		{shards: 80, perMiB: 10, record: 95_000},
		{shards: 200, perMiB: 8, record: 95_000},
		{shards: 32, perMiB: 3, record: 350},
	} {
		for _, limit := range []int{64, 256, 1024} {
			for name, fill := range fills {
				b.Run(fmt.Sprintf("shards-%d/record-%d/limit-%dMiB/%s", load.shards, load.record, limit, name), func(b *testing.B) {
					for range b.N {
						stall, cold := memoryOf(b, bin, load, limit, fill)
						b.ReportMetric(float64(stall)/(1<<20), "stall-MiB")
						b.ReportMetric(float64(cold)/(1<<20), "backlog-MiB")
						if most := int64(limit<<20 + onePage); stall > most || cold > most {
							b.Errorf("over the limit of %d MiB and a page", limit)
						}
					}
				})
			}
		}
	}
}
