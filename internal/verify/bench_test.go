package verify_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// BenchmarkFacts reads a million orders of eleven days, of which the stream has
// none any more.
func BenchmarkFacts(b *testing.B) {
	for name, url := range map[string]func(testing.TB) string{
		"DuckDB": func(testing.TB) string { return "" }, "PostgreSQL": pgtest.Start,
	} {
		b.Run(name, func(b *testing.B) {
			ctx := b.Context()
			w, err := simulation.NewWorld(ctx, simulation.Options{Warehouse: url(b), Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := w.Close(); err != nil {
					b.Error(err)
				}
			}()
			sql := []string{"CREATE TABLE digits (d INTEGER)", "INSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)"}
			for i := range 10 { // the key is no order of arrival
				sql = append(sql, fmt.Sprintf(`INSERT INTO fact_orders SELECT MD5(CAST(a.d * 10000 + b.d * 1000 + c.d * 100 + d.d * 10 + e.d + %d AS VARCHAR(10))), 'customer', 1, 1.25, 1, 'order_created',
DATEADD(second, a.d * 10000 + b.d * 1000 + c.d * 100 + d.d * 10 + e.d + %d, TIMESTAMP '2026-01-01 00:00:00') FROM digits a, digits b, digits c, digits d, digits e`, i*100_000, i*100_000))
			}
			sql = append(sql, `INSERT INTO agg_orders_minute SELECT DATE_TRUNC('minute', event_timestamp), store_id, event_type, COUNT(*), SUM(item_count), SUM(total_amount) FROM fact_orders GROUP BY 1, 2, 3`)
			if _, err := w.DB.Run(ctx, warehouse.Token(), sql); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				began := time.Now()
				r, err := verify.Run(ctx, verify.Config{
					Stream: simulation.StreamName, Shards: w.Stream.Shards, DB: w.DB,
					Open: func(s stream.Shard, at stream.Position) verify.Reader { return w.Stream.Reader(s, at) },
				})
				if err != nil || !r.OK || r.Facts != 1_000_000 {
					b.Fatalf("%v, %+v", err, r)
				}
				b.Logf("%v", time.Since(began))
			}
		})
	}
}
