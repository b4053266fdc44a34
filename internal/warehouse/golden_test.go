package warehouse

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// allFamilies is a load that carries rows of each.
var allFamilies = func() (all families) {
	for _, f := range event.Families() {
		all[f] = true
	}
	return all
}()

var update = flag.Bool("update", false, "write testdata anew")

// The statements that the warehouse gets are what all of the promises stand on,
// and they are put together from tables as data. So what they come to is kept,
// byte for byte.
func TestStatementsAreAsKept(t *testing.T) {
	for name, got := range statements(t, Names{}) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".sql")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != kept(t, name) {
				t.Errorf("the statements are not those of %s; if they are meant to be, run the test with -update and look at the difference:\n%s", file, got)
			}
		})
	}
}

// With REDSHIFT_SCHEMA they are the same, but for the schema before each table that
// stays. A table's name before a column is not followed by a space, and has none.
func TestStatementsInASchemaAreAsKept(t *testing.T) {
	in, err := NamesIn("sales-2026")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`\b((?:fact|agg|worker)_\w+)([ ;]|$)`)
	for name, got := range statements(t, in) {
		want := table.ReplaceAllString(kept(t, name), `"sales-2026".$1$2`)
		if definitions(name) {
			want = "-- The schema of all of them (REDSHIFT_SCHEMA).\nCREATE SCHEMA IF NOT EXISTS \"sales-2026\";\n\n" + want
		}
		if got != want {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// TestLocalEnginesHaveOneDDL: what runs behind localaws takes the same definitions.
func TestLocalEnginesHaveOneDDL(t *testing.T) {
	if Script(Names{}.Definitions(PostgreSQL)) != Script(Names{}.Definitions(DuckDB)) {
		t.Error("the definitions of PostgreSQL and DuckDB differ: keep both in testdata")
	}
}

func kept(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("testdata", name+".sql"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func definitions(name string) bool { return name == "redshift" || name == "local" }

// statements are those of each kind, by name.
func statements(t *testing.T, in Names) map[string]string {
	now := time.Date(2026, 11, 20, 8, 15, 30, 0, time.UTC)
	batch := Batch{
		Stream: "order-events",
		Moves: []Move{{
			Shard: "shardId-000000000000", Term: 3, From: stream.Position{Sequence: stream.TrimHorizon},
			To: stream.Position{Sequence: "495903380000", Sub: 1}, ArrivedUntil: now,
		}},
	}
	order := event.Event{Row: &event.Order{
		OrderID: "ord-'1", CustomerID: `cust\"1`, EventType: "order_created", StoreID: 7, ItemCount: 2, AmountCents: 1234, EventTime: now.UnixMicro(),
	}}
	batch.Rows = []Row{{Line: Insert{}.Encoder().Append(nil, &order)}}
	filling, err := Insert{}.Prepare(context.Background(), batch)
	if err != nil {
		t.Fatal(err)
	}
	copied := []string{(&Copy{IAMRole: "arn:aws:iam::123456789012:role/copy", Region: "eu-west-1"}).statement("s3://bucket/manifest.json")}
	ordersAlone := families{event.Orders: true}
	out := map[string]string{"redshift": Script(in.Definitions(Redshift)), "local": Script(in.Definitions(PostgreSQL))}
	for name, statements := range map[string][]string{
		"insert":    loadTransaction(in, ordersAlone, filling.Statements, now, false).sql(),
		"copy":      loadTransaction(in, ordersAlone, copied, now, false).sql(),
		"mixed":     loadTransaction(in, allFamilies, copied, now, false).sql(),
		"positions": loadTransaction(in, families{}, insertMoves(batch), now, false).sql(),
		"replay":    loadTransaction(in, ordersAlone, copied, now, true).sql(),
		"rollups":   rebuild(in, now.Add(-time.Hour), now, now).sql(),
		"probe":     orders.probe(in, loadTransaction(in, ordersAlone, copied, now, false), "probe-X").sql(),
		"claim":     claimStatements(in, "order-events", []Claim{{Shard: "shardId-000000000000", Term: 4, Start: stream.Position{Sequence: stream.TrimHorizon}}}, now),
	} {
		out[name] = strings.Join(statements, ";\n\n")
	}
	for name, text := range out {
		out[name] = text + ";\n"
	}
	return out
}
