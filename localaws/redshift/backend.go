package redshift

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// backend is one database session: a connection with its temporary tables,
// its transaction and what functions like pg_last_copy_id tell about it. One
// goroutine uses it at a time.
type backend struct {
	conn    conn
	engine  engine
	objects Objects
	asks    dialect.Session
	queries *atomic.Int64 // numbers queries across all backends
	query   int64         // the number of the last one here

	blanks    *blanks         // of the service
	ownBlanks *blanks         // of the temporary tables
	temporary map[string]bool // the temporary tables
	began     int             // the age of what was known of blanks when the transaction began
	touched   bool            // a statement of the transaction has run
	unsure    bool            // the transaction may have written texts that end in blanks

	pace  Pace  // the time that its statements take beside the engine's own
	slot  *slot // of the call that runs; nil where none is counted
	wrote bool  // a statement of the transaction has changed something

	early  bool                                      // transactions take their snapshots at once
	refuse func(fields []string) (fault.Fault, bool) // a line of COPY by a fault; nil where none stands
	block  bool                                      // a transaction is open that BEGIN or a batch started
	reads  bool                                      // it is READ ONLY
	failed bool                                      // a statement of it failed: it is rolled back, and its end is awaited
}

// process numbers backends and queries, as Redshift does.
type process struct {
	pids, queries atomic.Int64
}

// connect opens a backend for the request.
func (s *Service) connect(ctx context.Context, sub submission) (*backend, error) {
	c, err := s.engine.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &backend{
		conn: c, engine: s.engine, objects: s.opts.Objects, queries: &s.process.queries,
		blanks: s.blanks, ownBlanks: newBlanks(), temporary: make(map[string]bool),
		asks: dialect.Session{
			LastCopyID: -1, PID: firstPID + s.process.pids.Add(1), User: sub.user, Database: sub.database,
		},
	}, nil
}

// Numbers start where Redshift's look like: 0 would mean that none was given.
const (
	firstPID   = 1073742000
	firstQuery = 1000
)

func (b *backend) close() error { return b.conn.close() }

// nextQuery numbers a statement.
func (b *backend) nextQuery() int64 {
	b.query = firstQuery + b.queries.Add(1)
	return b.query
}

var errAborted = &sqlError{message: "ERROR: current transaction is aborted, commands ignored until end of transaction block"}

// begin starts a transaction of several statements.
func (b *backend) begin(ctx context.Context) error {
	if b.block {
		return nil // Redshift warns, and goes on in the transaction that is open
	}
	_, b.began = b.blanks.without("")
	if err := b.open(ctx); err != nil {
		return err
	}
	b.block, b.failed, b.touched = true, false, false
	return nil
}

// open starts a transaction of the engine.
func (b *backend) open(ctx context.Context) error {
	b.wrote = false
	if err := b.conn.begin(ctx); err != nil || !b.early {
		return err
	}
	err := b.conn.snapshot(ctx)
	if err != nil {
		// What went wrong matters more than how the end of it goes.
		_ = b.conn.end(context.WithoutCancel(ctx), false)
	}
	return err
}

// end closes the transaction.
func (b *backend) end(ctx context.Context, commit bool) error {
	if !b.block {
		return nil
	}
	over := b.failed
	b.block, b.failed, b.reads = false, false, false
	if over {
		return nil
	}
	return b.conclude(ctx, commit)
}

// conclude commits the engine's transaction or rolls it back. Whoever cancels while the
// time of a commit passes has cancelled it; after that the end is not given up
// half way, and whoever cancels cancels too late.
func (b *backend) conclude(ctx context.Context, commit bool) error {
	var late error
	if commit && b.wrote {
		late = pass(ctx, b.pace.Commit)
		commit = late == nil
	}
	err := b.conn.end(context.WithoutCancel(ctx), commit)
	b.transactionEnded(commit && err == nil)
	if late != nil {
		return late // what was undone is, also where the connection is gone
	}
	return err
}

// fail undoes the transaction of several statements that is open, if one is.
// Its tables are free at once, not only when the client ends it: as in
// Redshift, where the victim of a deadlock lets the other go on.
func (b *backend) fail(ctx context.Context) {
	if !b.block || b.failed {
		return
	}
	b.failed = true
	// The statement's error is what matters; a rollback cannot fail but with
	// the connection, and then nothing was committed either.
	_ = b.conn.end(context.WithoutCancel(ctx), false)
	b.transactionEnded(false)
}

// single runs one statement as a transaction of its own, or in the one open.
func (b *backend) single(ctx context.Context, sql string, params map[string]string, out sink) (int64, error) {
	st, err := b.asks.Translate(sql, b.conn.dialect(), params)
	if err == nil {
		st, err = b.respectBlanks(ctx, sql, params, st)
	}
	if err != nil {
		b.fail(ctx)
		return -1, err
	}
	if d := b.asks.Timeout; d > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, d, timedOut(b.query))
		defer stop()
	}
	if b.block || st.Verb == "BEGIN" {
		return b.step(ctx, st, out)
	}
	if st.Verb == "SELECT" && st.Before == nil && st.After == nil {
		defer b.conn.unlock()
		return b.execute(ctx, st, out) // a transaction by itself
	}
	if err := b.open(ctx); err != nil {
		return -1, err
	}
	n, err := b.execute(ctx, st, out)
	if endErr := b.conclude(ctx, err == nil); err == nil {
		err = endErr
	}
	return n, err
}

// step runs one statement of the open transaction, or opens or ends it.
func (b *backend) step(ctx context.Context, st dialect.Statement, out sink) (int64, error) {
	switch st.Verb {
	case "BEGIN":
		fresh := !b.block
		err := b.begin(ctx)
		if fresh {
			b.reads = st.ReadOnly
		}
		return -1, err
	case "COMMIT", "ROLLBACK":
		return -1, b.end(ctx, st.Verb == "COMMIT")
	}
	if b.failed {
		return -1, errAborted
	}
	if b.reads && b.writes(st) {
		b.fail(ctx)
		return -1, refusal("transaction is read-only")
	}
	if st.Verb == "VACUUM" {
		b.fail(ctx)
		return -1, refusal("VACUUM cannot run inside a transaction block")
	}
	n, err := b.execute(ctx, st, out)
	if err != nil {
		b.fail(ctx)
		return n, err
	}
	if st.Verb == "TRUNCATE" { // commits the transaction that it runs in
		return n, b.end(ctx, true)
	}
	return n, nil
}

// execute runs one statement with what belongs to it. It returns the rows
// changed or returned, -1 where the statement has none.
func (b *backend) execute(ctx context.Context, st dialect.Statement, out sink) (int64, error) {
	if err := ctx.Err(); err != nil {
		return -1, context.Cause(ctx)
	}
	if err := b.ready(ctx, st); err != nil {
		return -1, err
	}
	b.wrote = b.wrote || changes(st.Verb)
	if st.Copy != nil {
		b.touched = true
		return b.copy(ctx, st.Copy)
	}
	if st.Alters != nil {
		restore, err := b.conn.loosen(ctx, st.Writes[0], st.Alters)
		if err != nil {
			return -1, err
		}
		st.After = append(st.After, restore...)
	}
	for _, sql := range st.Before {
		if _, err := b.conn.run(ctx, sql, nil); err != nil {
			return -1, err
		}
	}
	if st.Set > 0 {
		sql, err := b.conn.update(ctx, st)
		if err != nil {
			return -1, err
		}
		st.SQL = sql
	}
	n := int64(-1)
	if st.SQL != "" {
		if !st.Rows {
			out = nil
		}
		var err error
		if n, err = b.conn.run(ctx, st.SQL, out); err != nil {
			return -1, err
		}
	}
	for _, sql := range st.After {
		if _, err := b.conn.run(ctx, sql, nil); err != nil {
			return -1, err
		}
	}
	b.noteWritten(st)
	if st.Timeout != nil {
		b.asks.Timeout = *st.Timeout
	}
	if !st.Rows && !counts(st.Verb) {
		n = 0 // DDL changes no rows, whatever the engine reports
	}
	return n, nil
}

// ready returns once the statement has its tables, a slot, and the time has passed
// that it takes.
func (b *backend) ready(ctx context.Context, st dialect.Statement) error {
	lock := func() error { return b.locks(ctx, st) }
	var err error
	if b.slot == nil {
		err = lock()
	} else {
		err = b.slot.during(ctx, lock)
	}
	if err != nil {
		return err
	}
	return b.pace.statement(ctx, st)
}

// locks takes the tables that LOCK names, those that the statement writes, as in
// Redshift the second writer of a table waits for the first, and those that it
// reads, which LOCK has to wait for.
func (b *backend) locks(ctx context.Context, st dialect.Statement) error {
	if err := b.conn.lock(ctx, st.Reads, lockRead); err != nil {
		return err
	}
	switch {
	case len(st.Lock) > 0:
		return b.conn.lock(ctx, st.Lock, lockAll)
	case counts(st.Verb) || st.Verb == "TRUNCATE":
		return b.conn.lock(ctx, st.Writes, lockWrite)
	case strings.HasPrefix(st.Verb, "ALTER "),
		strings.HasPrefix(st.Verb, "CREATE ") && !strings.HasPrefix(st.SQL, "CREATE TEMP"):
		// Several workers may start at once and each create what is not there:
		// in Redshift the second waits and then finds it.
		return b.conn.lock(ctx, nil, lockCatalog)
	default:
		return nil
	}
}

// writes reports whether a transaction that is READ ONLY refuses the statement. It
// refuses what changes a table that outlives the session or defines anything; TRUNCATE
// and GRANT pass, as they do in Redshift.
func (b *backend) writes(st dialect.Statement) bool {
	word, _, _ := strings.Cut(st.Verb, " ")
	switch {
	case counts(st.Verb):
		return !slices.ContainsFunc(st.Writes, func(table string) bool { return b.temporary[table] })
	case word == "CREATE", word == "ALTER", word == "DROP":
		return true
	}
	return st.Makes != "" // SELECT INTO
}

// counts reports whether the statement changes rows and says how many.
func counts(verb string) bool {
	switch verb {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "COPY":
		return true
	default:
		return false
	}
}

// words is what an error of a statement reads as in its description.
func words(err error) string {
	var own *sqlError
	var read *dialect.Error
	switch {
	case errors.As(err, &own):
		return own.message
	case errors.As(err, &read):
		return read.Error()
	default:
		return fmt.Sprintf("ERROR: %v", err)
	}
}
