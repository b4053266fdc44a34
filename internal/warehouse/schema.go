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

// Statement is one statement of a schema and the reason it is there.
type Statement struct {
	Comment string
	SQL     string
}

// Schema returns the statements that create what the worker needs. Running them
// again changes nothing. They leave a table that is there as it is; see Apply.
func Schema(d Dialect) []Statement {
	var out []Statement
	for _, t := range tables() {
		comment := t.Comment
		if d == Redshift && t.Why != "" {
			comment += " " + t.Why
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

// indexes are for engines that have them.
func indexes() []Statement {
	var out []Statement
	for _, t := range tables() {
		for _, column := range t.Indexes {
			out = append(out, Statement{SQL: "CREATE INDEX IF NOT EXISTS idx_" + t.Name + "_" + column +
				" ON " + t.Name + " (" + column + ")"})
		}
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
	var sql []string
	for _, t := range tables() {
		sql = append(sql, t.create(Redshift))
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
			sql = append(sql, "ALTER TABLE "+m.table+" ADD COLUMN "+m.Name+" "+m.Type)
			added = append(added, m.table+"."+m.Name)
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
	Column
}

func missingColumns(ctx context.Context, db DB) ([]missing, error) {
	var asked []*Table
	var sql []string
	for _, t := range tables() {
		if t.Key == nil {
			continue // the lock table: a SELECT from it would wait for the load under way
		}
		asked = append(asked, t)
		sql = append(sql, "SELECT * FROM "+t.Name+" WHERE 1 = 0")
	}
	results, err := db.Run(ctx, Token(), sql)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of the tables: %w", err)
	}
	var out []missing
	for i, t := range asked {
		for _, c := range t.Columns {
			switch {
			case slices.Contains(results[i].Columns, c.Name):
			case !c.Null:
				return nil, fmt.Errorf("table %s has no column %s, which all versions of it have: it is another table, or was changed by hand", t.Name, c.Name)
			default:
				out = append(out, missing{t.Name, c})
			}
		}
	}
	return out, nil
}
