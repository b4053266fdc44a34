package replay_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/replay"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func TestMain(m *testing.M) {
	if err := simulation.SetEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

const patience = 2 * time.Minute

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// rig is a stream of one shard that a worker has loaded, and that nobody works on
// any more.
type rig struct {
	*testing.T
	*simulation.World
	began time.Time
}

func newRig(t *testing.T, entries ...aws.Entry) *rig {
	t.Helper()
	began := time.Now().Add(-time.Second)
	w, err := simulation.NewWorld(deadline(t), simulation.Options{Tiny: true, Shards: 1, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	r := &rig{t, w, began}
	if err := w.Put(deadline(t), entries); err != nil {
		t.Fatal(err)
	}
	running, err := w.Start(deadline(t), simulation.Worker{})
	if err != nil {
		t.Fatal(err)
	}
	err = simulation.Await(deadline(t), "the records are settled", func() (bool, error) {
		report, err := w.Verify(deadline(t))
		return err == nil && report.Records == int64(len(entries)), err
	})
	if err := errors.Join(err, running.Drain()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) sql(statement string) {
	r.Helper()
	if _, err := r.DB.Run(deadline(r.T), warehouse.Token(), []string{statement}); err != nil {
		r.Fatal(err)
	}
}

// replay loads everything again, so many bytes of rows at a time.
func (r *rig) replay(c replay.Config) replay.Summary {
	r.Helper()
	c.From, c.To = r.began, time.Now().Add(time.Second)
	sum, err := r.Replay(deadline(r.T), warehouse.Insert{}, c)
	if err != nil {
		r.Fatal(err)
	}
	return sum
}

func (r *rig) wantAgreed() {
	r.Helper()
	report, err := r.Verify(deadline(r.T))
	if err != nil || !report.OK {
		r.Fatalf("%v: %+v", err, report)
	}
}

var instant = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func order(id, customer string, at time.Time) aws.Entry {
	return aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil,
		`{"order_id":%q,"customer_id":%q,"store_id":7,"total_amount":1.25,"item_count":2,"event_type":"order_created","timestamp":%q}`,
		id, customer, at.Format(time.RFC3339))}
}

// Of two events of one instant the one stays that is later in its shard, be they in
// loads of their own: a load of the first alone would keep the second out.
func TestG5_OfEventsOfOneInstantTheLaterOneStays(t *testing.T) {
	t.Parallel()
	r := newRig(t, order("a", "first", instant), order("b", "first", instant), order("a", "second", instant),
		order("c", "only", instant), order("a", "late", instant.Add(-time.Hour)), order("b", "second", instant), order("b", "third", instant))
	r.sql("DELETE FROM fact_orders")
	sum := r.replay(replay.Config{BatchBytes: 1}) // of "a" the late one comes before the second
	if sum.Loads != 7 || sum.Changed != 4 || sum.Rows != 7 {
		t.Errorf("%+v", sum)
	}
	r.wantAgreed()
	if sum := r.replay(replay.Config{}); sum.Changed != 0 || sum.Loads != 1 || sum.Rollups != 0 {
		t.Errorf("a repeat: %+v", sum)
	}
	r.wantAgreed()
}

// A row that the warehouse refuses costs the rows beside it nothing, and where it
// refuses all, a replay gives up.
func TestRefusedRowsAreFoundAndCounted(t *testing.T) {
	t.Parallel()
	var entries []aws.Entry
	for i := range 40 {
		customer := "good"
		if i == 17 {
			customer = "poison"
		}
		entries = append(entries, order(fmt.Sprint("order-", i), customer, instant))
	}
	r := newRig(t, entries...)
	r.sql("DELETE FROM fact_orders")
	refuse := func(text string) {
		t.Helper()
		if err := r.Local.Faults().Put([]fault.Fault{{Service: "redshift-data", Kind: fault.StatementFailed, Match: text, Error: "ERROR: nobody wants it"}}); err != nil {
			t.Fatal(err)
		}
	}
	refuse("poison")
	if sum := r.replay(replay.Config{}); sum.Refused != 1 || sum.Changed != 39 {
		t.Errorf("%+v", sum)
	}
	refuse("good")
	sum, err := r.Replay(deadline(t), warehouse.Insert{}, replay.Config{From: r.began, To: time.Now().Add(time.Second)})
	if err == nil || !strings.Contains(err.Error(), "nobody wants it") || sum.Refused > 25 {
		t.Errorf("%+v, %v", sum, err)
	}
	refuse("nothing of that kind")
	r.replay(replay.Config{})
	r.wantAgreed()
}

// Only what arrived in the range is read, only of the shards that are named, and
// letters that are gone come back once.
func TestRangesShardsAndLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, order("a", "c", instant), aws.Entry{PartitionKey: "x", Data: []byte("no order")}, aws.Entry{PartitionKey: "x", Data: []byte("nor this")})
	now := time.Now()
	for _, c := range []replay.Config{
		{From: now.Add(-time.Hour), To: r.began.Add(-time.Minute)},
		{From: now.Add(-time.Millisecond), To: now},
	} {
		if sum, err := r.Replay(deadline(t), warehouse.Insert{}, c); err != nil || sum.Records != 0 {
			t.Errorf("%+v, %v", sum, err)
		}
	}
	if _, err := r.Replay(deadline(t), warehouse.Insert{}, replay.Config{From: r.began, To: now, Only: []string{"shardId-000000000009"}}); !errors.Is(err, replay.ErrNoShard) {
		t.Errorf("a shard that is not there: %v", err)
	}
	if sum := r.replay(replay.Config{Only: []string{"shardId-000000000000"}}); sum.Records != 3 || sum.Kept != 2 || sum.Restored != 0 {
		t.Errorf("%+v", sum)
	}
	if err := os.RemoveAll(r.Options.Dir + "/order-events"); err != nil {
		t.Fatal(err)
	}
	if sum := r.replay(replay.Config{DryRun: true}); sum.Restored != 2 || sum.Kept != 0 {
		t.Errorf("a dry run: %+v", sum)
	}
	for _, restored := range []int64{2, 0} {
		if sum := r.replay(replay.Config{}); sum.Restored != restored || sum.Kept != 2-restored {
			t.Errorf("%+v, want %d restored", sum, restored)
		}
	}
	r.wantAgreed()
}
