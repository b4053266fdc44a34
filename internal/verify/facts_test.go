package verify_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// recorder passes statements on, and may act before one.
type recorder struct {
	warehouse.DB
	sql    []string
	before func(sql string)
}

func (d *recorder) Run(ctx context.Context, token string, statements []string) ([]warehouse.Result, error) {
	d.sql = append(d.sql, statements...)
	if d.before != nil {
		d.before(statements[0])
	}
	return d.DB.Run(ctx, token, statements)
}

func isPage(sql string) bool { return strings.HasPrefix(sql, "SELECT order_id, customer_id") }

// TestPagesMissNoRow: all orders lie in one hour, so that a page ends between any
// two of them, and each in turn stands twice. Its second row is never the one
// that no page has.
func TestPagesMissNoRow(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := loadedRig(t, url)
		for i := 3; i < 9; i++ {
			id := fmt.Sprintf("order-%02d", i)
			r.sql("INSERT INTO fact_orders SELECT * FROM kept_fact_orders WHERE order_id = '" + id + "'")
			report := r.verify(4)
			r.only(report, "order twice")
			if d := r.difference(report, "order twice"); report.Facts != goodOrders+1 || d.Key != id || report.Missing+report.Differing != 0 {
				t.Errorf("%s stands twice: %d facts were read, want %d; %+v", id, report.Facts, goodOrders+1, d)
			}
			r.sql("DELETE FROM fact_orders WHERE order_id = '"+id+"'", "INSERT INTO fact_orders SELECT * FROM kept_fact_orders WHERE order_id = '"+id+"'")
		}
	})
}

// TestPagesFollowTheSortKey: hours are packed into pages as far as they go, and
// the ranges leave nothing out.
func TestPagesFollowTheSortKey(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := newRig(t, simulation.Options{Warehouse: url})
		const hours, each = 20, 3
		for h := range hours {
			var values []string
			for i := range each {
				values = append(values, fmt.Sprintf("('o-%d-%d','c',1,1.00,1,'x','%s')", h, i, hour.Add(time.Duration(h)*time.Hour+time.Duration(i)*1234567*time.Microsecond).Format("2006-01-02 15:04:05.000000")))
			}
			r.sql(insertOrders + strings.Join(values, ", "))
		}
		for _, page := range []int{2, each, each + 1, 2 * each, 4*each + 1, largePage} {
			c, db := r.config(), &recorder{DB: r.DB}
			c.DB = db
			report := r.verifyAt(c, page, time.Now())
			pages := 0
			for _, sql := range db.sql {
				if isPage(sql) {
					pages++
				}
			}
			// A range that fills its page is asked for once more.
			if most := 2*hours*each/page + hours; report.Facts != hours*each || report.Surplus != 0 || page >= each && pages > most || page == largePage && pages != 1 {
				t.Errorf("pages of %d: %d facts in %d queries, surplus %d", page, report.Facts, pages, report.Surplus)
			}
		}
		r.sql("DROP TABLE fact_orders", strings.ReplaceAll(warehouse.Schema(warehouse.Redshift)[0].SQL, " NOT NULL", ""), "INSERT INTO fact_orders (order_id) VALUES ('timeless')")
		if _, err := verify.Run(deadline(t), r.config()); err == nil || !strings.Contains(err.Error(), "without an event_timestamp") {
			t.Errorf("a row without a time: %v", err)
		}
	})
}

// TestARowThatMovesIsNoDifference: workers replace rows while pages are read. The
// order is then read at both of its places.
func TestARowThatMovesIsNoDifference(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := loadedRig(t, url)
		r.put(order("late-1", hour.Add(3*time.Hour)), order("late-2", hour.Add(3*time.Hour)))
		r.load(2)
		r.put(order("order-00", hour.Add(4*time.Hour))) // a newer event, loaded behind the first page
		c, db := r.config(), &recorder{DB: r.DB}
		pages := 0
		db.before = func(sql string) {
			if isPage(sql) {
				pages++
			}
			if isPage(sql) && pages == 2 {
				db.before = nil
				r.load(1)
			}
		}
		c.DB = db
		report := r.verifyAt(c, goodOrders+1, time.Now())
		r.agrees(report)
		if report.Facts != goodOrders+3 {
			t.Errorf("%d facts were read, want each of %d orders and one of them twice", report.Facts, goodOrders+2)
		}
	})
}

// TestBlanksAtTheEndDoNotCount: as Redshift compares, rows that differ in them are
// one order, and say the same.
func TestBlanksAtTheEndDoNotCount(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		r := loadedRig(t, url)
		r.sql("UPDATE fact_orders SET customer_id = 'c  ' WHERE order_id = 'order-01'")
		r.agrees(r.verify(4))
		r.sql("INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp) SELECT order_id || ' ', customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM kept_fact_orders WHERE order_id = 'order-02'")
		for _, page := range []int{3, 4, 5, largePage} {
			report := r.verify(page)
			r.only(report, "order twice")
			if report.Facts != goodOrders+1 {
				t.Errorf("pages of %d: %d facts were read, want %d", page, report.Facts, goodOrders+1)
			}
		}
	})
}

// TestProgressIsTold: a long comparison says what it does.
func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	r := loadedRig(t, "")
	c := r.config()
	var told []string
	c.Tell = func(doing string) { told = append(told, doing) }
	r.agrees(r.verifyAt(c, largePage, time.Now()))
	all := strings.Join(told, "\n")
	for _, want := range []string{"counting rows of fact_orders", "read 24 rows of fact_orders", "records of shard", "comparing rollups"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not told: %s", want, all)
		}
	}
}
