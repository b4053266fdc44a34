package warehouse

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

var update = flag.Bool("update", false, "write testdata anew")

// The statements that the warehouse gets are what all of the promises stand on,
// and they are put together from tables as data. So what they come to is kept,
// byte for byte.
func TestStatementsAreAsKept(t *testing.T) {
	now := time.Date(2026, 11, 20, 8, 15, 30, 0, time.UTC)
	batch := Batch{
		Stream: "order-events",
		Moves: []Move{{
			Shard: "shardId-000000000000", Term: 3, From: stream.Position{Sequence: stream.TrimHorizon},
			To: stream.Position{Sequence: "495903380000", Sub: 1}, ArrivedUntil: now,
		}},
	}
	order := event.Event{Order: event.Order{
		OrderID: "ord-'1", CustomerID: `cust\"1`, EventType: "order_created", StoreID: 7, ItemCount: 2, AmountCents: 1234, EventTime: now.UnixMicro(),
	}}
	batch.Rows = []Row{{Line: Insert{}.Encoder().Append(nil, &order)}}
	filling, err := Insert{}.Prepare(context.Background(), batch)
	if err != nil {
		t.Fatal(err)
	}
	copied := []string{(&Copy{IAMRole: "arn:aws:iam::123456789012:role/copy", Region: "eu-west-1"}).statement("s3://bucket/manifest.json")}
	ordersAlone := families{event.Orders: true}
	for name, statements := range map[string][]string{
		"insert":    loadTransaction(ordersAlone, filling.Statements, now).sql(),
		"copy":      loadTransaction(ordersAlone, copied, now).sql(),
		"mixed":     loadTransaction(families{true, true, true}, copied, now).sql(),
		"positions": loadTransaction(families{}, insertMoves(batch), now).sql(),
		"probe":     orders.probe(loadTransaction(ordersAlone, copied, now), "probe-X").sql(),
		"claim":     claimStatements("order-events", []Claim{{Shard: "shardId-000000000000", Term: 4, Start: stream.Position{Sequence: stream.TrimHorizon}}}, now),
		"redshift":  {Script(Schema(Redshift))},
		"postgres":  {Script(Schema(PostgreSQL))},
		"duckdb":    {Script(Schema(DuckDB))},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(statements, ";\n\n") + ";\n"
			file := filepath.Join("testdata", name+".sql")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("the statements are not those of %s; if they are meant to be, run the test with -update and look at the difference:\n%s", file, got)
			}
		})
	}
}
