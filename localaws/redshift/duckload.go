package redshift

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/copyload"
)

// staging is the temporary table that a COPY fills first, as text.
const staging = "localaws_copy"

// load appends text to a temporary table, which is quick, and lets the engine
// read the values out of it, which is exact.
func (c *duckConn) load(ctx context.Context, table string, targets []target, rows fill) (int64, error) {
	stale := c.stale
	defer func() { c.stale = stale }() // the temporary table is gone again
	names, texts, casts := make([]string, len(targets)), make([]string, len(targets)), make([]string, len(targets))
	for i, t := range targets {
		names[i] = quoteName(t.Name)
		texts[i] = fmt.Sprintf("c%d VARCHAR", i)
		casts[i] = fmt.Sprintf("CAST(c%d AS %s)", i, duckType(t.Column))
	}
	if _, err := c.run(ctx, fmt.Sprintf("CREATE OR REPLACE TEMPORARY TABLE %s (%s)", staging, strings.Join(texts, ", ")), nil); err != nil {
		return 0, err
	}
	if err := c.fill(ctx, len(targets), rows); err != nil {
		return 0, err
	}
	n, err := c.run(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM temp.main.%s",
		quoteName(table), strings.Join(names, ", "), strings.Join(casts, ", "), staging), nil)
	if err != nil {
		return 0, err
	}
	_, err = c.run(ctx, "DROP TABLE temp.main."+staging, nil)
	return n, err
}

// fill appends every row to the staging table.
func (c *duckConn) fill(ctx context.Context, width int, rows fill) error {
	a, err := duckdb.NewAppender(c.raw, "temp", "main", staging)
	if err != nil {
		return duckError(ctx, c.db.rules, err)
	}
	values := make([]driver.Value, width)
	err = rows(func(row []copyload.Field) error {
		for i, f := range row {
			values[i] = f.Text
			if f.Null {
				values[i] = nil
			}
		}
		return a.AppendRow(values...)
	})
	closeErr := a.CloseWithCancel(ctx)
	var own *sqlError
	if err != nil && (errors.As(err, &own) || ctx.Err() != nil) {
		return err
	}
	return duckError(ctx, c.db.rules, errors.Join(err, closeErr))
}

// lengthCheck finds the bound that the dialect put on a string's bytes.
var lengthCheck = regexp.MustCompile(`<= (\d+)|(\d+) >=`)

func (c *duckConn) targets(ctx context.Context, table string) ([]target, error) {
	schema, name := "main", table
	if s, n, ok := strings.Cut(table, "."); ok {
		schema, name = s, n
	}
	if c.stale {
		if err := c.look(ctx); err != nil {
			return nil, err
		}
	}
	definition, temporary := c.temporary[table]
	if known := c.db.known.columns(definition); known != nil {
		return known, nil
	}
	where := fmt.Sprintf("schema_name = %s AND table_name = %s AND (database_name = 'temp') = %t",
		quoteText(schema), quoteText(name), temporary)
	var cols, checks textSink
	if _, err := c.run(ctx, "SELECT column_name, data_type, is_nullable, column_default FROM duckdb_columns() WHERE "+where+" ORDER BY column_index", &cols); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, "SELECT constraint_column_names[1], expression FROM duckdb_constraints() WHERE constraint_type = 'CHECK' AND "+where, &checks); err != nil {
		return nil, err
	}
	lengths, fixed := make(map[string]int), make(map[string]bool)
	for _, r := range checks.rows {
		if m := lengthCheck.FindStringSubmatch(r[1]); m != nil {
			lengths[r[0]], _ = strconv.Atoi(m[1] + m[2]) // digits; too many of them mean no bound
			fixed[r[0]] = m[2] != ""
		}
	}
	out := make([]target, len(cols.rows))
	for i, r := range cols.rows {
		out[i] = target{Column: columnOf(r[0], r[1], r[2] == "false"), identity: strings.HasPrefix(r[3], "nextval(")}
		if out[i].Length = lengths[r[0]]; fixed[r[0]] {
			out[i].Type = "char"
		}
	}
	if definition != "" {
		c.db.known.addColumns(definition, out)
	}
	return out, nil
}

func (c *duckConn) loosen(ctx context.Context, table string, names map[string]string) ([]string, error) {
	schema, name := "main", table
	if s, n, ok := strings.Cut(table, "."); ok {
		schema, name = s, n
	}
	var found textSink
	sql := fmt.Sprintf("SELECT index_name, expressions FROM duckdb_indexes() WHERE schema_name = %s AND table_name = %s", quoteText(schema), quoteText(name))
	if _, err := c.run(ctx, sql, &found); err != nil {
		return nil, err
	}
	to := name
	if n, ok := names[""]; ok {
		to = n
	}
	var restore []string
	for _, r := range found.rows {
		if _, err := c.run(ctx, "DROP INDEX "+quoteName(schema)+"."+quoteName(r[0]), nil); err != nil {
			return nil, err
		}
		col := indexed(r[1])
		if n, ok := names[col]; ok {
			if col = n; n == "" {
				continue // it goes with its column
			}
		}
		restore = append(restore, fmt.Sprintf("CREATE INDEX %s ON %s.%s (%s)", quoteName(r[0]), quoteName(schema), quoteName(to), quoteName(col)))
	}
	return restore, nil
}

// columnOf reads an engine's spelling of a type.
func columnOf(name, spelled string, notNull bool) copyload.Column {
	col := copyload.Column{Name: name, NotNull: notNull}
	spelled = strings.ToLower(spelled)
	base, args, found := strings.Cut(spelled, "(")
	var tail string
	if found {
		args, tail, _ = strings.Cut(args, ")")
	}
	col.Type = strings.TrimSpace(base) + tail
	switch col.Type {
	case "decimal", "numeric":
		p, s, _ := strings.Cut(args, ",")
		col.Type, col.Precision, col.Scale = "decimal", int(atoi32(p)), int(atoi32(s))
	case "float":
		col.Type = "real"
	case "double":
		col.Type = "double precision"
	case "timestamp without time zone":
		col.Type = "timestamp"
	case "timestamp with time zone":
		col.Type = "timestamptz"
	case "character varying", "text":
		col.Type = "varchar"
	case "character":
		col.Type = "char"
	}
	return col
}

// duckType is the type as DuckDB writes it.
func duckType(col copyload.Column) string {
	switch {
	case col.Type == "decimal":
		return fmt.Sprintf("DECIMAL(%d,%d)", col.Precision, col.Scale)
	case col.Type == "real":
		return "FLOAT" // DuckDB's name for four bytes
	default:
		return col.Type
	}
}
