package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

const factColumns = "order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp"

// loadTransaction is a load as the worker makes it: a lock, a fence that
// filters, the newest event of an order, facts, rollups, checkpoints.
func loadTransaction(shard string, term int, from, to string, rows ...string) []string {
	return []string{
		"LOCK TABLE load_lock",
		fmt.Sprintf("CREATE TEMP TABLE proposed AS SELECT '%s' AS shard_id, %d AS term, '%s' AS from_sequence, '%s' AS to_sequence", shard, term, from, to),
		`CREATE TEMP TABLE accepted AS SELECT p.shard_id, p.to_sequence FROM proposed p
			JOIN worker_checkpoints c ON c.shard_id = p.shard_id AND c.term = p.term AND c.sequence_number = p.from_sequence`,
		`CREATE TEMP TABLE incoming (shard_id VARCHAR(100), position BIGINT, order_id VARCHAR(100), customer_id VARCHAR(100), store_id INTEGER,
			total_amount DECIMAL(10,2), item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP)`,
		"INSERT INTO incoming VALUES " + strings.Join(rows, ", "),
		`CREATE TEMP TABLE staged AS SELECT ` + factColumns + ` FROM (
			SELECT i.*, ROW_NUMBER() OVER (PARTITION BY i.order_id ORDER BY i.event_timestamp DESC, i.position DESC) AS rn
			FROM incoming i JOIN accepted a ON a.shard_id = i.shard_id
			LEFT JOIN fact_orders f ON f.order_id = i.order_id
			WHERE f.order_id IS NULL OR f.event_timestamp <= i.event_timestamp) AS newest WHERE rn = 1`,
		`CREATE TEMP TABLE changes AS SELECT minute, store_id, event_type, SUM(orders) AS orders, SUM(items) AS items, SUM(revenue) AS revenue FROM (
			SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type, 1 AS orders, item_count AS items, total_amount AS revenue FROM staged
			UNION ALL
			SELECT DATE_TRUNC('minute', f.event_timestamp), f.store_id, f.event_type, -1, -f.item_count, -f.total_amount
			FROM fact_orders f JOIN staged s ON s.order_id = f.order_id) AS moves GROUP BY 1, 2, 3`,
		"DELETE FROM fact_orders USING staged WHERE fact_orders.order_id = staged.order_id",
		"INSERT INTO fact_orders (" + factColumns + ") SELECT " + factColumns + " FROM staged",
		`UPDATE agg_orders_minute SET order_count = order_count + d.orders, item_count = item_count + d.items, revenue = agg_orders_minute.revenue + d.revenue
			FROM changes d WHERE agg_orders_minute.minute = d.minute AND agg_orders_minute.store_id = d.store_id AND agg_orders_minute.event_type = d.event_type`,
		`INSERT INTO agg_orders_minute SELECT d.minute, d.store_id, d.event_type, d.orders, d.items, d.revenue FROM changes d
			LEFT JOIN agg_orders_minute a ON a.minute = d.minute AND a.store_id = d.store_id AND a.event_type = d.event_type WHERE a.minute IS NULL`,
		"DELETE FROM agg_orders_minute WHERE order_count = 0",
		"UPDATE worker_checkpoints SET sequence_number = a.to_sequence FROM accepted a WHERE worker_checkpoints.shard_id = a.shard_id",
		"SELECT shard_id FROM accepted",
	}
}

func createWarehouse(t *testing.T, r *rig) {
	t.Helper()
	r.must(t,
		`CREATE TABLE fact_orders (order_id VARCHAR(100) NOT NULL, customer_id VARCHAR(100), store_id INTEGER, total_amount DECIMAL(10,2), item_count INTEGER,
			event_type VARCHAR(50), event_timestamp TIMESTAMP, PRIMARY KEY (order_id)) DISTKEY(order_id) SORTKEY(event_timestamp)`,
		`CREATE TABLE agg_orders_minute (minute TIMESTAMP, store_id INTEGER, event_type VARCHAR(50), order_count BIGINT, item_count BIGINT, revenue DECIMAL(38,2))`,
		"CREATE TABLE worker_checkpoints (shard_id VARCHAR(100), term BIGINT, sequence_number VARCHAR(200))",
		"CREATE TABLE load_lock (n INTEGER)",
		"INSERT INTO worker_checkpoints VALUES ('shard-1', 3, '100'), ('shard-2', 1, '100')")
}

// checkLoadTransaction runs the worker's transaction: it takes effect once,
// repeats change nothing, a stale term is fenced, rollups agree with the facts.
func checkLoadTransaction(t *testing.T, r *rig) {
	createWarehouse(t, r)
	accepted := func(sqls []string) string {
		d := r.must(t, sqls...)
		return fmt.Sprint(r.result(t, *d.SubStatements[len(sqls)-1].Id))
	}
	agrees := func(when string) {
		want := r.rows(t, `SELECT DATE_TRUNC('minute', event_timestamp), store_id, event_type, COUNT(*), SUM(item_count), SUM(total_amount)
				FROM fact_orders GROUP BY 1, 2, 3 ORDER BY 1, 2, 3`)
		got := r.rows(t, "SELECT * FROM agg_orders_minute ORDER BY 1, 2, 3")
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: rollups %v, facts give %v", when, got, want)
		}
	}
	first := loadTransaction("shard-1", 3, "100", "200",
		"('shard-1', 1, 'a', 'c1', 1, 10.00, 2, 'order_created', '2026-11-23 10:00:05')",
		"('shard-1', 2, 'b', 'c2', 1, 5.50, 1, 'order_created', '2026-11-23 10:00:10')",
		"('shard-1', 3, 'a', 'c1', 1, 12.00, 2, 'order_paid', '2026-11-23 10:01:05')")
	if got := accepted(first); got != "[[shard-1]]" {
		t.Fatalf("accepted %s", got)
	}
	agrees("after the first load")
	if got := accepted(first); got != "[]" {
		t.Errorf("a repeat was accepted: %s", got)
	}
	agrees("after the repeat")
	if got := accepted(loadTransaction("shard-1", 2, "200", "300", "('shard-1', 9, 'z', 'c', 1, 1, 1, 'order_created', '2026-11-23 10:00:00')")); got != "[]" {
		t.Errorf("a stale term was accepted: %s", got)
	}
	// Another shard replaces one order with the same key, and is late for the other.
	if got := accepted(loadTransaction("shard-2", 1, "100", "150",
		"('shard-2', 1, 'b', 'c2', 2, 6.00, 1, 'order_paid', '2026-11-23 10:02:00')",
		"('shard-2', 2, 'a', 'c1', 1, 99.00, 9, 'order_created', '2026-11-23 09:00:00')")); got != "[[shard-2]]" {
		t.Errorf("accepted %s", got)
	}
	agrees("after the second load")
	if got, want := fmt.Sprint(r.rows(t, "SELECT order_id, store_id, total_amount, event_type FROM fact_orders ORDER BY order_id")),
		"[[a 1 12.00 order_paid] [b 2 6.00 order_paid]]"; got != want {
		t.Errorf("facts %s, want %s", got, want)
	}
	if got := fmt.Sprint(r.rows(t, "SELECT sequence_number FROM worker_checkpoints ORDER BY shard_id")); got != "[[200] [150]]" {
		t.Errorf("checkpoints %s", got)
	}
}

// checkConcurrentLoads: many workers load at once, each a shard of its own but
// the same orders; LOCK lets all of them through, none fails.
func checkConcurrentLoads(t *testing.T, r *rig) {
	createWarehouse(t, r)
	const workers = 8
	var seed []string
	for w := range workers {
		seed = append(seed, fmt.Sprintf("('s%d', 1, '0')", w))
	}
	r.must(t, "INSERT INTO worker_checkpoints VALUES "+strings.Join(seed, ","))
	var ids []string
	for w := range workers {
		var rows []string
		for i := range 50 {
			rows = append(rows, fmt.Sprintf("('s%d', %d, 'o%d', 'c', 1, 1.00, 1, 'order_created', '2026-11-23 10:%02d:00')", w, i, i, w))
		}
		out, err := r.BatchExecuteStatement(t.Context(), batch(loadTransaction(fmt.Sprintf("s%d", w), 1, "0", "9", rows...)...))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, *out.Id)
	}
	for _, id := range ids {
		if d := r.await(t, id); d.Status != types.StatusStringFinished {
			t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
		}
	}
	if got := fmt.Sprint(r.rows(t, "SELECT COUNT(*), COUNT(DISTINCT order_id) FROM fact_orders")); got != "[[50 50]]" {
		t.Errorf("orders %s, want 50 and each once", got)
	}
	if got := fmt.Sprint(r.rows(t, "SELECT SUM(order_count) FROM agg_orders_minute")); got != "[[50]]" {
		t.Errorf("rollups count %s", got)
	}
}

// BenchmarkInsertLoad is a load of 20,000 orders by multi-row INSERT.
func BenchmarkInsertLoad(b *testing.B) {
	r := newRig(b, redshift.Options{})
	sqls := []string{`CREATE TEMP TABLE incoming (order_id VARCHAR(100), customer_id VARCHAR(100), store_id INTEGER,
		total_amount DECIMAL(10,2), item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP)`}
	for s := range 25 {
		var rows []string
		for i := range 800 {
			rows = append(rows, fmt.Sprintf("('order-%08d-0123456789ab','customer-%08d',%d,%d.%02d,%d,'order_created','2026-11-23 10:00:%02d.123456')",
				s*800+i, i, i%40, i%100, i%100, i%9, i%60))
		}
		sqls = append(sqls, "INSERT INTO incoming VALUES "+strings.Join(rows, ","))
	}
	for b.Loop() {
		r.must(b, sqls...)
	}
}
