package simulation

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// BenchmarkLoadGrowth loads 5,000 orders, half of them new, into a fact_orders
// of 100 thousand and of 10 million rows, and reports by how much the growth
// slows a load down.
func BenchmarkLoadGrowth(b *testing.B) {
	for _, engine := range []string{"DuckDB", "PostgreSQL"} {
		b.Run(engine, func(b *testing.B) {
			for range b.N {
				url := ""
				if engine == "PostgreSQL" {
					url = pgtest.Start(b)
				}
				g := &growth{b: b, w: newWorld(b, Options{Warehouse: url}), at: stream.Position{Sequence: stream.TrimHorizon}}
				g.house = warehouse.New(g.w.DB, g.copy())
				g.claim()
				g.growTo(100_000)
				small := g.median()
				g.growTo(10_000_000)
				large := g.median()
				b.ReportMetric(float64(small.Milliseconds()), "ms/load-at-100k")
				b.ReportMetric(float64(large.Milliseconds()), "ms/load-at-10M")
				b.ReportMetric(large.Seconds()/small.Seconds(), "growth")
			}
		})
	}
}

// growth is a warehouse that grows.
type growth struct {
	b     *testing.B
	w     *World
	house *warehouse.Warehouse
	at    stream.Position
	loads int
}

const growthStart = 1_700_000_000_000_000 // event time of the first order, in microseconds

func (g *growth) copy() warehouse.Fill {
	bucket, err := g.w.Account.Bucket(stagingBucket(g.b, g.w))
	if err != nil {
		g.b.Fatal(err)
	}
	return &warehouse.Copy{Staging: bucket, Log: slog.New(slog.DiscardHandler)}
}

func (g *growth) claim() {
	if _, err := g.house.Claim(g.b.Context(), StreamName, []warehouse.Claim{{Shard: "s", Term: 1, Start: g.at}}); err != nil {
		g.b.Fatal(err)
	}
}

// load loads orders, numbered from first on, and returns how long it took.
func (g *growth) load(ids []int, at int64) time.Duration {
	g.loads++
	to := stream.Position{Sequence: strconv.Itoa(g.loads)}
	batch := warehouse.Batch{Stream: StreamName, Moves: []warehouse.Move{{Shard: "s", Term: 1, From: g.at, To: to}}}
	encoder := g.house.Encoder()
	for _, id := range ids {
		order := event.Event{Row: &event.Order{
			OrderID: fmt.Sprintf("%08x-order-%d", uint32(id)*2654435761, id), CustomerID: fmt.Sprint("cust-", id%5000), EventType: "order_created",
			StoreID: int32(id % 40), ItemCount: 2, AmountCents: int64(id % 3000), EventTime: at + int64(id)*1000,
		}}
		batch.Rows = append(batch.Rows, warehouse.Row{Line: encoder.Append(nil, &order)})
	}
	start := time.Now()
	loaded, err := g.house.Load(g.b.Context(), batch)
	if err != nil || loaded.Outcomes[0].Verdict != warehouse.Committed {
		g.b.Fatalf("load: %+v, %v", loaded, err)
	}
	g.at = to
	return time.Since(start)
}

// growTo fills fact_orders up to n rows. The first ones are loaded, the others
// are copies of them made by the engine, which is quicker.
func (g *growth) growTo(n int) {
	if rows(g.b, g.w) == 0 {
		ids := make([]int, 100_000)
		for i := range ids {
			ids[i] = i
		}
		g.load(ids, growthStart)
	}
	for round := 0; rows(g.b, g.w) < n; round++ {
		have := rows(g.b, g.w)
		sql := fmt.Sprintf(`INSERT INTO fact_orders SELECT order_id || '%c', customer_id, store_id, total_amount, item_count, event_type,
 event_timestamp + INTERVAL '1 second' FROM fact_orders ORDER BY order_id LIMIT %d`, 'a'+round, min(have, n-have))
		if _, err := g.w.DB.Run(g.b.Context(), warehouse.Token(), []string{sql}); err != nil {
			g.b.Fatal(err)
		}
	}
	if _, err := g.w.DB.Run(g.b.Context(), warehouse.Token(), []string{"ANALYZE fact_orders"}); err != nil {
		g.b.Fatal(err)
	}
}

func rows(b *testing.B, w *World) int {
	n, err := strconv.Atoi(scalar(b, w, "SELECT COUNT(*) FROM fact_orders"))
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// median is the median time of loads of 5,000 orders: half new, half newer
// events of orders that are there, spread over the table.
func (g *growth) median() time.Duration {
	const size, times = 5000, 9
	var took []time.Duration
	for range times {
		var ids []int
		for i := range size / 2 {
			ids = append(ids, i*37%100_000, 1_000_000+g.loads*size+i)
		}
		took = append(took, g.load(ids, growthStart+int64(g.loads)*3_600_000_000))
	}
	slices.Sort(took)
	return took[times/2]
}
