package simulation

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// TestALoadsTimeGrowsWithItsRows: of a temporary table PostgreSQL knows the size alone,
// and guesses the rest. A guess that goes through all of it for each of its rows makes
// ten times the rows take a hundred times as long, and does so at some sizes and not at
// others.
func TestALoadsTimeGrowsWithItsRows(t *testing.T) {
	t.Parallel()
	const most, tries = 15, 3 // times as long; a machine that is busy makes one load late, and not three
	w := newWorld(t, Options{Warehouse: pgtest.Start(t)})
	bucket, err := w.Account.Bucket(stagingURL)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.EnsureBucket(deadline(t)); err != nil {
		t.Fatal(err)
	}
	g := &sized{t: t, w: w, fill: &warehouse.Copy{Staging: bucket, Log: slog.New(slog.DiscardHandler)}}
	for _, shards := range []int{1, 16} {
		for _, orders := range []int{500, 5000} {
			var few, many time.Duration
			for try := range tries {
				few, many = g.load(orders, shards), g.load(10*orders, shards)
				t.Logf("%d shards: %d orders take %v, %d take %v", shards, orders, few, 10*orders, many)
				if many <= most*few {
					break
				}
				if try == tries-1 {
					t.Errorf("a load of %d orders of %d shards takes %v, and one of %d takes %v: %.0f times as long", orders, shards, few, 10*orders, many, many.Seconds()/few.Seconds())
				}
			}
		}
	}
}

// sized makes loads of orders, half of them new.
type sized struct {
	t     *testing.T
	w     *World
	fill  warehouse.Fill
	loads int
}

// load is how long a load of so many orders takes, of so many new shards.
func (g *sized) load(orders, shards int) time.Duration {
	g.t.Helper()
	g.loads++
	ctx, house := deadline(g.t), warehouse.New(g.w.DB, g.fill)
	b, at := warehouse.Batch{Stream: StreamName}, stream.Position{Sequence: stream.TrimHorizon}
	var claims []warehouse.Claim
	for i := range shards {
		id := fmt.Sprintf("%d-%d", g.loads, i)
		claims = append(claims, warehouse.Claim{Shard: id, Term: 1, Start: at})
		b.Moves = append(b.Moves, warehouse.Move{Shard: id, Term: 1, From: at, To: stream.Position{Sequence: "1"}})
	}
	for i := range orders {
		b.Rows = append(b.Rows, orderRow(g.fill, i%shards, event.Order{
			OrderID: fmt.Sprintf("order-%d-%d", i%2*g.loads, i), CustomerID: fmt.Sprint("customer-", i%1000), EventType: "order_created",
			StoreID: int32(i % 40), ItemCount: 2, AmountCents: 500, EventTime: growthStart + int64(g.loads)*60_000_000 + int64(i),
		}))
	}
	if _, err := house.Claim(ctx, StreamName, claims); err != nil {
		g.t.Fatal(err)
	}
	began := time.Now()
	loaded, err := house.Load(ctx, b)
	if err != nil || loaded.Written.Total() != int64(orders) {
		g.t.Fatalf("load %d orders: %d written, %v", orders, loaded.Written.Total(), err)
	}
	return time.Since(began)
}
