package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// report is one named query. Its SQL runs on Redshift, PostgreSQL and DuckDB
// alike: no DATEDIFF (PostgreSQL has none), no CURRENT_TIMESTAMP (Redshift
// refuses it beside a table).
type report struct {
	name, about string
	columns     string // with the FROM
	groupBy     string // what follows WHERE; may be empty
	timeColumn  string // that --since is about; empty = not taken
	byStore     bool   // whether --store is taken
	plot        string // column whose values make good bars; empty = none
	finish      func(warehouse.Result) warehouse.Result
}

func reports(in warehouse.Names) []report {
	facts, minutes := in.Orders()
	levels, payments := in.Of(warehouse.FactsOf(event.Inventory).Name), warehouse.FactsOf(event.Payments)
	paid, paidMinutes := in.Of(payments.Name), in.Of(payments.Rollup.Name)
	checkpoints := in.Of(warehouse.CheckpointTable)
	return []report{
		{
			name: "top-stores", about: "stores by revenue",
			columns:    "store_id, COUNT(*) AS order_count, SUM(total_amount) AS revenue FROM " + facts,
			groupBy:    "GROUP BY store_id ORDER BY revenue DESC, store_id",
			timeColumn: "event_timestamp", byStore: true, plot: "revenue",
		},
		{
			name: "orders-over-time", about: "orders and revenue by the hour, newest first",
			columns:    "DATE_TRUNC('hour', event_timestamp) AS hour, COUNT(*) AS order_count, SUM(total_amount) AS revenue FROM " + facts,
			groupBy:    "GROUP BY 1 ORDER BY hour DESC",
			timeColumn: "event_timestamp", byStore: true, plot: "order_count",
		},
		{
			name: "event-types", about: "orders by the type of their newest event",
			columns: `event_type, COUNT(*) AS order_count, SUM(total_amount) AS revenue,
 MIN(event_timestamp) AS oldest, MAX(event_timestamp) AS newest FROM ` + facts,
			groupBy:    "GROUP BY event_type ORDER BY order_count DESC, event_type",
			timeColumn: "event_timestamp", byStore: true, plot: "order_count",
		},
		{
			name: "minutes", about: "the one-minute rollups, newest first",
			columns: `minute, SUM(order_count) AS order_count, SUM(item_count) AS item_count, SUM(revenue) AS revenue
FROM ` + minutes,
			groupBy:    "GROUP BY minute ORDER BY minute DESC",
			timeColumn: "minute", byStore: true, plot: "order_count",
		},
		{
			name: "stock", about: "levels of inventory, the lowest first",
			columns:    "store_id, sku, quantity, event_type, event_timestamp FROM " + levels,
			groupBy:    "ORDER BY quantity, store_id, sku",
			timeColumn: "event_timestamp", byStore: true, plot: "quantity",
		},
		{
			name: "payments", about: "payments by minute and method, and how many are flagged, newest first",
			columns: `minute, payment_method, SUM(payment_count) AS payment_count, SUM(amount) AS amount,
 SUM(CASE WHEN event_type LIKE 'payment_flagged%' THEN payment_count ELSE 0 END) AS flagged FROM ` + paidMinutes,
			groupBy:    "GROUP BY minute, payment_method ORDER BY minute DESC, payment_method",
			timeColumn: "minute", plot: "payment_count",
		},
		{
			name: "unpaid", about: "orders without a completed payment, and payments without an order, the oldest first",
			columns: `unpaid, order_id, payment_id, amount, event_type, payment_status, event_timestamp FROM (
 SELECT 'order' AS unpaid, o.order_id, p.payment_id, o.total_amount AS amount, o.event_type, p.payment_status, o.event_timestamp
 FROM ` + facts + ` o LEFT JOIN (SELECT order_id, payment_id, status AS payment_status,
  ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY CASE WHEN status = 'completed' THEN 0 ELSE 1 END, event_timestamp DESC, payment_id DESC) AS place
  FROM ` + paid + `) p ON p.order_id = o.order_id AND p.place = 1
 WHERE COALESCE(p.payment_status, '') <> 'completed' AND o.event_type NOT IN ('order_cancelled', 'order_refunded')
 UNION ALL
 SELECT 'payment', p.order_id, p.payment_id, p.amount, p.event_type, p.status, p.event_timestamp
 FROM ` + paid + ` p LEFT JOIN ` + facts + ` o ON o.order_id = p.order_id WHERE o.order_id IS NULL) open_items`,
			groupBy:    "ORDER BY event_timestamp, order_id",
			timeColumn: "event_timestamp",
		},
		{
			name: "freshness", about: "how far each shard is loaded, the oldest first",
			columns: "stream_name, shard_id, sequence_number, arrived_until, updated_at FROM " + checkpoints,
			groupBy: "WHERE stream_name <> '" + warehouse.SharedRow + "' ORDER BY arrived_until, stream_name, shard_id",
			finish:  func(in warehouse.Result) warehouse.Result { return withAge(in, time.Now()) },
		},
		{
			name: "load-errors", about: "rows that COPY refused in the last 7 days, newest first (Redshift's SYS_LOAD_ERROR_DETAIL)",
			columns: `start_time, TRIM(file_name) AS file_name, line_number, TRIM(column_name) AS column_name,
 TRIM(error_message) AS error_message FROM sys_load_error_detail`,
			groupBy:    "ORDER BY start_time DESC, line_number",
			timeColumn: "start_time",
		},
	}
}

func (r report) query(o reportOptions) string {
	var where []string
	if !o.from.IsZero() {
		where = append(where, r.timeColumn+" >= '"+o.from.UTC().Format("2006-01-02 15:04:05.000000")+"'")
	}
	if o.store != "" {
		where = append(where, "store_id = "+strconv.FormatInt(o.storeID, 10))
	}
	sql := "SELECT " + r.columns
	if len(where) > 0 {
		sql += "\nWHERE " + strings.Join(where, " AND ")
	}
	return fmt.Sprintf("%s\n%s LIMIT %d", sql, r.groupBy, o.limit)
}

// withAge adds how many seconds each shard is behind. The warehouse's own clock is
// not asked: GETDATE() is in the time zone of the session, arrivals are in UTC.
func withAge(in warehouse.Result, now time.Time) warehouse.Result {
	const arrived = 3
	out := warehouse.Result{Columns: append(in.Columns[:len(in.Columns):len(in.Columns)], "age_seconds")}
	if in.Types != nil {
		out.Types = append(in.Types[:len(in.Types):len(in.Types)], "float8")
	}
	for _, row := range in.Rows {
		age := warehouse.Value{Null: true}
		if from, err := warehouse.ParseTimestamp(row[arrived].Text); err == nil {
			age = warehouse.Value{Text: strconv.FormatFloat(now.Sub(from).Round(time.Millisecond).Seconds(), 'f', -1, 64)}
		}
		out.Rows = append(out.Rows, append(row[:len(row):len(row)], age))
	}
	return out
}

// narrow leaves out of a table what is long and the same in every row: the stream's
// name, and of ids and positions all but their ends.
func narrow(in warehouse.Result) warehouse.Result {
	short := map[string]func(string) string{"shard_id": shortShard, "sequence_number": shortPosition, "age_seconds": shortAge}
	keep := make([]int, 0, len(in.Columns))
	out := warehouse.Result{}
	for i, c := range in.Columns {
		if c == "stream_name" && len(in.Rows) > 0 && !slices.ContainsFunc(in.Rows, func(row []warehouse.Value) bool { return row[i] != in.Rows[0][i] }) {
			continue
		}
		keep = append(keep, i)
		out.Columns = append(out.Columns, c)
		if i < len(in.Types) {
			out.Types = append(out.Types, in.Types[i])
		}
	}
	for _, row := range in.Rows {
		cells := make([]warehouse.Value, len(keep))
		for n, i := range keep {
			cells[n] = row[i]
			if shorten := short[in.Columns[i]]; shorten != nil && !row[i].Null {
				cells[n].Text = shorten(row[i].Text)
			}
		}
		out.Rows = append(out.Rows, cells)
	}
	return out
}

// shortAge is a number of seconds without digits that nobody reads.
func shortAge(text string) string {
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		return perSecond(v)
	}
	return text
}

// barWidth is the longest bar of a plot, in characters.
const barWidth = 30

// barRoom is how long bars may be beside the other columns of a table, in so many
// characters; 0 = there is no room. Without columns there is no end of room.
func barRoom(in warehouse.Result, heading string, columns int) int {
	if columns == 0 {
		return barWidth
	}
	for i, name := range in.Columns {
		widest := len([]rune(name))
		for _, row := range in.Rows {
			widest = max(widest, len([]rune(row[i].Text)))
		}
		columns -= widest + 2
	}
	if columns < len([]rune(heading)) {
		return 0
	}
	return min(barWidth, columns)
}

// withBars adds a column of bars, as long as the named column says, where a line of so
// many characters has room for them.
func withBars(in warehouse.Result, column string, columns int) warehouse.Result {
	width := barRoom(in, column, columns)
	if width == 0 {
		return in
	}
	at := -1
	for i, c := range in.Columns {
		if c == column {
			at = i
		}
	}
	values, most := make([]float64, len(in.Rows)), 0.0
	for i, row := range in.Rows {
		if at >= 0 && !row[at].Null {
			values[i], _ = strconv.ParseFloat(row[at].Text, 64) // what is no number has no bar
		}
		most = max(most, values[i])
	}
	out := warehouse.Result{Columns: append(in.Columns[:len(in.Columns):len(in.Columns)], column), Types: in.Types}
	for i, row := range in.Rows {
		n := 0
		if most > 0 {
			n = max(0, int(values[i]/most*float64(width)*2))
		}
		// Half a character is the finest that every terminal font draws.
		text := strings.Repeat("█", n/2) + strings.Repeat("▌", n%2)
		out.Rows = append(out.Rows, append(row[:len(row):len(row)], warehouse.Value{Text: text}))
	}
	return out
}
