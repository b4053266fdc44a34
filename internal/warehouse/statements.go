package warehouse

import (
	"fmt"
	"strings"
	"time"
)

// SharedRow names the one row of worker_checkpoints that belongs to no shard,
// by its stream and by its shard. Every load and every claim writes it, with the
// values that it has. Two transactions whose snapshots overlap have then both
// written one row, which is a conflict at every isolation level that Redshift
// has: one of them is rolled back and repeated. The LOCK makes loads wait for
// each other; this row makes them right, whenever the warehouse takes the
// snapshot. Who reads the table passes it over.
const SharedRow = "*"

// sharedSequence is where the shared row always stands.
const sharedSequence = "0"

// step is one statement of a load. Its name says what its result is read for.
type step struct{ name, sql string }

// The steps whose results are read.
const (
	answerStep = "answer" // how each move's checkpoint stands
	insertStep = "insert" // whose count is that of the rows written
)

// transaction is the load's statements in order.
type transaction []step

func (t transaction) sql() []string {
	out := make([]string, len(t))
	for i, s := range t {
		out[i] = s.sql
	}
	return out
}

// index is where the step of that name is, or -1.
func (t transaction) index(name string) int {
	for i, s := range t {
		if s.name == name {
			return i
		}
	}
	return -1
}

// beforeFill is how many statements of a load come before those of its fill.
const beforeFill = 2

// loadTransaction builds the transaction. It cannot branch, so the fence is a
// filter: rows go on only where their move is accepted. The checkpoints stay as
// they are until the last statement, so each accepts the same moves. But for the
// fill and the time, the text is the same for every load: a warehouse compiles
// it once.
func loadTransaction(rows bool, fill []string, now time.Time) transaction {
	t := transaction{ // of beforeFill statements
		{sql: `LOCK TABLE worker_load_lock`},
		{sql: `CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, order_id VARCHAR(100), customer_id VARCHAR(100),
 store_id INTEGER, total_amount DECIMAL(10,2), item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP,
 stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT, from_sequence VARCHAR(140), from_sub BIGINT,
 to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP)`},
	}
	for _, s := range fill {
		t = append(t, step{sql: s})
	}
	t = append(t, step{name: answerStep, sql: `SELECT p.move, c.term, c.sequence_number, c.sub_sequence_number
FROM load_incoming p LEFT JOIN worker_checkpoints c ON c.stream_name = p.stream_name AND c.shard_id = p.shard_id
WHERE p.shard_id <> '' ORDER BY p.move`})
	if rows { // else positions alone move: a shard's end, or records that are no orders
		t = append(t, step{sql: newestStatement})
		t = append(t, factSteps...)
		t = append(t, rollupSteps...)
	}
	return append(t, step{sql: `UPDATE worker_checkpoints SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = COALESCE(p.arrived_until, worker_checkpoints.arrived_until), updated_at = ` + timestampLiteral(now) + `
FROM load_incoming p
WHERE ` + accepts("worker_checkpoints")})
}

// accepts is true of a checkpoint, by the name that a statement gives it, that
// stands where a proposed move p starts, under its term. The lines of
// load_incoming that are rows name no stream, so no checkpoint is theirs.
func accepts(checkpoint string) string {
	return strings.ReplaceAll(`@.stream_name = p.stream_name AND @.shard_id = p.shard_id AND @.term = p.term
 AND @.sequence_number = p.from_sequence AND @.sub_sequence_number = p.from_sub`, "@", checkpoint)
}

// A line of load_incoming is a row, without a shard, or a move, without an
// order: COPY leaves the other's texts empty, INSERT leaves them NULL, and no
// order and no shard has an empty name.
var (
	// The newest event of each order, over all accepted shards: an order that
	// moved to another shard may be in two. At equal event times the later one
	// in the stream wins.
	newestStatement = `CREATE TEMP TABLE load_newest AS
SELECT ordinal, order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM (SELECT i.ordinal, i.order_id, i.customer_id, i.store_id, i.total_amount, i.item_count, i.event_type, i.event_timestamp,
  ROW_NUMBER() OVER (PARTITION BY i.order_id ORDER BY i.event_timestamp DESC, i.ordinal DESC) AS recency
 FROM load_incoming i JOIN load_incoming p ON p.move = i.move JOIN worker_checkpoints c ON ` + accepts("c") + `
 WHERE i.order_id <> '' AND p.shard_id <> '') ranked
WHERE recency = 1`
	// The statements that turn load_newest into changes of the facts.
	factSteps = transaction{
		// The only statement that looks orders up in the whole of fact_orders. It asks
		// for two columns, as warehouses store columns apart: what it costs grows with
		// the table. The event times that it finds are there to narrow all later
		// searches to the blocks that hold them.
		{sql: `CREATE TEMP TABLE load_found AS
SELECT f.order_id, f.event_timestamp FROM fact_orders f JOIN load_newest n ON n.order_id = f.order_id`},
		// What changes the warehouse: new orders, and events that are not older than
		// what is held and say something else. Beside them what goes. A row that comes
		// again after its position has moved on (its ordinal is negative) must not
		// replace what is equally old: that came later in the stream.
		{sql: `CREATE TEMP TABLE load_staged AS
SELECT n.order_id, n.customer_id, n.store_id, n.total_amount, n.item_count, n.event_type, n.event_timestamp,
 h.event_timestamp AS held_event_timestamp, h.store_id AS held_store_id, h.event_type AS held_event_type, h.item_count AS held_item_count, h.total_amount AS held_total_amount
FROM load_newest n LEFT JOIN (SELECT f.order_id, f.customer_id, f.store_id, f.total_amount, f.item_count, f.event_type, f.event_timestamp
 FROM fact_orders f JOIN load_found o ON o.order_id = f.order_id AND o.event_timestamp = f.event_timestamp) h ON h.order_id = n.order_id
WHERE h.event_timestamp IS NULL OR n.event_timestamp > h.event_timestamp
 OR (n.ordinal >= 0 AND n.event_timestamp = h.event_timestamp AND (n.customer_id <> h.customer_id OR n.store_id <> h.store_id OR n.total_amount <> h.total_amount OR n.item_count <> h.item_count OR n.event_type <> h.event_type))`},
		{sql: `DELETE FROM fact_orders USING load_staged
WHERE load_staged.held_event_timestamp IS NOT NULL AND fact_orders.order_id = load_staged.order_id AND fact_orders.event_timestamp = load_staged.held_event_timestamp`},
		{name: insertStep, sql: `INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp)
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM load_staged`},
	}
	// Rollups are replaced by what they come to. A group that comes to no orders
	// is no group of a GROUP BY, and goes.
	rollupSteps = transaction{
		{sql: `CREATE TEMP TABLE load_totals AS
SELECT d.minute, d.store_id, d.event_type, CAST(d.order_count + COALESCE(a.order_count, CAST(0 AS BIGINT)) AS BIGINT) AS order_count, CAST(d.item_count + COALESCE(a.item_count, CAST(0 AS BIGINT)) AS BIGINT) AS item_count, CAST(d.revenue + COALESCE(a.revenue, CAST(0 AS DECIMAL(20,2))) AS DECIMAL(20,2)) AS revenue
FROM (SELECT minute, store_id, event_type, CAST(SUM(order_count) AS BIGINT) AS order_count, CAST(SUM(item_count) AS BIGINT) AS item_count, CAST(SUM(revenue) AS DECIMAL(20,2)) AS revenue
 FROM (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type, 1 AS order_count, item_count AS item_count, total_amount AS revenue FROM load_staged
  UNION ALL
  SELECT DATE_TRUNC('minute', held_event_timestamp), held_store_id, held_event_type, -1, -held_item_count, -held_total_amount FROM load_staged WHERE held_event_timestamp IS NOT NULL) changes
 GROUP BY minute, store_id, event_type) d
LEFT JOIN agg_orders_minute a ON a.minute = d.minute AND a.store_id = d.store_id AND a.event_type = d.event_type`},
		{sql: `DELETE FROM agg_orders_minute USING load_totals
WHERE agg_orders_minute.minute = load_totals.minute AND agg_orders_minute.store_id = load_totals.store_id AND agg_orders_minute.event_type = load_totals.event_type`},
		{sql: `INSERT INTO agg_orders_minute (minute, store_id, event_type, order_count, item_count, revenue)
SELECT minute, store_id, event_type, order_count, item_count, revenue FROM load_totals WHERE order_count <> 0`},
	}
)

// proposal is a move as load_incoming holds it.
type proposal struct {
	index  int // the number by which rows name it
	stream string
	Move
}

// proposals are the batch's moves, and behind them that of the shared row.
func (b Batch) proposals() []proposal {
	out := make([]proposal, 0, len(b.Moves)+1)
	for i, m := range b.Moves {
		out = append(out, proposal{i, b.Stream, m})
	}
	shared := Move{Shard: SharedRow}
	shared.From.Sequence, shared.To.Sequence = sharedSequence, sharedSequence
	return append(out, proposal{len(b.Moves), SharedRow, shared})
}

const movesHead = "INSERT INTO load_incoming (move, stream_name, shard_id, term, from_sequence, from_sub, to_sequence, to_sub, arrived_until) VALUES "

// insertMoves inserts the batch's moves into load_incoming.
func insertMoves(b Batch) []string {
	proposals := b.proposals()
	values := make([]string, len(proposals))
	for i, p := range proposals {
		values[i] = fmt.Sprintf("(%d,%s,%s,%d,%s,%d,%s,%d,%s)", p.index, Quote(p.stream), Quote(p.Shard), p.Term,
			Quote(p.From.Sequence), p.From.Sub, Quote(p.To.Sequence), p.To.Sub, timestampLiteral(p.ArrivedUntil))
	}
	return insertValues(movesHead, values)
}

// insertValues packs rows, each already in parentheses, into as few statements
// of that beginning as the statement limit allows.
func insertValues(head string, rows []string) []string {
	var out []string
	var b strings.Builder
	for _, row := range rows {
		if b.Len() > 0 && b.Len()+len(row)+1 > maxStatementBytes {
			out = append(out, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString(head)
		} else {
			b.WriteByte(',')
		}
		b.WriteString(row)
	}
	if b.Len() > 0 {
		out = append(out, b.String())
	}
	return out
}
