package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

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

// table is a table that the worker writes.
type table struct {
	name    string
	comment string // why it is there, a line for each line of the script
	columns []column
	key     []string // for engines that enforce keys
	layout  string   // Redshift's: how rows are spread and sorted
}

// column is a column of a table. One that was added after the first release has
// to take NULL: a table that is there gets it by ALTER TABLE.
type column struct {
	name, kind string
	null       bool
}

var tables = []table{
	{
		name:    "fact_orders",
		comment: "One row per order: its newest event by event time.",
		columns: []column{
			{"order_id", "VARCHAR(100)", false},
			{"customer_id", "VARCHAR(100)", false},
			{"store_id", "INTEGER", false},
			{"total_amount", "DECIMAL(10,2)", false},
			{"item_count", "INTEGER", false},
			{"event_type", "VARCHAR(50)", false},
			{"event_timestamp", "TIMESTAMP", false},
		},
		key:    []string{"order_id"},
		layout: "DISTKEY (order_id)\nSORTKEY (event_timestamp)",
	},
	{
		name:    "agg_orders_minute",
		comment: "One row per minute, store and event type: always equal to a GROUP BY over fact_orders.",
		columns: []column{
			{"minute", "TIMESTAMP", false},
			{"store_id", "INTEGER", false},
			{"event_type", "VARCHAR(50)", false},
			{"order_count", "BIGINT", false},
			{"item_count", "BIGINT", false},
			{"revenue", "DECIMAL(20,2)", false},
		},
		key:    []string{"minute", "store_id", "event_type"},
		layout: "DISTSTYLE EVEN\nSORTKEY (minute)",
	},
	{
		name: "worker_checkpoints",
		comment: "How far each shard is loaded, and of which stream that is. A row moves in the transaction that loads its rows;\n" +
			"the row of stream '*' is of no shard, and every load writes it.",
		columns: []column{
			{"stream_name", "VARCHAR(128)", false},
			{"shard_id", "VARCHAR(128)", false},
			{"term", "BIGINT", false},
			{"sequence_number", "VARCHAR(140)", false},
			{"sub_sequence_number", "BIGINT", false},
			{"arrived_until", "TIMESTAMP", true},
			{"updated_at", "TIMESTAMP", false},
			{"stream_arn", "VARCHAR(512)", true},
			{"stream_created", "TIMESTAMP", true},
		},
		key:    []string{"stream_name", "shard_id"},
		layout: "DISTSTYLE ALL",
	},
	{
		name:    "worker_load_lock",
		comment: "Holds nothing. Loads lock it, so that they come one after another and readers of the other tables never wait.",
		columns: []column{{"nothing", "INTEGER", true}},
	},
}

// Tables are the names of the tables that the worker writes.
func Tables() []string {
	out := make([]string, len(tables))
	for i, t := range tables {
		out[i] = t.name
	}
	return out
}

// Columns are the names of the columns that the worker expects of one of its
// tables, in the order of its definition.
func Columns(name string) []string {
	var out []string
	for _, t := range tables {
		if t.name == name {
			for _, c := range t.columns {
				out = append(out, c.name)
			}
		}
	}
	return out
}

// create is the table's definition.
func (t table) create(d Dialect) string {
	lines := make([]string, 0, len(t.columns)+1)
	for _, c := range t.columns {
		line := c.name + " " + c.kind
		if !c.null {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	// Declared keys are not enforced by Redshift but believed by its planner, so
	// none is declared there.
	if d != Redshift && t.key != nil {
		lines = append(lines, "PRIMARY KEY ("+strings.Join(t.key, ", ")+")")
	}
	out := "CREATE TABLE IF NOT EXISTS " + t.name + " (\n    " + strings.Join(lines, ",\n    ") + "\n)"
	if d == Redshift && t.layout != "" {
		out += "\n" + t.layout
	}
	return out
}

// Statement is one statement of a schema and the reason it is there.
type Statement struct {
	Comment string
	SQL     string
}

// Schema returns the statements that create what the worker needs. Running them
// again changes nothing. They leave a table that is there as it is; see Apply.
func Schema(d Dialect) []Statement {
	var out []Statement
	for _, t := range tables {
		comment := t.comment
		if d == Redshift && t.name == "fact_orders" {
			comment += " DISTKEY: a load joins on order_id, so each slice finds\n" +
				"its own orders without moving rows. SORTKEY: reports are found by time, and perhaps the rows that are replaced.\n" +
				"Redshift has no indexes, and enforces no key: the load itself keeps order_id unique."
		}
		out = append(out, Statement{comment, t.create(d)})
	}
	if d != Redshift {
		out = append(out, indexes()...)
	}
	return append(out, Statement{
		"The row of no shard: as every load and every claim writes it, two of them whose snapshots overlap conflict.",
		sharedRow(d),
	})
}

// sharedRow makes the shared row where there is none.
func sharedRow(d Dialect) string {
	now := "CURRENT_TIMESTAMP"
	if d == Redshift {
		now = "GETDATE()"
	}
	const where = "stream_name = '" + SharedRow + "' AND shard_id = '" + SharedRow + "'"
	return `INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT '` + SharedRow + `', '` + SharedRow + `', 0, '` + sharedSequence + `', 0, ` + now + `
WHERE NOT EXISTS (SELECT 1 FROM worker_checkpoints WHERE ` + where + `)`
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

// Apply creates in a Redshift what is missing: tables, columns of tables that an
// earlier version made, and the shared row. It changes nothing that is there and
// may run while workers do, and beside another Apply. It returns the columns
// added, as table.column.
//
// Redshift has no ADD COLUMN IF NOT EXISTS, so the tables are asked for their
// columns first. They are asked by a SELECT that returns no rows: it finds them
// by the same search path as a load does, which the catalogue would not.
func Apply(ctx context.Context, db DB) (added []string, err error) {
	sql := make([]string, len(tables))
	for i, t := range tables {
		sql[i] = t.create(Redshift)
	}
	if _, err := db.Run(ctx, Token(), sql); err != nil {
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	const tries = 3
	for try := 1; ; try++ {
		missing, err := missingColumns(ctx, db)
		if err != nil {
			return nil, err
		}
		sql, added = []string{"LOCK TABLE worker_load_lock"}, nil
		for _, m := range missing {
			sql = append(sql, "ALTER TABLE "+m.table+" ADD COLUMN "+m.name+" "+m.kind)
			added = append(added, m.table+"."+m.name)
		}
		_, err = db.Run(ctx, Token(), append(sql, sharedRow(Redshift)))
		var refused *StatementError
		switch {
		case err == nil:
			return added, nil
		case try == tries || !errors.As(err, &refused):
			return nil, fmt.Errorf("bring the tables up to date: %w", err)
		}
		// Another Apply was faster, or a load came in between: look again.
	}
}

// missing is a column that a table lacks.
type missing struct {
	table string
	column
}

func missingColumns(ctx context.Context, db DB) ([]missing, error) {
	var asked []table
	var sql []string
	for _, t := range tables {
		if t.key == nil {
			continue // the lock table: a SELECT from it would wait for the load under way
		}
		asked = append(asked, t)
		sql = append(sql, "SELECT * FROM "+t.name+" WHERE 1 = 0")
	}
	results, err := db.Run(ctx, Token(), sql)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of the tables: %w", err)
	}
	var out []missing
	for i, t := range asked {
		for _, c := range t.columns {
			switch {
			case slices.Contains(results[i].Columns, c.name):
			case !c.null:
				return nil, fmt.Errorf("table %s has no column %s, which all versions of it have: it is another table, or was changed by hand", t.name, c.name)
			default:
				out = append(out, missing{t.name, c})
			}
		}
	}
	return out, nil
}
