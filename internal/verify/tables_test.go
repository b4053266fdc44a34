package verify_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

const (
	goodLevels   = 8
	goodPayments = 16
)

// level is that of one of two articles in one of four stores.
func level(i int) aws.Entry {
	return aws.Entry{PartitionKey: fmt.Sprint("level-", i), Data: fmt.Appendf(nil,
		`{"store_id":%d,"sku":"sku-%d","quantity":%d,"event_type":"inventory_updated","updated_at":%q}`,
		i%4, i/4, 10*i, hour.Format(time.RFC3339))}
}

// payment has all columns where i is even, and two NULLs where it is odd.
func payment(i int) aws.Entry {
	more := ""
	if i%2 == 0 {
		more = `,"transaction_id":"t","fraud_score":0`
	}
	return aws.Entry{PartitionKey: fmt.Sprint("payment-", i), Data: fmt.Appendf(nil,
		`{"payment_id":"payment-%02d","order_id":"o","customer_id":"c","amount":"%d.25","payment_method":%q,"status":"completed","processed_at":%q%s}`,
		i, i, []string{"card", "cash", "app", "voucher"}[i%4], hour.Format(time.RFC3339), more)}
}

// TestEachDifferenceIsFoundInEachTable: of levels and payments what
// TestEachDifferenceIsFound has of orders, a value in any column among it, be it
// NULL or be NULL in its place.
func TestEachDifferenceIsFoundInEachTable(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{})
	entries := []aws.Entry{order("order-00", hour)}
	for i := range goodLevels {
		entries = append(entries, level(i))
	}
	for i := range goodPayments {
		entries = append(entries, payment(i))
	}
	r.put(entries...)
	r.load(len(entries))
	r.keep()
	report := r.verify(largePage)
	r.agrees(report)
	if tables := report.Tables; tables[event.Orders].Keys != 1 || tables[event.Inventory].Facts != goodLevels || tables[event.Payments].Rollups != 4 {
		t.Fatalf("%+v", tables)
	}
	// A page that ends between the articles of a store, or the stores of an article.
	for _, page := range []int{2, 3} {
		r.agrees(r.verify(page))
	}
	findsChanges(r, report)
	findsRows(r)
	findsRollups(r)
	r.agrees(r.verify(largePage))
}

// findsChanges changes each column of each table. Each change is of a row of its own.
func findsChanges(r *rig, report *verify.Report) {
	r.T.Helper()
	for family, changes := range map[event.Family][]string{
		event.Inventory: {
			"quantity = 1 WHERE store_id = 1 AND sku = 'sku-0'",
			"event_type = 'x' WHERE store_id = 2 AND sku = 'sku-0'",
			"event_timestamp = DATEADD(microsecond, 1, event_timestamp) WHERE store_id = 3 AND sku = 'sku-1'",
		},
		event.Payments: {
			"order_id = 'x' WHERE payment_id = 'payment-00'",
			"customer_id = 'x' WHERE payment_id = 'payment-01'",
			"transaction_id = 'x' WHERE payment_id = 'payment-02'",
			"transaction_id = NULL WHERE payment_id = 'payment-04'",
			"transaction_id = 't' WHERE payment_id = 'payment-03'",
			"transaction_id = '' WHERE payment_id = 'payment-05'",
			"amount = amount + 0.01 WHERE payment_id = 'payment-06'",
			"payment_method = 'x' WHERE payment_id = 'payment-07'",
			"status = 'x' WHERE payment_id = 'payment-08'",
			"fraud_score = 1 WHERE payment_id = 'payment-10'",
			"fraud_score = NULL WHERE payment_id = 'payment-12'",
			"fraud_score = 0 WHERE payment_id = 'payment-09'",
			"event_type = 'x' WHERE payment_id = 'payment-11'",
			"event_timestamp = DATEADD(microsecond, 1, event_timestamp) WHERE payment_id = 'payment-13'",
		},
	} {
		table := report.Tables[family].Table
		for _, c := range changes {
			r.sql("UPDATE " + table + " SET " + c)
		}
		got := r.verify(largePage)
		r.only(got, map[event.Family]string{event.Inventory: "level differs", event.Payments: "payment differs"}[family])
		if n := got.Tables[family].Differing; int(n) != len(changes) || got.Differing != n {
			r.T.Errorf("%d of %d changes in %s are found: %+v", n, len(changes), table, got.Differences)
		}
		r.restore()
	}
}

// findsRows takes rows away, and adds some.
func findsRows(r *rig) {
	r.T.Helper()
	r.sql(
		"DELETE FROM fact_inventory WHERE store_id = 1 AND sku = 'sku-1'",
		"INSERT INTO fact_inventory SELECT * FROM kept_fact_inventory WHERE store_id = 2 AND sku = 'sku-1'",
		"INSERT INTO fact_inventory VALUES (9, 'sku-1', 1, 'x', GETDATE()), (9, 'past', 1, 'x', "+january+")",
		"DELETE FROM fact_payments WHERE payment_id = 'payment-01'",
		"INSERT INTO fact_payments SELECT * FROM kept_fact_payments WHERE payment_id = 'payment-03'",
		"INSERT INTO fact_payments VALUES ('new', 'o', 'c', NULL, 1.00, 'card', 'x', NULL, 'x', GETDATE()), ('past', 'o', 'c', NULL, 1.00, 'card', 'x', NULL, 'x', "+january+")",
	)
	got := r.verify(largePage)
	r.only(got, "level missing", "level twice", "level not on the stream", "payment missing", "payment twice", "payment not on the stream")
	for kind, want := range map[string]string{
		"level missing": "1/sku-1", "level twice": "2/sku-1", "level not on the stream": "9/sku-1",
		"payment missing": "payment-01", "payment twice": "payment-03", "payment not on the stream": "new",
	} {
		if d := r.difference(got, kind); d.Key != want {
			r.T.Errorf("%s: %+v, want the key %s", kind, d, want)
		}
	}
	for _, f := range []event.Family{event.Inventory, event.Payments} {
		if c := got.Tables[f]; c.Missing != 1 || c.Surplus != 2 || c.Differing != 0 || c.Unverifiable != 1 {
			r.T.Errorf("%+v", c)
		}
	}
	r.restore()
}

// findsRollups changes minutes of payments.
func findsRollups(r *rig) {
	r.T.Helper()
	r.sql(
		"UPDATE agg_payments_minute SET amount = amount + 0.01 WHERE payment_method = 'card'",
		"UPDATE agg_payments_minute SET payment_count = payment_count + 1 WHERE payment_method = 'cash'",
		"DELETE FROM agg_payments_minute WHERE payment_method = 'app'",
		"INSERT INTO agg_payments_minute VALUES ("+january+", 'card', 'payment_completed', 0, 0.00)",
	)
	got := r.verify(largePage)
	r.only(got, "rollup differs")
	var keys []string
	for _, d := range got.Differences {
		keys = append(keys, d.Key[len("2026-11-20 08:00:00"):])
	}
	slices.Sort(keys)
	want := []string{"/app/payment_completed", "/card/payment_completed", "/card/payment_completed", "/cash/payment_completed"}
	if !slices.Equal(keys, want) || got.Tables[event.Payments].RollupsDiffering != 4 || got.Tables[event.Orders].RollupsDiffering != 0 {
		r.T.Errorf("rollups %q differ, want %q: %+v", keys, want, got.Tables)
	}
	r.restore()
}

// TestAFamilyThatIsLeftOut: any letter stands for its events, be it one of before
// the family was known, and what went with its table is not missed. Its rows are
// compared all the same where they are there.
func TestAFamilyThatIsLeftOut(t *testing.T) {
	t.Parallel()
	r := newRig(t, simulation.Options{Shards: 1})
	r.put(level(1), order("order-00", hour), level(2), level(3))
	r.load(4)
	r.shard = "shardId-000000000000"
	left := r.config()
	left.Families = []event.Family{event.Orders, event.Payments}
	compare := func() *verify.Report {
		c := left
		c.Letters = r.Letters().All(deadline(t))
		return r.verifyAt(c, largePage, time.Now())
	}
	r.store(letterAt(r.shard, r.places()[0], "unknown family"))
	r.sql("DELETE FROM fact_inventory WHERE store_id = 1")
	r.only(r.verify(largePage), "level missing")
	if report := compare(); !report.OK || report.Rejected != 1 || report.Facts != 3 {
		t.Errorf("%+v", *report)
	}
	r.sql("UPDATE fact_inventory SET quantity = 7 WHERE store_id = 2")
	r.only(compare(), "level differs")
	r.sql("DELETE FROM fact_inventory WHERE store_id = 2") // it has no letter
	r.only(compare(), "level missing")
	r.sql("DROP TABLE fact_inventory")
	if report := compare(); !report.OK || report.Rejected != 1 || report.Facts != 1 {
		t.Errorf("%+v", *report)
	}
}
