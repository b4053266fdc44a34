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

// Statement is one statement of a schema and the reason it is there.
type Statement struct {
	Comment string
	SQL     string
}

// Schema returns the statements that create what the worker needs, where the search
// path has it.
func Schema(d Dialect) []Statement { return Names{}.Definitions(d) }

// Definitions returns the statements that create what the worker needs. Running
// them again changes nothing. They leave a table that is there as it is; see Apply.
func (n Names) Definitions(d Dialect) []Statement {
	var out []Statement
	if n.schema != "" {
		out = append(out, Statement{"The schema of all of them (REDSHIFT_SCHEMA).", n.create()})
	}
	for _, t := range tables() {
		comment := t.Comment
		if d == Redshift && t.Why != "" {
			comment += " " + t.Why
		}
		out = append(out, Statement{comment, t.create(n, d)})
	}
	if d != Redshift {
		out = append(out, n.indexes()...)
	}
	return append(out, Statement{
		"The row of no shard: as every load and every claim writes it, two of them whose snapshots overlap conflict.",
		n.sharedRow(),
	})
}

// create makes the schema.
func (n Names) create() string { return `CREATE SCHEMA IF NOT EXISTS "` + n.schema + `"` }

// sharedRow makes the shared row where there is none. The first load writes its
// time: none is asked for, as GETDATE() is in the time zone of the session.
func (n Names) sharedRow() string {
	const where = "stream_name = '" + SharedRow + "' AND shard_id = '" + SharedRow + "'"
	table := n.Of(CheckpointTable)
	return `INSERT INTO ` + table + ` (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT '` + SharedRow + `', '` + SharedRow + `', 0, '` + sharedSequence + `', 0, CAST('1970-01-01 00:00:00' AS TIMESTAMP)
WHERE NOT EXISTS (SELECT 1 FROM ` + table + ` WHERE ` + where + `)`
}

// indexes are for engines that have them.
func (n Names) indexes() []Statement {
	var out []Statement
	for _, t := range tables() {
		for _, column := range t.Indexes {
			out = append(out, Statement{SQL: "CREATE INDEX IF NOT EXISTS idx_" + t.Name + "_" + column +
				" ON " + n.Of(t.Name) + " (" + column + ")"})
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
