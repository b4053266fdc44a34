package simulation

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// startOfAClaim is the position that a claim proposes.
var startOfAClaim = regexp.MustCompile(`'(AT_TIMESTAMP|TRIM_HORIZON)',[0-9]+`)

// atLatest has every claim begin where the stream is just then, as the word
// LATEST in a lease row says and as its readers once understood it.
func atLatest(sqls []string) []string {
	for i, s := range sqls {
		if strings.HasPrefix(s, "INSERT INTO load_claims") {
			sqls[i] = startOfAClaim.ReplaceAllString(s, "'LATEST',0")
		}
	}
	return sqls
}

// TestG1_LatestOfKCLIsATime takes over shards that KCL never checkpointed, and
// kills the worker that has read of them and loaded nothing. Where each owner
// takes LATEST for itself, the oracle misses what was read.
func TestG1_LatestOfKCLIsATime(t *testing.T) {
	t.Parallel()
	for name, bend := range map[string]func([]string) []string{"a time": nil, "the word": atLatest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				switch err := latestRun(t, bend); {
				case bend == nil && err != nil:
					t.Error(err)
				case bend != nil && (err == nil || !strings.Contains(err.Error(), "Facts:0")):
					t.Errorf("each owner began at LATEST, and the oracle says %v", err)
				}
			})
		})
	}
}

func latestRun(t *testing.T, bend func([]string) []string) error {
	t.Helper()
	ctx, f, rng := t.Context(), spoiledFleet(t, 2), rand.New(rand.NewPCG(5, 6))
	if bend != nil {
		f.spoil = func(next http.RoundTripper) http.RoundTripper { return spoiler{next, bend} }
	}
	open, err := f.openShards(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range open {
		row := attributes{
			"leaseKey": {"S": s.ID}, "leaseCounter": {"N": "41"}, "checkpoint": {"S": "LATEST"},
			"checkpointSubSequenceNumber": {"N": "0"}, "ownerSwitchesSinceCheckpoint": {"N": "0"},
		}
		if err := f.dynamodb(ctx, "PutItem", map[string]any{"TableName": f.leases, "Item": row}, nil); err != nil {
			t.Fatal(err)
		}
	}
	f.born = 1 // the next one waits for a large batch
	if err := f.start(ctx, 1); err != nil {
		t.Fatal(err)
	}
	owned := Await(ctx, "both shards are read", func() (bool, error) { return f.quiet(open), nil })
	if err := errors.Join(owned, f.publish(ctx, 20, rng)); err != nil {
		t.Fatal(err)
	}
	first := f.live[0]
	if err := Await(ctx, "the burst is read", func() (bool, error) { return first.run.Worker.Status().Waiting == 20, nil }); err != nil {
		t.Fatal(err)
	}
	f.crash(0)
	if n := first.run.Metrics.RecordsProcessed.Value(); n != 0 {
		t.Fatalf("%d records were loaded before the crash", n)
	}
	if err := f.start(ctx, 1); err != nil {
		t.Fatal(err)
	}
	return f.settle(ctx, true)
}

// A position that an older version took over from KCL as the word gives way to
// the place where the claim begins, and that place stays.
func TestG1_AClaimEndsTheWordLatest(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		house := warehouse.New(w.DB, warehouse.Insert{})
		began := stream.AtTime(time.UnixMilli(1_700_000_000_123))
		for i, c := range []struct{ start, want stream.Position }{
			{stream.Position{Sequence: stream.Latest}, stream.Position{Sequence: stream.Latest}}, // as the older version did
			{began, began},
			{stream.Position{Sequence: stream.TrimHorizon}, began},
		} {
			got, err := house.Claim(deadline(t), StreamName, []warehouse.Claim{{Shard: "shard-a", Term: int64(i + 1), Start: c.start}})
			if err != nil {
				t.Fatal(err)
			}
			if !got[0].Granted || got[0].Position != c.want {
				t.Errorf("claim %d from %v: %+v, want %v", i, c.start, got[0], c.want)
			}
		}
		checkpoints, err := house.Checkpoints(deadline(t), StreamName)
		if err != nil || len(checkpoints) != 1 || checkpoints[0].Position != began {
			t.Errorf("the warehouse holds %+v, %v", checkpoints, err)
		}
	})
}
