package warehouse

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Limits of the Redshift Data API for one batch, which is one transaction:
// 40 statements of up to 100 KB each. The byte limit is kept with a margin, as
// AWS does not say whether KB means 1000 or 1024 bytes.
const (
	maxStatements     = 40
	maxStatementBytes = 99_000
)

// Fill brings rows into the temporary table load_incoming by statements that
// become part of the load's transaction.
type Fill interface {
	// Fits tells how many of the leading rows one load can take, at least 1.
	Fits(rows []Row) int
	// Prepare returns the statements for the rows, at most fillStatements of
	// them. done is called once the load has ended, in whatever way.
	Prepare(ctx context.Context, rows []Row) (statements []string, done func(), err error)
}

// fixedStatements is how many statements of a load are not the fill's, with a
// few to spare for the moves of very many shards.
const (
	fixedStatements = 20
	fillStatements  = maxStatements - fixedStatements
)

// Warehouse loads batches through a DB. Its methods may be called concurrently.
type Warehouse struct {
	db   DB
	fill Fill
}

// New returns a Warehouse that fills loads with fill.
func New(db DB, fill Fill) *Warehouse { return &Warehouse{db: db, fill: fill} }

// Fits tells how many of the leading rows one load can take.
func (w *Warehouse) Fits(rows []Row) int { return w.fill.Fits(rows) }

// Load runs one load, one transaction, and returns what became of each move.
//
// A *StatementError means that nothing went in. After any other error the load
// may have gone in or not; loading the same batch again is safe and finds out.
func (w *Warehouse) Load(ctx context.Context, b Batch) (Loaded, error) {
	if len(b.Moves) == 0 {
		return Loaded{}, nil
	}
	return w.run(ctx, b)
}

// Probe runs a load that changes nothing but goes every way that a load goes:
// it locks, fills (with one row that belongs to no shard) and joins. It tells a
// warehouse that refuses everything from one that refuses a certain row.
func (w *Warehouse) Probe(ctx context.Context, sample Row) error {
	sample.Move = -1
	_, err := w.run(ctx, Batch{Rows: []Row{sample}})
	return err
}

func (w *Warehouse) run(ctx context.Context, b Batch) (Loaded, error) {
	fill, done, err := w.fill.Prepare(ctx, b.Rows)
	if err != nil {
		return Loaded{}, fmt.Errorf("prepare a load of %d rows: %w", len(b.Rows), err)
	}
	defer done()
	t := loadTransaction(b, fill)
	results, err := w.db.Run(ctx, Token(), t.statements)
	if err != nil {
		return Loaded{}, fmt.Errorf("load %d rows of %d shards: %w", len(b.Rows), len(b.Moves), err)
	}
	written := int64(0)
	if t.written >= 0 {
		written = results[t.written].Affected
	}
	return loaded(b, results[t.answer], written)
}

// Token names one attempt. A new one is drawn for each, also for a repeat of a
// load: what the Data API does with the token of a failed batch is not
// documented, and the fence makes repeats safe without it.
func Token() string { return "load-" + rand.Text() }

// transaction is the load's statements, and where two of their results are.
type transaction struct {
	statements []string
	answer     int // the query for what becomes of the moves
	written    int // the statement whose count is that of the rows written; -1 where none are
}

// loadTransaction builds the transaction. It cannot branch, so the fence is a
// filter: rows go on only where the shard is accepted. The lock comes first,
// before anything that takes the transaction's snapshot. The checkpoints stay as
// they are until the last statement, so each accepts the same shards.
func loadTransaction(b Batch, fill []string) transaction {
	// accepts is true of a checkpoint, by the name that a statement gives it, that
	// stands where a proposed move p starts, under its term.
	accepts := func(checkpoint string) string {
		return strings.ReplaceAll(`@.stream_name = `, "@", checkpoint) + Quote(b.Stream) + strings.ReplaceAll(` AND @.shard_id = p.shard_id AND @.term = p.term
 AND @.sequence_number = p.from_sequence AND @.sub_sequence_number = p.from_sub`, "@", checkpoint)
	}
	out := []string{
		`LOCK TABLE worker_load_lock`,
		`CREATE TEMP TABLE load_proposed (move INTEGER, shard_id VARCHAR(128), term BIGINT,
 from_sequence VARCHAR(140), from_sub BIGINT, to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP)`,
	}
	out = append(out, proposals(b.Moves)...)
	t := transaction{answer: len(out), written: -1}
	out = append(out, `SELECT p.move, c.term, c.sequence_number, c.sub_sequence_number
FROM load_proposed p LEFT JOIN worker_checkpoints c ON c.stream_name = `+Quote(b.Stream)+` AND c.shard_id = p.shard_id
ORDER BY p.move`)
	if len(fill) > 0 { // else positions alone move: a shard's end, or records that are no orders
		out = append(out, `CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, order_id VARCHAR(100), customer_id VARCHAR(100),
 store_id INTEGER, total_amount DECIMAL(10,2), item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP)`)
		out = append(out, fill...)
		// The newest event of each order, over all accepted shards: an order that
		// moved to another shard may be in two. At equal event times the later one
		// in the stream wins.
		out = append(out, `CREATE TEMP TABLE load_newest AS
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM (SELECT i.*, ROW_NUMBER() OVER (PARTITION BY i.order_id ORDER BY i.event_timestamp DESC, i.ordinal DESC) AS recency
 FROM load_incoming i JOIN load_proposed p ON p.move = i.move JOIN worker_checkpoints c ON `+accepts("c")+`) ranked
WHERE recency = 1`)
		out = append(out, findStatements...)
		out = append(out, replaceStatement)
		t.written = len(out)
		out = append(out, insertStatement)
		out = append(out, rollupStatements...)
	}
	out = append(out, `UPDATE worker_checkpoints SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = COALESCE(p.arrived_until, worker_checkpoints.arrived_until), updated_at = GETDATE()
FROM load_proposed p
WHERE `+accepts("worker_checkpoints"))
	t.statements = out
	return t
}

// The statements that turn load_newest into changes of the facts and of the
// rollups. They are the same for every load.
var (
	findStatements = []string{
		// The only statement that looks orders up in the whole of fact_orders. It asks
		// for two columns, as warehouses store columns apart: what it costs grows with
		// the table. The event times that it finds narrow all later searches to the
		// blocks that hold them.
		`CREATE TEMP TABLE load_found AS
SELECT f.order_id, f.event_timestamp FROM fact_orders f JOIN load_newest n ON n.order_id = f.order_id`,
		`CREATE TEMP TABLE load_held AS
SELECT f.order_id, f.customer_id, f.store_id, f.total_amount, f.item_count, f.event_type, f.event_timestamp
FROM fact_orders f JOIN load_found o ON o.order_id = f.order_id AND o.event_timestamp = f.event_timestamp`,
		// What changes the warehouse: new orders, and events that are not older than
		// what is held and say something else. Beside them what goes.
		`CREATE TEMP TABLE load_staged AS
SELECT n.order_id, n.customer_id, n.store_id, n.total_amount, n.item_count, n.event_type, n.event_timestamp,
 h.store_id AS held_store_id, h.total_amount AS held_amount, h.item_count AS held_items, h.event_type AS held_type, h.event_timestamp AS held_at
FROM load_newest n LEFT JOIN load_held h ON h.order_id = n.order_id
WHERE h.order_id IS NULL OR n.event_timestamp > h.event_timestamp
 OR (n.event_timestamp = h.event_timestamp AND (n.customer_id <> h.customer_id OR n.store_id <> h.store_id
 OR n.total_amount <> h.total_amount OR n.item_count <> h.item_count OR n.event_type <> h.event_type))`,
	}
	replaceStatement = `DELETE FROM fact_orders USING load_staged
WHERE load_staged.held_at IS NOT NULL AND fact_orders.order_id = load_staged.order_id AND fact_orders.event_timestamp = load_staged.held_at`
	insertStatement = `INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp)
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM load_staged`
	// Rollups are replaced by what they come to. A group that comes to no orders
	// is no group of a GROUP BY, and goes.
	rollupStatements = []string{
		`CREATE TEMP TABLE load_totals AS
SELECT d.minute, d.store_id, d.event_type, d.orders + COALESCE(a.order_count, 0) AS order_count,
 d.items + COALESCE(a.item_count, 0) AS item_count, CAST(d.amount + COALESCE(a.revenue, 0) AS DECIMAL(20,2)) AS revenue
FROM (SELECT minute, store_id, event_type, CAST(SUM(orders) AS BIGINT) AS orders,
  CAST(SUM(items) AS BIGINT) AS items, CAST(SUM(amount) AS DECIMAL(20,2)) AS amount
 FROM (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type,
   1 AS orders, item_count AS items, total_amount AS amount FROM load_staged
  UNION ALL
  SELECT DATE_TRUNC('minute', held_at), held_store_id, held_type, -1, -held_items, -held_amount FROM load_staged WHERE held_at IS NOT NULL) changes
 GROUP BY minute, store_id, event_type) d
LEFT JOIN agg_orders_minute a ON a.minute = d.minute AND a.store_id = d.store_id AND a.event_type = d.event_type`,
		`DELETE FROM agg_orders_minute USING load_totals
WHERE agg_orders_minute.minute = load_totals.minute AND agg_orders_minute.store_id = load_totals.store_id
 AND agg_orders_minute.event_type = load_totals.event_type`,
		`INSERT INTO agg_orders_minute (minute, store_id, event_type, order_count, item_count, revenue)
SELECT minute, store_id, event_type, order_count, item_count, revenue FROM load_totals WHERE order_count <> 0`,
	}
)

// proposals inserts the moves into load_proposed.
func proposals(moves []Move) []string {
	values := make([]string, len(moves))
	for i, m := range moves {
		values[i] = fmt.Sprintf("(%d,%s,%d,%s,%d,%s,%d,%s)", i, Quote(m.Shard), m.Term,
			Quote(m.From.Sequence), m.From.Sub, Quote(m.To.Sequence), m.To.Sub, timestampLiteral(m.ArrivedUntil))
	}
	return insertValues("load_proposed", values)
}

// insertValues packs rows, each already in parentheses, into as few INSERT
// statements as the statement limit allows.
func insertValues(table string, rows []string) []string {
	var out []string
	var b strings.Builder
	for _, row := range rows {
		if b.Len() > 0 && b.Len()+len(row)+1 > maxStatementBytes {
			out = append(out, b.String())
			b.Reset()
		}
		if b.Len() == 0 {
			b.WriteString("INSERT INTO " + table + " VALUES ")
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

// loaded reads the answer, a row for each move, of how things stood before.
func loaded(b Batch, r Result, written int64) (Loaded, error) {
	if len(r.Rows) != len(b.Moves) {
		return Loaded{}, fmt.Errorf("load of %d shards: the warehouse answered for %d", len(b.Moves), len(r.Rows))
	}
	out := Loaded{Outcomes: make([]Outcome, len(b.Moves)), Changed: written}
	for i, row := range r.Rows {
		m := b.Moves[i]
		o, err := readOutcome(row)
		if err != nil {
			return Loaded{}, fmt.Errorf("load: answer for shard %s: %w", m.Shard, err)
		}
		switch {
		case o.Term == m.Term && o.Position == m.From:
			o.Position = m.To
		case o.Term == m.Term && o.Position == m.To:
			// An earlier try of this very load went in and its reply was lost.
			out.Changed = -1
		default:
			o.Verdict = Refused
		}
		out.Outcomes[i] = o
	}
	return out, nil
}

func readOutcome(row []Value) (o Outcome, err error) {
	if len(row) != 4 {
		return o, fmt.Errorf("%d columns instead of 4", len(row))
	}
	if row[1].Null { // the shard has no checkpoint: never claimed, or the table was emptied
		return o, nil
	}
	if o.Term, err = strconv.ParseInt(row[1].Text, 10, 64); err != nil {
		return o, fmt.Errorf("term: %w", err)
	}
	sub, err := strconv.ParseInt(row[3].Text, 10, 64)
	if err != nil {
		return o, fmt.Errorf("sub_sequence_number: %w", err)
	}
	o.Position = stream.Position{Sequence: row[2].Text, Sub: sub}
	return o, nil
}
