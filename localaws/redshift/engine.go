package redshift

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// engine is a database that runs translated SQL.
type engine interface {
	// dialect names the SQL that the engine reads.
	dialect() dialect.Engine
	// connect opens a connection of its own; the caller closes it.
	connect(ctx context.Context) (conn, error)
	close() error
}

// conn is one connection to an engine, used by one goroutine at a time. After
// an error of run, load or lock, the transaction can only be rolled back. Errors
// are *sqlError, or the context's.
type conn interface {
	transaction
	dialect() dialect.Engine
	// run executes one statement and gives its rows to out, nil to drop them.
	// It returns the number of rows changed, or returned where there is an out.
	run(ctx context.Context, sql string, out sink) (int64, error)
	loader
	// update returns the SQL of an UPDATE or MERGE such that it is a write of the
	// whole of each row, as in Redshift, whatever it assigns.
	update(ctx context.Context, st dialect.Statement) (string, error)
	// loosen takes away the indexes that keep the table from being altered, and
	// returns the statements that bring them back under their new names.
	loosen(ctx context.Context, table string, names map[string]string) ([]string, error)
	// usable reports whether the connection still stands.
	usable() bool
	close() error
}

// lockMode is what a lock keeps others from.
type lockMode int

const (
	lockRead    lockMode = iota // from lockAll
	lockWrite                   // from writing the tables
	lockAll                     // from reading too
	lockCatalog                 // from defining tables; names none
)

// loader is the part of a connection that COPY uses.
type loader interface {
	// targets describes the table's columns in order; none where it is not there.
	targets(ctx context.Context, table string) ([]target, error)
	// load appends rows to a table, each with one field for each of the targets.
	load(ctx context.Context, table string, targets []target, rows fill) (int64, error)
}

// transaction is the part of a connection that brackets statements. There is
// at most one transaction at a time.
type transaction interface {
	begin(ctx context.Context) error
	// snapshot fixes now what the transaction sees of others, and not only with
	// its first statement that reads or writes.
	snapshot(ctx context.Context) error
	// lock takes the tables for this transaction, in order, and waits for those
	// who hold them.
	lock(ctx context.Context, tables []string, mode lockMode) error
	// end commits or rolls back and lets go of every lock.
	end(ctx context.Context, commit bool) error
	// unlock lets go of every lock of a query that ran outside a transaction.
	unlock()
}

// sink takes the rows of a query. A value is nil, bool, int64, float64, string
// or []byte.
type sink interface {
	columns(cols []column) error
	row(values []any) error
}

// column describes a column of a result in Redshift's terms.
type column struct {
	name      string
	typeName  string // e.g. int4, varchar, numeric
	table     string
	schema    string
	nullable  int32 // 0 no, 1 yes, 2 unknown, as in JDBC
	precision int32
	scale     int32
	length    int32
}

// openEngine opens the engine that the options name.
func openEngine(ctx context.Context, opts Options) (engine, error) {
	switch w := opts.Warehouse; {
	case w == "" || w == "duckdb":
		path := ""
		if opts.DataDir != "" {
			path = filepath.Join(opts.DataDir, "warehouse.duckdb")
		}
		return openDuck(ctx, path, opts.Tiny)
	case strings.HasPrefix(w, "postgres://"), strings.HasPrefix(w, "postgresql://"):
		return openPostgres(ctx, w)
	default:
		return nil, fmt.Errorf("warehouse %q: give \"duckdb\" or a postgres:// URL", w)
	}
}
