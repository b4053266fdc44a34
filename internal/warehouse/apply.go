package warehouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Plan is what Apply would make.
type Plan struct {
	Schema  string   // empty = it is there, or the search path is used
	Tables  []string // as statements name them
	Columns []string // of tables that are there, as table.column and its type
}

// PlanOf looks for what is missing, and changes nothing.
func PlanOf(ctx context.Context, db DB) (Plan, error) {
	var p Plan
	in := db.Names()
	missing, err := schemaMissing(ctx, db)
	if err != nil {
		return p, err
	}
	if missing {
		p.Schema = in.Schema()
	}
	var there []*Table
	for _, t := range tables() {
		present := false
		if p.Schema == "" {
			if present, err = isPresent(ctx, db, t); err != nil {
				return p, err
			}
		}
		if present {
			there = append(there, t)
		} else {
			p.Tables = append(p.Tables, in.Of(t.Name))
		}
	}
	columns, err := missingColumns(ctx, db, there)
	if err != nil {
		return p, err
	}
	for _, m := range columns {
		p.Columns = append(p.Columns, m.table+"."+m.definition(Redshift))
	}
	return p, nil
}

// Apply creates in a Redshift what is missing: the schema, tables, columns of
// tables that an earlier version made, and the shared row. It changes nothing that
// is there and may run while workers do, and beside another Apply. It returns the
// columns added, as table.column.
//
// Redshift has no ADD COLUMN IF NOT EXISTS, so the tables are asked for their
// columns first. They are asked by a SELECT that returns no rows: it finds them
// by the same search path as a load does, which the catalogue would not.
func Apply(ctx context.Context, db DB) (added []string, err error) {
	in := db.Names()
	if err := makeSchema(ctx, db); err != nil {
		return nil, err
	}
	var sql []string
	for _, t := range tables() {
		sql = append(sql, t.create(in, Redshift))
	}
	if _, err := db.Run(ctx, Token(), sql); err != nil {
		return nil, fmt.Errorf("create the tables: %w", err)
	}
	const tries = 3
	for try := 1; ; try++ {
		missing, err := missingColumns(ctx, db, tables())
		if err != nil {
			return nil, err
		}
		sql, added = []string{lockTable(in)}, nil
		for _, m := range missing {
			sql = append(sql, "ALTER TABLE "+in.Of(m.table)+" ADD COLUMN "+m.definition(Redshift))
			added = append(added, m.table+"."+m.Name)
		}
		_, err = db.Run(ctx, Token(), append(sql, in.sharedRow()))
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

// makeSchema makes the schema where it is not there. A user who may not make one is
// refused even where IF NOT EXISTS would do nothing, so the catalog is asked.
func makeSchema(ctx context.Context, db DB) error {
	missing, err := schemaMissing(ctx, db)
	if err != nil || !missing {
		return err
	}
	in := db.Names()
	if _, err := db.Run(ctx, Token(), []string{in.create()}); err != nil {
		return fmt.Errorf("create the schema %s, for which a user needs GRANT CREATE ON DATABASE: %w", in.Schema(), err)
	}
	return nil
}

func schemaMissing(ctx context.Context, db DB) (bool, error) {
	in := db.Names()
	if in.Schema() == "" {
		return false, nil
	}
	results, err := db.Run(ctx, Token(), []string{"SELECT nspname FROM pg_namespace WHERE nspname = " + Quote(in.Schema())})
	if err != nil {
		return false, fmt.Errorf("look for the schema %s: %w", in.Schema(), err)
	}
	return len(results[0].Rows) == 0, nil
}

// isPresent reports whether a table is there.
func isPresent(ctx context.Context, db DB, t *Table) (bool, error) {
	err := CheckTable(ctx, db, t.Name, nil)
	if errors.Is(err, ErrNoTable) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for %s: %w", t.Name, err)
	}
	return true, nil
}

// CheckTable asks one of the worker's tables for columns, nil for all. It returns
// an ErrNoTable where the table is not there, or lacks one. LockTable is looked up
// in the catalog instead: a load holds it against readers, so that to ask the table
// is to wait for the load.
func CheckTable(ctx context.Context, db DB, table string, columns []string) error {
	in := db.Names()
	what := "*"
	if columns != nil {
		what = list("", columns)
	}
	sql := "SELECT " + what + " FROM " + in.Of(table) + " WHERE 1 = 0"
	if table == LockTable {
		sql = "SELECT tablename FROM pg_table_def WHERE tablename = " + Quote(table)
		if in.Schema() != "" { // pg_table_def has the tables of the search path alone
			sql = "SELECT table_name FROM svv_tables WHERE table_name = " + Quote(table) + in.InSchema("table_schema")
		}
	}
	results, err := db.Run(ctx, Token(), []string{sql})
	if err == nil && table == LockTable && len(results[0].Rows) == 0 {
		err = ErrNoTable
	}
	return err
}

// missing is a column that a table lacks.
type missing struct {
	table string
	Column
}

// missingColumns are the columns that tables lack which are there.
func missingColumns(ctx context.Context, db DB, there []*Table) ([]missing, error) {
	var asked []*Table
	var sql []string
	for _, t := range there {
		if t.Key == nil {
			continue // the lock table: a SELECT from it would wait for the load under way
		}
		asked = append(asked, t)
		sql = append(sql, "SELECT * FROM "+db.Names().Of(t.Name)+" WHERE 1 = 0")
	}
	if len(sql) == 0 {
		return nil, nil
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
