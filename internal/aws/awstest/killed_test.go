package awstest

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// BenchmarkKilledEveryFiveSeconds lets three workers take 2,000 orders a second
// from 8 shards for five minutes, with AWS's limits on, while one of them is
// killed every five seconds and started again. It reports how far the shard that
// is furthest behind fell behind, and fails unless verify finds each record once.
func BenchmarkKilledEveryFiveSeconds(b *testing.B) {
	const workers, shards, rate, seconds, every = 3, 8, 2000, 300, 5 * time.Second
	bin := programs(b)
	for range b.N {
		s := newSite(b, bin, shards, "aws")
		db := s.account.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"})
		join := func() *exec.Cmd {
			cmd, _ := s.worker("LEASE_TABLE=leases", "BATCH_SIZE=1000", "POLL_INTERVAL=1")
			return cmd
		}
		fleet := make([]*exec.Cmd, workers)
		for i := range fleet {
			fleet[i] = join()
		}
		published := make(chan error, 1)
		go func() { published <- s.steady(seconds, rate, false) }()

		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		var worst, late, latest time.Duration // late: how long at a stretch a shard was five seconds behind
		kills, lastKill := 0, time.Now().Add(every)
		for done := false; !done; {
			select {
			case err := <-published:
				if err != nil {
					b.Fatal(err)
				}
				done = true
			case <-tick.C:
			}
			if time.Since(lastKill) >= every && !done {
				victim := kills % workers
				if err := fleet[victim].Process.Kill(); err != nil {
					b.Fatal(err)
				}
				_ = fleet[victim].Wait()
				fleet[victim] = join()
				kills, lastKill = kills+1, time.Now()
			}
			behind := oldest(b, db)
			worst = max(worst, behind)
			if late += time.Second; behind < 5*time.Second {
				late = 0
			}
			latest = max(latest, late)
		}
		b.ReportMetric(float64(kills), "kills")
		b.ReportMetric(worst.Seconds(), "worst-behind-s")
		b.ReportMetric(latest.Seconds(), "longest-over-5s-s")
		s.verified(rate * seconds)
		for _, cmd := range fleet {
			s.end(cmd)
		}
	}
}

// oldest is the age of the completeness watermark: how long ago the oldest order
// arrived that may not be queryable yet.
func oldest(b *testing.B, db *aws.Redshift) time.Duration {
	b.Helper()
	checkpoints, err := warehouse.Checkpoints(b.Context(), db, "order-events")
	if err != nil {
		b.Fatal(err)
	}
	age := time.Duration(0)
	for _, c := range checkpoints {
		if !c.ArrivedUntil.IsZero() { // nothing was loaded of the shard yet
			age = max(age, time.Since(c.ArrivedUntil))
		}
	}
	return age
}

// verified waits until verify has found all of the records, each once.
func (s *site) verified(records int) {
	s.b.Helper()
	s.await(fmt.Sprintf("verify finds %d records", records), func() bool {
		out, err := exec.CommandContext(s.b.Context(), filepath.Join(s.bin, "analytics-worker"), "verify", "--format", "json").Output()
		if err != nil {
			s.b.Fatalf("verify: %v\n%s", err, out)
		}
		return strings.Contains(string(out), fmt.Sprintf(`"records": %d,`, records))
	})
}
