package redshift

import (
	"context"
	"crypto/rand"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// duck is an embedded DuckDB.
type duck struct {
	db    *duckdb.Connector
	spill string // folder of a database in memory for what does not fit; removed at the end
	locks *tableLocks
	known knownTables
	each  []string        // what each connection has to run
	ours  map[string]bool // the names in our own schema
	rules []rule
	pids  atomic.Int64
	idle  pool[*duckConn]
}

// openDuck opens the database file, or a database in memory where path is "".
// tiny spares what pays only where there are more than a few rows.
func openDuck(ctx context.Context, path string, tiny bool) (*duck, error) {
	if path != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("make the warehouse's directory: %w", err)
		}
	}
	// Two threads are what a laptop can spare beside the worker. Statements come
	// from the network, so they must not reach files or extensions.
	dsn := path + "?memory_limit=2GB&autoinstall_known_extensions=false&autoload_known_extensions=false&threads="
	if tiny {
		dsn += "1"
	} else {
		dsn += "2"
	}
	spill := ""
	if path == "" { // the engine's own choice is a folder where the program was started
		spill = filepath.Join(os.TempDir(), fmt.Sprintf("localaws-%d-%s", os.Getpid(), rand.Text()[:8]))
		dsn += "&temp_directory=" + url.QueryEscape(spill)
	}
	db, err := duckdb.NewConnector(dsn, nil)
	if err != nil {
		return nil, fmt.Errorf("open the DuckDB warehouse %q: %w", path, err)
	}
	if path != "" { // DuckDB makes its file for all to read
		if err := os.Chmod(path, 0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("open the DuckDB warehouse: %w", err), db.Close())
		}
	}
	d := &duck{db: db, spill: spill, locks: newTableLocks(), rules: duckRules()}
	if err := d.prepare(ctx, tiny); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the DuckDB warehouse %q: %w", path, err), d.close())
	}
	return d, nil
}

// prepare makes what every connection finds. Settings are made once, for all
// connections: a request opens one, and made four settings longer than it ran.
func (d *duck) prepare(ctx context.Context, tiny bool) (err error) {
	raw, err := d.db.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	all := slices.Concat(loadErrorTable(), systemViews(dialect.DuckDB), dialect.Library(dialect.DuckDB))
	for _, sql := range dialect.Setup(dialect.DuckDB) {
		switch {
		case strings.HasPrefix(sql, "SET "):
			all = append(all, strings.Replace(sql, "SET ", "SET GLOBAL ", 1))
		case d.spill != "": // in memory, a definition can be of the database's
			all = append(all, strings.Replace(sql, " TEMPORARY MACRO ", " MACRO localaws.", 1))
		default:
			d.each = append(d.each, sql)
		}
	}
	d.ours = namesOf(all)
	if tiny { // where every table fits into one vector, optimizers cost more than they save
		all = append(all, "SET VARIABLE optimizers = (SELECT string_agg(name, ',') FROM duckdb_optimizers())", "SET disabled_optimizers = getvariable('optimizers')")
	}
	for _, sql := range append(all, "SET enable_external_access = false") {
		if _, err := raw.(*duckdb.Conn).ExecContext(ctx, sql, nil); err != nil {
			return err
		}
	}
	return nil
}

func (d *duck) dialect() dialect.Engine { return dialect.DuckDB }

func (d *duck) close() error {
	var err error
	for c, ok := d.idle.take(); ok; c, ok = d.idle.take() {
		err = errors.Join(err, c.raw.Close())
	}
	err = errors.Join(err, d.db.Close())
	if d.spill != "" {
		err = errors.Join(err, os.RemoveAll(d.spill))
	}
	return err
}

// connect returns a connection in the state of a new one. To make one takes as
// long as a short statement.
func (d *duck) connect(ctx context.Context) (conn, error) {
	c, ok := d.idle.take()
	if !ok {
		raw, err := d.db.Connect(ctx)
		if err != nil {
			return nil, err
		}
		c = &duckConn{db: d, raw: raw.(*duckdb.Conn), temporary: map[string]string{}}
		for _, sql := range d.each {
			if _, err := c.run(ctx, sql, nil); err != nil {
				return nil, errors.Join(fmt.Errorf("set up a DuckDB connection: %w", err), raw.Close())
			}
		}
		c.stale, c.changed = false, false
	}
	c.hold = &holder{pid: d.pids.Add(1)}
	return c, nil
}

// duckConn is one connection, with its own temporary tables.
type duckConn struct {
	db   *duck
	raw  *duckdb.Conn
	hold *holder
	// wanted says that a transaction was begun, open that the engine knows of
	// it: it learns with the first statement, so that what LOCK waited for is
	// part of the snapshot.
	wanted, open bool
	temporary    map[string]string // the temporary tables, and their definitions where these say all; else empty
	stale        bool              // a statement may have changed them unseen
	changed      bool              // a statement may have left more behind than data
	finds        bool              // names of our own schema
	removing     bool              // the transaction may have removed tables
	defining     bool              // the transaction may have made tables
}

func (c *duckConn) dialect() dialect.Engine { return dialect.DuckDB }

func (c *duckConn) begin(context.Context) error {
	c.wanted = true
	return nil
}

// snapshot reads a table: BEGIN alone does not touch the database yet.
func (c *duckConn) snapshot(ctx context.Context) error {
	_, err := c.run(ctx, "SELECT 1 FROM localaws.load_errors LIMIT 1", nil)
	return err
}

// catalogLock stands among the tables' names, none of which is empty.
const catalogLock = ""

func (c *duckConn) lock(ctx context.Context, tables []string, mode lockMode) error {
	if mode == lockCatalog {
		return c.db.locks.acquire(ctx, c.hold, catalogLock, lockAll)
	}
	if c.stale && mode > lockRead {
		if err := c.look(ctx); err != nil {
			return err
		}
	}
	for _, t := range tables {
		if _, ok := c.temporary[t]; ok {
			continue // nobody else sees it
		}
		if mode == lockAll {
			if err := c.exists(ctx, t); err != nil {
				return err
			}
		}
		if err := c.db.locks.acquire(ctx, c.hold, t, mode); err != nil {
			return err
		}
	}
	return nil
}

func (c *duckConn) end(ctx context.Context, commit bool) error {
	defer func() {
		if c.removing {
			c.db.known.forget()
		}
		c.wanted, c.open, c.removing, c.defining = false, false, false, false
		c.db.locks.release(c.hold)
	}()
	if !c.open {
		return nil
	}
	sql := "COMMIT"
	if !commit {
		sql, c.stale = "ROLLBACK", true
	}
	_, err := c.raw.ExecContext(ctx, sql, nil)
	if err != nil && commit {
		// DuckDB has rolled back already where a commit fails, mostly.
		_, _ = c.raw.ExecContext(ctx, "ROLLBACK", nil)
	}
	return duckError(ctx, c.db.rules, err)
}

func (c *duckConn) unlock() { c.db.locks.release(c.hold) }

func (c *duckConn) run(ctx context.Context, sql string, out sink) (int64, error) {
	if c.wanted && !c.open {
		// Not cut short by a cancel: DuckDB may have begun by then, and a
		// transaction that nobody knows of would refuse the next one.
		if _, err := c.raw.ExecContext(context.WithoutCancel(ctx), "BEGIN TRANSACTION", nil); err != nil {
			return 0, duckError(ctx, c.db.rules, err)
		}
		c.open = true
	}
	return c.ask(ctx, sql, out)
}

// find lets the connection find our own schema without its name once a statement
// may need it, which few do. There is no such setting for all connections.
func (c *duckConn) find(ctx context.Context, sql string) error {
	if c.finds || !mentions(sql, c.db.ours) {
		return nil
	}
	_, err := c.raw.ExecContext(ctx, "SET search_path = 'main,localaws'", nil)
	c.finds = err == nil
	return err
}

// ask runs the statement without starting the transaction that was begun.
func (c *duckConn) ask(ctx context.Context, sql string, out sink) (int64, error) {
	if err := c.find(ctx, sql); err != nil {
		return 0, duckError(ctx, c.db.rules, err)
	}
	if out == nil {
		res, err := c.raw.ExecContext(ctx, sql, nil)
		if err != nil {
			return 0, duckError(ctx, c.db.rules, err)
		}
		c.notice(sql)
		n, err := res.RowsAffected()
		return n, err
	}
	rows, err := c.raw.QueryContext(ctx, sql, nil)
	if err != nil {
		return 0, duckError(ctx, c.db.rules, err)
	}
	n, err := drain(ctx, rows, out)
	if err := errors.Join(err, rows.Close()); err != nil {
		var own *sqlError
		if errors.As(err, &own) {
			return n, own
		}
		return n, duckError(ctx, c.db.rules, err)
	}
	return n, nil
}

// drain gives every row to out.
func drain(ctx context.Context, rows driver.Rows, out sink) (int64, error) {
	types, _ := rows.(driver.RowsColumnTypeDatabaseTypeName)
	cols := make([]column, len(rows.Columns()))
	kinds := make([]string, len(cols))
	for i, name := range rows.Columns() {
		kinds[i] = types.ColumnTypeDatabaseTypeName(i)
		cols[i] = duckColumn(name, kinds[i])
	}
	if err := out.columns(cols); err != nil {
		return 0, err
	}
	raw, values := make([]driver.Value, len(cols)), make([]any, len(cols))
	for n := int64(0); ; n++ {
		if err := rows.Next(raw); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if n%1024 == 0 && ctx.Err() != nil {
			return n, context.Cause(ctx)
		}
		for i, v := range raw {
			values[i] = duckValue(kinds[i], v)
		}
		if err := out.row(values); err != nil {
			return n, err
		}
	}
}

func (c *duckConn) usable() bool { return true } // it is in this process

// close gives the connection back, or ends it where it may not be as good as new.
func (c *duckConn) close() error {
	err := c.end(context.Background(), false)
	if err == nil && len(c.temporary) == 0 && !c.stale && !c.changed && c.db.idle.keep(c) {
		return nil
	}
	return errors.Join(err, c.raw.Close())
}

// quoteText writes a literal for an engine with standard conforming strings.
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// quoteName writes an identifier, with its schema where it has one.
func quoteName(s string) string {
	parts := strings.Split(s, ".")
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
