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
	for folder, schema := range map[string]string{".": "", "schema": "sales-2026"} {
		in, err := NamesIn(schema)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(folder, func(t *testing.T) { keepStatements(t, in, folder) })
	}
}

func keepStatements(t *testing.T, in Names, folder string) {
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
		"insert":    loadTransaction(in, ordersAlone, filling.Statements, now).sql(),
		"copy":      loadTransaction(in, ordersAlone, copied, now).sql(),
		"mixed":     loadTransaction(in, families{true, true, true}, copied, now).sql(),
		"positions": loadTransaction(in, families{}, insertMoves(batch), now).sql(),
		"probe":     orders.probe(in, loadTransaction(in, ordersAlone, copied, now), "probe-X").sql(),
		"claim":     claimStatements(in, "order-events", []Claim{{Shard: "shardId-000000000000", Term: 4, Start: stream.Position{Sequence: stream.TrimHorizon}}}, now),
		"redshift":  {Script(in.Definitions(Redshift))},
		"postgres":  {Script(in.Definitions(PostgreSQL))},
		"duckdb":    {Script(in.Definitions(DuckDB))},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(statements, ";\n\n") + ";\n"
			file := filepath.Join("testdata", folder, name+".sql")
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
