package warehouse

import "strings"

// Dialect is the SQL of one engine, as far as table definitions go. Everything
// else that this package says is understood by all of them.
type Dialect string

// The engines that schemas are written for.
const (
	Redshift   Dialect = "redshift"
	PostgreSQL Dialect = "postgres"
	DuckDB     Dialect = "duckdb"
)

// Dialects lists them.
func Dialects() []Dialect { return []Dialect{Redshift, PostgreSQL, DuckDB} }

// Tables are the tables that the worker writes.
func Tables() []string {
	return []string{"fact_orders", "agg_orders_minute", "worker_checkpoints", "worker_load_lock"}
}

// Statement is one statement of a schema and the reason it is there.
type Statement struct {
	Comment string
	SQL     string
}

// Schema returns the statements that create what the worker needs. Running them
// again changes nothing.
func Schema(d Dialect) []Statement {
	factKeys, aggKeys, checkpointKeys := "", "", ""
	primary := func(cols string) string { return ",\n    PRIMARY KEY (" + cols + ")" }
	tail := map[string]string{}
	if d == Redshift {
		// Declared keys are not enforced by Redshift but believed by its planner,
		// so none is declared.
		primary = func(string) string { return "" }
		tail = map[string]string{
			"fact": "\nDISTKEY (order_id)\nSORTKEY (event_timestamp)",
			"agg":  "\nDISTSTYLE EVEN\nSORTKEY (minute)",
			"ckpt": "\nDISTSTYLE ALL",
		}
	}
	factKeys = primary("order_id") + "\n)" + tail["fact"]
	aggKeys = primary("minute, store_id, event_type") + "\n)" + tail["agg"]
	checkpointKeys = primary("stream_name, shard_id") + "\n)" + tail["ckpt"]

	out := []Statement{
		{factComment(d), `CREATE TABLE IF NOT EXISTS fact_orders (
    order_id VARCHAR(100) NOT NULL,
    customer_id VARCHAR(100) NOT NULL,
    store_id INTEGER NOT NULL,
    total_amount DECIMAL(10,2) NOT NULL,
    item_count INTEGER NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    event_timestamp TIMESTAMP NOT NULL` + factKeys},
		{"One row a minute, store and event type: always equal to a GROUP BY over fact_orders.", `CREATE TABLE IF NOT EXISTS agg_orders_minute (
    minute TIMESTAMP NOT NULL,
    store_id INTEGER NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    order_count BIGINT NOT NULL,
    item_count BIGINT NOT NULL,
    revenue DECIMAL(20,2) NOT NULL` + aggKeys},
		{"How far each shard is loaded. It moves in the transaction that loads the rows.", `CREATE TABLE IF NOT EXISTS worker_checkpoints (
    stream_name VARCHAR(128) NOT NULL,
    shard_id VARCHAR(128) NOT NULL,
    term BIGINT NOT NULL,
    sequence_number VARCHAR(140) NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    arrived_until TIMESTAMP,
    updated_at TIMESTAMP NOT NULL` + checkpointKeys},
		{
			"Holds nothing. Loads lock it, so that they come one after another and readers of the other tables never wait.",
			"CREATE TABLE IF NOT EXISTS worker_load_lock (\n    nothing INTEGER\n)",
		},
	}
	if d != Redshift {
		out = append(out, indexes()...)
	}
	return out
}

func factComment(d Dialect) string {
	const what = "One row an order: its newest event by event time."
	if d != Redshift {
		return what
	}
	return what + " DISTKEY: a load joins on order_id, so each slice finds\n" +
		"its own orders without moving rows. SORTKEY: reports and replaced rows are found by time. Redshift has\n" +
		"no indexes, and enforces no key: the load itself keeps order_id unique."
}

// indexes are the documented ones on fact_orders, for engines that have indexes.
func indexes() []Statement {
	var out []Statement
	for _, column := range []string{"customer_id", "store_id", "event_type", "event_timestamp"} {
		out = append(out, Statement{SQL: "CREATE INDEX IF NOT EXISTS idx_fact_orders_" + column +
			" ON fact_orders (" + column + ")"})
	}
	return out
}

// Script writes the statements as a SQL script with their comments.
func Script(statements []Statement) string {
	var b strings.Builder
	for i, s := range statements {
		if i > 0 {
			b.WriteByte('\n')
		}
		if s.Comment != "" {
			b.WriteString("-- " + strings.ReplaceAll(s.Comment, "\n", "\n-- ") + "\n")
		}
		b.WriteString(s.SQL + ";\n")
	}
	return b.String()
}
