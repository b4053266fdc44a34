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

// Load runs one load, one transaction, and returns an Outcome for each move.
//
// A *StatementError means that nothing went in. After any other error the load
// may have gone in or not; loading the same batch again is safe and finds out.
func (w *Warehouse) Load(ctx context.Context, b Batch) ([]Outcome, error) {
	if len(b.Moves) == 0 {
		return nil, nil
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

func (w *Warehouse) run(ctx context.Context, b Batch) ([]Outcome, error) {
	fill, done, err := w.fill.Prepare(ctx, b.Rows)
	if err != nil {
		return nil, fmt.Errorf("prepare a load of %d rows: %w", len(b.Rows), err)
	}
	defer done()
	statements := loadStatements(b, fill)
	results, err := w.db.Run(ctx, Token(), statements)
	if err != nil {
		return nil, fmt.Errorf("load %d rows of %d shards: %w", len(b.Rows), len(b.Moves), err)
	}
	return outcomes(b, results[len(results)-1])
}

// Token names one attempt. A new one is drawn for each, also for a repeat of a
// load: what the Data API does with the token of a failed batch is not
// documented, and the fence makes repeats safe without it.
func Token() string { return "load-" + rand.Text() }

// loadStatements builds the transaction. It cannot branch, so the fence is a
// filter: everything after load_accepted works on the rows of accepted shards.
// The lock comes first, before anything that takes the transaction's snapshot.
func loadStatements(b Batch, fill []string) []string {
	out := []string{
		`LOCK TABLE worker_load_lock`,
		`CREATE TEMP TABLE load_proposed (move INTEGER, shard_id VARCHAR(128), term BIGINT,
 from_sequence VARCHAR(140), from_sub BIGINT, to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP)`,
	}
	out = append(out, proposals(b.Moves)...)
	out = append(out, `CREATE TEMP TABLE load_accepted AS
SELECT p.move, p.shard_id, p.to_sequence, p.to_sub, p.arrived_until
FROM load_proposed p JOIN worker_checkpoints c ON c.shard_id = p.shard_id
WHERE c.stream_name = `+Quote(b.Stream)+` AND c.term = p.term
 AND c.sequence_number = p.from_sequence AND c.sub_sequence_number = p.from_sub`,
		`CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, order_id VARCHAR(100), customer_id VARCHAR(100),
 store_id INTEGER, total_amount DECIMAL(10,2), item_count INTEGER, event_type VARCHAR(50), event_timestamp TIMESTAMP)`)
	out = append(out, fill...)
	out = append(out, transformStatements...)
	return append(out,
		`UPDATE worker_checkpoints SET sequence_number = a.to_sequence, sub_sequence_number = a.to_sub,
 arrived_until = COALESCE(a.arrived_until, worker_checkpoints.arrived_until), updated_at = GETDATE()
FROM load_accepted a
WHERE worker_checkpoints.stream_name = `+Quote(b.Stream)+` AND worker_checkpoints.shard_id = a.shard_id`,
		`SELECT p.move, CASE WHEN a.move IS NULL THEN 0 ELSE 1 END AS accepted,
 c.term, c.sequence_number, c.sub_sequence_number, COALESCE(s.changed, 0) AS changed
FROM load_proposed p
LEFT JOIN load_accepted a ON a.move = p.move
LEFT JOIN worker_checkpoints c ON c.stream_name = `+Quote(b.Stream)+` AND c.shard_id = p.shard_id
LEFT JOIN (SELECT move, COUNT(*) AS changed FROM load_staged GROUP BY move) s ON s.move = p.move
ORDER BY p.move`)
}

// transformStatements turn load_incoming into changes of the facts and of the
// rollups. They are the same for every load.
var transformStatements = []string{
	// The newest event of each order, over all accepted shards: an order that
	// moved to another shard may be in two. At equal event times the later one
	// in the stream wins.
	`CREATE TEMP TABLE load_newest AS
SELECT move, order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
FROM (SELECT i.*, ROW_NUMBER() OVER (PARTITION BY i.order_id ORDER BY i.event_timestamp DESC, i.ordinal DESC) AS recency
 FROM load_incoming i JOIN load_accepted a ON a.move = i.move) ranked
WHERE recency = 1`,
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
	// what is held and say something else.
	`CREATE TEMP TABLE load_staged AS
SELECT n.move, n.order_id, n.customer_id, n.store_id, n.total_amount, n.item_count, n.event_type, n.event_timestamp
FROM load_newest n LEFT JOIN load_held h ON h.order_id = n.order_id
WHERE h.order_id IS NULL OR n.event_timestamp > h.event_timestamp
 OR (n.event_timestamp = h.event_timestamp AND (n.customer_id <> h.customer_id OR n.store_id <> h.store_id
 OR n.total_amount <> h.total_amount OR n.item_count <> h.item_count OR n.event_type <> h.event_type))`,
	`CREATE TEMP TABLE load_replaced AS
SELECT h.order_id, h.store_id, h.total_amount, h.item_count, h.event_type, h.event_timestamp
FROM load_held h JOIN load_staged s ON s.order_id = h.order_id`,
	`CREATE TEMP TABLE load_delta AS
SELECT minute, store_id, event_type, CAST(SUM(orders) AS BIGINT) AS order_count,
 CAST(SUM(items) AS BIGINT) AS item_count, CAST(SUM(amount) AS DECIMAL(20,2)) AS revenue
FROM (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type,
  1 AS orders, item_count AS items, total_amount AS amount FROM load_staged
 UNION ALL
 SELECT DATE_TRUNC('minute', event_timestamp), store_id, event_type, -1, -item_count, -total_amount FROM load_replaced) changes
GROUP BY minute, store_id, event_type`,
	`DELETE FROM fact_orders USING load_replaced
WHERE fact_orders.order_id = load_replaced.order_id AND fact_orders.event_timestamp = load_replaced.event_timestamp`,
	`INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp)
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM load_staged`,
	`UPDATE agg_orders_minute SET order_count = agg_orders_minute.order_count + d.order_count,
 item_count = agg_orders_minute.item_count + d.item_count, revenue = agg_orders_minute.revenue + d.revenue
FROM load_delta d
WHERE agg_orders_minute.minute = d.minute AND agg_orders_minute.store_id = d.store_id AND agg_orders_minute.event_type = d.event_type`,
	`INSERT INTO agg_orders_minute (minute, store_id, event_type, order_count, item_count, revenue)
SELECT d.minute, d.store_id, d.event_type, d.order_count, d.item_count, d.revenue
FROM load_delta d LEFT JOIN agg_orders_minute a ON a.minute = d.minute AND a.store_id = d.store_id AND a.event_type = d.event_type
WHERE a.minute IS NULL AND d.order_count <> 0`,
	`DELETE FROM agg_orders_minute USING load_delta
WHERE agg_orders_minute.minute = load_delta.minute AND agg_orders_minute.store_id = load_delta.store_id
 AND agg_orders_minute.event_type = load_delta.event_type AND agg_orders_minute.order_count = 0`,
}

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

// outcomes reads the last statement's rows, one for each move.
func outcomes(b Batch, r Result) ([]Outcome, error) {
	if len(r.Rows) != len(b.Moves) {
		return nil, fmt.Errorf("load of %d shards: the warehouse answered for %d", len(b.Moves), len(r.Rows))
	}
	out := make([]Outcome, len(b.Moves))
	for i, row := range r.Rows {
		o, accepted, err := readOutcome(row)
		if err != nil {
			return nil, fmt.Errorf("load: answer for shard %s: %w", b.Moves[i].Shard, err)
		}
		m := b.Moves[i]
		switch {
		case accepted:
			o.Known = true
		case o.Term == m.Term && o.Position == m.To:
			// An earlier try of this very load went in and its reply was lost.
			o.Changed = 0
		default:
			o.Verdict = Refused
		}
		out[i] = o
	}
	return out, nil
}

func readOutcome(row []Value) (o Outcome, accepted bool, err error) {
	if len(row) != 6 {
		return o, false, fmt.Errorf("%d columns instead of 6", len(row))
	}
	accepted = row[1].Text == "1"
	if row[2].Null { // the shard has no checkpoint: never claimed, or the table was emptied
		return o, accepted, nil
	}
	if o.Term, err = strconv.ParseInt(row[2].Text, 10, 64); err != nil {
		return o, accepted, fmt.Errorf("term: %w", err)
	}
	sub, err := strconv.ParseInt(row[4].Text, 10, 64)
	if err != nil {
		return o, accepted, fmt.Errorf("sub_sequence_number: %w", err)
	}
	o.Position = stream.Position{Sequence: row[3].Text, Sub: sub}
	if o.Changed, err = strconv.ParseInt(row[5].Text, 10, 64); err != nil {
		return o, accepted, fmt.Errorf("changed: %w", err)
	}
	return o, accepted, nil
}
