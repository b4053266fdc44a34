package verify

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// factsPage is how many rows one query returns: up to 310 bytes each, so some
// 10 MB of Redshift's 500 MB a result, and 60 MB of our memory.
const factsPage = 100_000

// doubledKept bounds the orders that are reported as standing twice.
const doubledKept = 1000

// span is a range of event times, from one hour to before another. The zero time
// is no bound.
type span struct{ from, to time.Time }

// readFacts reads all of fact_orders, by ranges of the sort key: a page by
// order_id would have the warehouse sort the rest of the table each time, and
// Redshift skips blocks by comparing times with literals.
//
// Each page is a snapshot of its own. Workers that load meanwhile replace rows by
// later ones only, and the ranges are read in the order of time: a row that
// moves is read twice, and never missed. Whether an order stands twice is
// therefore asked in one statement, which looks at orders as the warehouse
// compares them: on Redshift blanks at the end do not count.
func (v *verifier) readFacts(ctx context.Context) error {
	spans, err := v.spans(ctx)
	if err != nil {
		return err
	}
	for _, s := range spans {
		if err := v.readSpan(ctx, s); err != nil {
			return err
		}
	}
	return v.readDoubled(ctx)
}

// spans packs hours into ranges of at most a page's rows, as far as hours allow.
// The first and the last are open: what is loaded meanwhile may lie beyond.
func (v *verifier) spans(ctx context.Context) ([]span, error) {
	v.Tell("counting facts")
	r, err := v.query(ctx, "facts", `SELECT DATE_TRUNC('hour', event_timestamp) AS hour_of, COUNT(*) AS orders FROM fact_orders GROUP BY 1 ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	out, held := []span{{}}, 0
	for _, row := range r.Rows {
		if row[0].Null {
			return nil, fmt.Errorf("fact_orders holds %s rows without an event_timestamp, which no worker writes", row[1].Text)
		}
		hour, err := warehouse.ParseTimestamp(row[0].Text)
		if err != nil {
			return nil, fmt.Errorf("an hour of fact_orders: %w", err)
		}
		n, err := strconv.Atoi(row[1].Text)
		if err != nil {
			return nil, fmt.Errorf("rows of an hour of fact_orders: %w", err)
		}
		if held > 0 && held+n > v.page {
			out[len(out)-1].to = hour
			out, held = append(out, span{from: hour}), 0
		}
		held += n
	}
	return out, nil
}

// readSpan reads the rows of a range. A range of more than a page is read in the
// order of order_id. The last order of a full page may go on behind it, so its
// rows are left to the next page.
func (v *verifier) readSpan(ctx context.Context, s span) error {
	begin := "" // the first order of the page
	for {
		r, err := v.query(ctx, "facts", factsSQL(s, begin, v.page))
		if err != nil {
			return err
		}
		rows, full := r.Rows, len(r.Rows) == v.page
		if full {
			n := len(rows) - 1
			for n > 0 && sameOrder(rows[n-1][0].Text, rows[len(rows)-1][0].Text) {
				n--
			}
			if n == 0 {
				return fmt.Errorf("fact_orders holds order %q at least %d times", rows[0][0].Text, len(rows))
			}
			rows, begin = rows[:n], rows[n][0].Text
		}
		if err := v.addFacts(rows); err != nil {
			return err
		}
		v.Tell(fmt.Sprintf("read %d facts", v.report.Facts))
		if !full {
			return nil
		}
	}
}

func factsSQL(s span, begin string, limit int) string {
	var where []string
	if !s.from.IsZero() {
		where = append(where, "event_timestamp >= "+hourLiteral(s.from))
	}
	if !s.to.IsZero() {
		where = append(where, "event_timestamp < "+hourLiteral(s.to))
	}
	if begin != "" {
		where = append(where, "order_id >= "+warehouse.Quote(begin))
	}
	sql := "SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM fact_orders"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	return sql + " ORDER BY order_id LIMIT " + strconv.Itoa(limit)
}

func hourLiteral(t time.Time) string { return "'" + t.UTC().Format(time.DateTime) + "'" }

func (v *verifier) addFacts(rows [][]warehouse.Value) error {
	for _, row := range rows {
		f, err := readFact(row)
		if err != nil {
			return fmt.Errorf("fact_orders, order %q: %w", row[0].Text, err)
		}
		if err := v.spool.add(keyOf(f.OrderID), entry{kind: kindFact, order: f}); err != nil {
			return err
		}
		v.report.Facts++
	}
	return nil
}

// readDoubled asks which orders stand more than once.
func (v *verifier) readDoubled(ctx context.Context) error {
	v.Tell("looking for orders that stand twice")
	r, err := v.query(ctx, "orders that stand twice", `SELECT order_id, COUNT(*) AS copies FROM fact_orders GROUP BY order_id HAVING COUNT(*) > 1
ORDER BY 2 DESC, 1 LIMIT `+strconv.Itoa(doubledKept))
	if err != nil {
		return err
	}
	v.doubled = make(map[string]bool, len(r.Rows))
	for _, row := range r.Rows {
		n, err := strconv.ParseInt(row[1].Text, 10, 64)
		if err != nil {
			return fmt.Errorf("copies of order %q: %w", row[0].Text, err)
		}
		v.doubled[keyOf(row[0].Text)] = true
		v.report.Surplus += n - 1
		v.report.note(Difference{Kind: "order twice", Key: row[0].Text, Warehouse: fmt.Sprintf("%d rows of fact_orders", n)})
	}
	return nil
}

// keyOf is the order that an order_id names: Redshift does not count blanks at
// the end when it compares.
func keyOf(id string) string { return strings.TrimRight(id, " ") }

func sameOrder(a, b string) bool { return keyOf(a) == keyOf(b) }

// sameRow reports whether two rows are equal as Redshift compares them.
func sameRow(a, b event.Order) bool { return trimmed(a) == trimmed(b) }

func trimmed(o event.Order) event.Order {
	o.OrderID, o.CustomerID, o.EventType = keyOf(o.OrderID), keyOf(o.CustomerID), keyOf(o.EventType)
	return o
}

func readFact(row []warehouse.Value) (o event.Order, err error) {
	if len(row) != 7 {
		return o, fmt.Errorf("%d columns instead of 7", len(row))
	}
	o.OrderID, o.CustomerID, o.EventType = row[0].Text, row[1].Text, row[5].Text
	store, err := strconv.ParseInt(row[2].Text, 10, 32)
	if err != nil {
		return o, fmt.Errorf("store_id: %w", err)
	}
	items, err := strconv.ParseInt(row[4].Text, 10, 32)
	if err != nil {
		return o, fmt.Errorf("item_count: %w", err)
	}
	o.StoreID, o.ItemCount = int32(store), int32(items)
	if o.AmountCents, err = warehouse.ParseCents(row[3].Text); err != nil {
		return o, fmt.Errorf("total_amount: %w", err)
	}
	at, err := warehouse.ParseTimestamp(row[6].Text)
	if err != nil {
		return o, fmt.Errorf("event_timestamp: %w", err)
	}
	o.EventTime = at.UnixMicro()
	return o, nil
}
