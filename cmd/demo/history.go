package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// historyDays is the quarter that a storm looks at.
const historyDays = 90

// makeHistory fills the warehouse with orders of the last 90 days, by one COPY, and
// with their rollups. They end two days ago: older than what the stream keeps, so
// that nobody takes them for orders that the worker should have loaded.
func (d *demo) makeHistory(ctx context.Context, n int) error {
	bucket, err := d.account.Bucket("s3://history")
	if err != nil {
		return err
	}
	if err := bucket.EnsureBucket(ctx); err != nil {
		return err
	}
	file, err := historyFile(n, time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -1))
	if err != nil {
		return err
	}
	url, err := bucket.Put(ctx, "orders.csv.gz", file)
	if err != nil {
		return err
	}
	table, minutes := d.names.Orders()
	_, err = d.warehouse().Run(ctx, warehouse.Token(), []string{
		"LOCK TABLE " + d.names.Of(warehouse.LockTable),
		"COPY " + table + " (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp) FROM " + warehouse.Quote(url) +
			" IAM_ROLE default FORMAT AS CSV GZIP TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF",
		`INSERT INTO ` + minutes + ` (minute, store_id, event_type, order_count, item_count, revenue)
SELECT DATE_TRUNC('minute', event_timestamp), store_id, event_type, COUNT(*), SUM(item_count), SUM(total_amount) FROM ` + table + ` GROUP BY 1, 2, 3`,
	})
	return err
}

// historyFile is n orders as gzip CSV, the last of them just before end.
func historyFile(n int, end time.Time) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("compress the history: %w", err)
	}
	rng := rand.New(rand.NewPCG(90, 1))
	types := []string{"order_completed", "order_completed", "order_completed", "order_created", "order_cancelled"}
	span := int64(historyDays * 24 * time.Hour / time.Second)
	b := make([]byte, 0, 1<<20)
	for i := range n {
		b = append(b, "history-"...)
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ",customer-"...)
		b = strconv.AppendInt(b, int64(rng.ExpFloat64()*20_000), 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, int64(1+rng.IntN(200)), 10)
		b = fmt.Appendf(b, ",%d.%02d,%d,%s,", 2+rng.IntN(60), rng.IntN(100), 1+rng.IntN(5), types[rng.IntN(len(types))])
		b = end.Add(-time.Duration(rng.Int64N(span))*time.Second).AppendFormat(b, time.DateTime)
		b = append(b, '\n')
		if len(b) > 1<<20-200 || i == n-1 {
			if _, err := zip.Write(b); err != nil {
				return nil, fmt.Errorf("compress the history: %w", err)
			}
			b = b[:0]
		}
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("compress the history: %w", err)
	}
	return out.Bytes(), nil
}
