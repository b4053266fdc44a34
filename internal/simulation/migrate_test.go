package simulation

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// firstCheckpoints is worker_checkpoints as the first version made it.
const firstCheckpoints = `CREATE TABLE worker_checkpoints (stream_name VARCHAR(128) NOT NULL, shard_id VARCHAR(128) NOT NULL, term BIGINT NOT NULL,
 sequence_number VARCHAR(140) NOT NULL, sub_sequence_number BIGINT NOT NULL, arrived_until TIMESTAMP, updated_at TIMESTAMP NOT NULL) DISTSTYLE ALL`

// TestApplyBringsTablesOfTheFirstVersionUpToDate: with data in them, twice, and by
// two at once.
func TestApplyBringsTablesOfTheFirstVersionUpToDate(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		ctx := deadline(t)
		for _, sql := range []string{
			"DROP TABLE worker_checkpoints", firstCheckpoints,
			"INSERT INTO worker_checkpoints VALUES ('" + StreamName + "', 'shard-a', 4, '17', 2, '2026-11-20 10:00:00', '2026-11-20 10:00:01')",
		} {
			if _, err := w.DB.Run(ctx, warehouse.Token(), []string{sql}); err != nil {
				t.Fatal(err)
			}
		}
		house := warehouse.New(w.DB, warehouse.Insert{})
		ours := stream.Identity{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/order-events", Created: time.Date(2026, 11, 20, 8, 0, 0, 123e6, time.UTC)}
		claim := []warehouse.Claim{{Shard: "shard-a", Term: 5, Stream: ours}}
		_, err := house.Claim(ctx, StreamName, claim)
		if !errors.Is(err, warehouse.ErrNoTable) {
			t.Fatalf("a claim in a table of the first version: %v", err)
		}
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := warehouse.Apply(ctx, w.DB); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		added, err := warehouse.Apply(ctx, w.DB)
		if err != nil || len(added) != 0 {
			t.Errorf("once more: %q, %v", added, err)
		}
		got, err := house.Claim(ctx, StreamName, claim)
		want := warehouse.Claimed{Granted: true, Term: 5, Position: stream.Position{Sequence: "17", Sub: 2}}
		if err != nil || got[0].Granted != want.Granted || got[0].Term != want.Term || got[0].Position != want.Position || !got[0].Stream.IsZero() {
			t.Errorf("the claim of a row that knew no stream: %+v, %v", got, err)
		}
		if n := scalar(t, w, "SELECT COUNT(*) FROM worker_checkpoints WHERE stream_name = '*' AND shard_id = '*'"); n != "1" {
			t.Errorf("%s shared rows", n)
		}
		// The row has taken the claim's stream: another one is refused from now on.
		other := claim[0]
		other.Term, other.Stream.Created = 9, ours.Created.AddDate(0, 0, 1)
		got, err = house.Claim(ctx, StreamName, []warehouse.Claim{other})
		if err != nil || got[0].Granted || got[0].Term != 5 || !got[0].Foreign(other) || !got[0].Stream.Equal(ours) {
			t.Errorf("a claim of the stream made anew: %+v, %v", got, err)
		}
	})
}

// TestApplyRefusesATableOfSomebodyElse: it adds what versions have added, and no
// more.
func TestApplyRefusesATableOfSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{})
	ctx := deadline(t)
	for _, sql := range []string{"DROP TABLE fact_orders", "CREATE TABLE fact_orders (order_id VARCHAR(100), event_timestamp TIMESTAMP)"} {
		if _, err := w.DB.Run(ctx, warehouse.Token(), []string{sql}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := warehouse.Apply(ctx, w.DB); err == nil || !strings.Contains(err.Error(), "fact_orders has no column customer_id") {
		t.Errorf("a table of somebody else: %v", err)
	}
}
