package redshift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/copyload"
	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// catalogKey is the advisory lock of who defines tables. Any number serves that
// nobody else in the database uses.
const catalogKey = 7215100

// postgres is a PostgreSQL server.
type postgres struct {
	config   *pgx.ConnConfig
	confined bool // statements run as apiRole
	idle     pool[*pgConn]
}

func openPostgres(ctx context.Context, url string) (*postgres, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("the warehouse's URL: %w", err)
	}
	maps.Copy(config.RuntimeParams, dialect.Settings())
	config.RuntimeParams["search_path"] = "public, localaws"
	config.RuntimeParams["client_min_messages"] = "warning"
	config.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler { return &canceller{conn: c} }
	p := &postgres{config: config}
	c, err := p.connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the PostgreSQL warehouse: %w", err)
	}
	// Several of us may start on one database at the same time.
	first := []string{fmt.Sprintf("SELECT pg_advisory_lock(%d)", catalogKey)}
	for _, sql := range slices.Concat(first, loadErrorTable(), systemViews(dialect.Postgres), dialect.Library(dialect.Postgres)) {
		if _, err = c.run(ctx, sql, nil); err != nil {
			err = fmt.Errorf("prepare the PostgreSQL warehouse: %w", err)
			break
		}
	}
	if err == nil {
		p.confined, err = confine(ctx, c)
	}
	if err := errors.Join(err, c.(*pgConn).hangUp()); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *postgres) dialect() dialect.Engine { return dialect.Postgres }

// close ends the idle connections; no other is in use any more.
func (p *postgres) close() error {
	var all error
	for c, ok := p.idle.take(); ok; c, ok = p.idle.take() {
		all = errors.Join(all, c.hangUp())
	}
	return all
}

// connect returns a connection in the state of a new one. A request of the Data
// API has one for itself, and PostgreSQL starts a process for each that is
// really new: that takes as long as a load.
func (p *postgres) connect(ctx context.Context) (conn, error) {
	if c, ok := p.idle.take(); ok {
		c.used = true
		return c, nil
	}
	raw, err := p.dial(ctx)
	if err != nil {
		return nil, err
	}
	return &pgConn{raw: raw, home: p, temporary: make(map[string]bool), locked: make(map[string]lockMode)}, nil
}

func (p *postgres) dial(ctx context.Context) (*pgconn.PgConn, error) {
	raw, err := pgx.ConnectConfig(ctx, p.config)
	if err != nil {
		return nil, postgresError(ctx, err)
	}
	if p.confined {
		if _, err := raw.Exec(ctx, "SET ROLE "+apiRole); err != nil {
			return nil, errors.Join(postgresError(ctx, err), raw.Close(ctx))
		}
	}
	return raw.PgConn(), nil
}

// pgConn is one connection. It uses the simple protocol, whose results are
// text; the statements hold no parameters, and the dialect passes only one.
type pgConn struct {
	raw  *pgconn.PgConn
	home *postgres
	used bool // it comes from the idle ones, and may have been ended meanwhile

	// Of the transaction that is open:
	locked    map[string]lockMode
	temporary map[string]bool // tables made in it, which nobody else sees
}

func (c *pgConn) dialect() dialect.Engine { return dialect.Postgres }

// begin starts a transaction with one snapshot, as Redshift's SNAPSHOT isolation
// has. PostgreSQL takes it with the first statement after LOCK, as Redshift does.
func (c *pgConn) begin(ctx context.Context) error {
	clear(c.locked)
	clear(c.temporary)
	_, err := c.run(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ", nil)
	return err
}

func (c *pgConn) snapshot(ctx context.Context) error {
	_, err := c.run(ctx, "SELECT 1", nil) // LOCK alone of all statements takes none
	return err
}

func (c *pgConn) lock(ctx context.Context, tables []string, mode lockMode) error {
	if mode == lockCatalog {
		_, err := c.run(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", catalogKey), nil)
		return err
	}
	if mode == lockRead {
		return nil // the engine does so itself
	}
	words := "SHARE ROW EXCLUSIVE" // one writer at a time, readers go on
	if mode == lockAll {
		words = "ACCESS EXCLUSIVE"
	}
	for _, t := range tables {
		if held, ok := c.locked[t]; c.temporary[t] || ok && held >= mode {
			continue
		}
		if _, err := c.run(ctx, fmt.Sprintf("LOCK TABLE %s IN %s MODE", quoteName(t), words), nil); err != nil {
			return err
		}
		c.locked[t] = mode
	}
	return nil
}

func (c *pgConn) unlock() {} // no query outside a transaction keeps a lock

// notice follows what a statement that has run did to the tables.
func (c *pgConn) notice(sql string) {
	switch word, _, _ := strings.Cut(sql, " "); word {
	case "CREATE":
		if m := plainTemporary.FindStringSubmatch(sql); m != nil {
			c.temporary[m[1]] = true
		}
	case "DROP", "ALTER": // a name may mean another table now
		clear(c.locked)
		clear(c.temporary)
	}
}

func (c *pgConn) end(ctx context.Context, commit bool) error {
	if !commit {
		_, err := c.run(ctx, "ROLLBACK", nil)
		return err
	}
	_, err := c.run(ctx, "COMMIT", nil)
	return err
}

// run executes one statement. The first one on a connection that idled is sent
// again where the server restarted, or ended what idled: it is a BEGIN, or reads.
func (c *pgConn) run(ctx context.Context, sql string, out sink) (int64, error) {
	n, answered, err := c.exec(ctx, sql, out)
	if err != nil && c.used && !answered && c.raw.IsClosed() && ctx.Err() == nil {
		var raw *pgconn.PgConn
		if raw, err = c.home.dial(ctx); err == nil {
			c.raw = raw
			n, _, err = c.exec(ctx, sql, out)
		}
	}
	c.used = false
	return n, err
}

func (c *pgConn) exec(ctx context.Context, sql string, out sink) (n int64, answered bool, err error) {
	results := c.raw.Exec(ctx, sql)
	var failed error
	for results.NextResult() {
		answered = true
		r := results.ResultReader()
		if out != nil && failed == nil {
			failed = read(r, out)
		}
		tag, err := r.Close()
		if failed == nil {
			failed = err
		}
		n = tag.RowsAffected()
	}
	err = results.Close()
	var own *sqlError
	if errors.As(failed, &own) {
		return n, answered, own
	}
	if err == nil {
		err = failed
	}
	if err == nil {
		c.notice(sql)
	}
	return n, answered, postgresError(ctx, err)
}

// read gives every row to out.
func read(r *pgconn.ResultReader, out sink) error {
	fields := r.FieldDescriptions()
	cols := make([]column, len(fields))
	kinds := make([]uint32, len(fields))
	for i, f := range fields {
		cols[i], kinds[i] = pgColumn(f), f.DataTypeOID
	}
	if err := out.columns(cols); err != nil {
		return err
	}
	values := make([]any, len(cols))
	for r.NextRow() {
		for i, b := range r.Values() {
			v, err := pgValue(kinds[i], b)
			if err != nil {
				return err
			}
			values[i] = v
		}
		if err := out.row(values); err != nil {
			return err
		}
	}
	return nil // what else went wrong comes with Close
}

func (c *pgConn) update(_ context.Context, st dialect.Statement) (string, error) { return st.SQL, nil }

// loosen does nothing: here an index follows its table.
func (c *pgConn) loosen(context.Context, string, map[string]string) ([]string, error) {
	return nil, nil
}

func (c *pgConn) usable() bool { return !c.raw.IsClosed() }

// close gives the connection back, or ends it where it cannot be made as good as
// new: temporary tables, settings, locks and what else a session may hold go.
func (c *pgConn) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), hangUpTimeout)
	defer cancel()
	if c.usable() && c.reset(ctx) == nil && c.home.idle.keep(c) {
		return nil
	}
	return c.hangUp()
}

func (c *pgConn) reset(ctx context.Context) error {
	if c.raw.TxStatus() != 'I' { // idle; an open transaction cannot discard
		if _, err := c.run(ctx, "ROLLBACK", nil); err != nil {
			return err
		}
	}
	if _, err := c.run(ctx, "DISCARD ALL", nil); err != nil {
		return err
	}
	return c.become(ctx)
}

// hangUpTimeout bounds the goodbye to the server.
const hangUpTimeout = 5 * time.Second

func (c *pgConn) hangUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), hangUpTimeout)
	defer cancel()
	return c.raw.Close(ctx)
}

// load streams the rows by PostgreSQL's own COPY.
func (c *pgConn) load(ctx context.Context, table string, targets []target, rows fill) (int64, error) {
	names := make([]string, len(targets))
	for i, t := range targets {
		names[i] = quoteName(t.Name)
	}
	r, w := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		b := make([]byte, 0, 1<<16)
		err := rows(func(row []copyload.Field) error {
			if b = appendCopyRow(b, row); len(b) < 1<<16-1<<10 {
				return nil
			}
			_, err := w.Write(b)
			b = b[:0]
			return err
		})
		if err == nil {
			_, err = w.Write(b)
		}
		w.CloseWithError(err) // nil is the end of the data
		filled <- err
	}()
	tag, err := c.raw.CopyFrom(ctx, r, fmt.Sprintf("COPY %s (%s) FROM STDIN", quoteName(table), strings.Join(names, ", ")))
	_ = r.CloseWithError(io.ErrClosedPipe) // lets the writer go where the server gave up
	fillErr := <-filled
	var own *sqlError
	if errors.As(fillErr, &own) {
		return 0, own
	}
	if err != nil {
		return 0, postgresError(ctx, err)
	}
	return tag.RowsAffected(), postgresError(ctx, fillErr)
}

// appendCopyRow writes a row in the text format of COPY.
func appendCopyRow(b []byte, row []copyload.Field) []byte {
	for i, f := range row {
		if i > 0 {
			b = append(b, '\t')
		}
		if f.Null {
			b = append(b, `\N`...)
			continue
		}
		for j := range len(f.Text) {
			switch ch := f.Text[j]; ch {
			case '\\':
				b = append(b, `\\`...)
			case '\n':
				b = append(b, `\n`...)
			case '\r':
				b = append(b, `\r`...)
			case '\t':
				b = append(b, `\t`...)
			default:
				b = append(b, ch)
			}
		}
	}
	return append(b, '\n')
}

func (c *pgConn) targets(ctx context.Context, table string) ([]target, error) {
	relation := "to_regclass(" + quoteText(quoteName(table)) + ")"
	var cols, checks textSink
	if _, err := c.run(ctx, `SELECT attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attnum FROM pg_attribute
		WHERE attrelid = `+relation+` AND attnum > 0 AND NOT attisdropped ORDER BY attnum`, &cols); err != nil {
		return nil, err
	}
	if _, err := c.run(ctx, "SELECT conkey[1], conname FROM pg_constraint WHERE contype = 'c' AND conrelid = "+relation, &checks); err != nil {
		return nil, err
	}
	lengths := make(map[string]int)
	for _, r := range checks.rows {
		// localaws_varchar_100_name, as the dialect names its bounds
		if parts := strings.SplitN(r[1], "_", 4); len(parts) == 4 && parts[0] == "localaws" {
			lengths[r[0]], _ = strconv.Atoi(parts[2]) // no number means no bound of ours
		}
	}
	out := make([]target, len(cols.rows))
	for i, r := range cols.rows {
		out[i] = target{Column: columnOf(r[0], r[1], r[2] == "true"), identity: r[3] != ""}
		out[i].Length = lengths[r[4]]
	}
	return out, nil
}

// pgColumn describes a column of PostgreSQL in Redshift's terms.
func pgColumn(f pgconn.FieldDescription) column {
	c := column{name: f.Name, nullable: 2}
	switch f.DataTypeOID {
	case pgtype.BoolOID:
		c.typeName, c.precision = "bool", 1
	case pgtype.Int2OID:
		c.typeName, c.precision = "int2", 5
	case pgtype.Int4OID:
		c.typeName, c.precision = "int4", 10
	case pgtype.Int8OID, pgtype.OIDOID:
		c.typeName, c.precision = "int8", 19
	case pgtype.Float4OID:
		c.typeName, c.precision, c.scale = "float4", 8, 8
	case pgtype.Float8OID:
		c.typeName, c.precision, c.scale = "float8", 17, 17
	case pgtype.NumericOID:
		c.typeName = "numeric"
		if m := f.TypeModifier - 4; m >= 0 { // precision and scale above a header of 4
			c.precision, c.scale = m>>16, m&0xffff
		}
	case pgtype.DateOID:
		c.typeName, c.precision = "date", 13
	case pgtype.TimeOID:
		c.typeName, c.precision, c.scale = "time", 15, 6
	case pgtype.TimestampOID:
		c.typeName, c.precision, c.scale = "timestamp", 29, 6
	case pgtype.TimestamptzOID:
		c.typeName, c.precision, c.scale = "timestamptz", 35, 6
	case pgtype.ByteaOID:
		c.typeName = "varbyte"
	case pgtype.JSONOID, pgtype.JSONBOID:
		c.typeName = "super"
	case pgtype.BPCharOID:
		c.typeName = "bpchar"
		c.precision, c.length = f.TypeModifier-4, f.TypeModifier-4
	default:
		c.typeName, c.precision, c.length = "varchar", 65535, 65535
		if f.DataTypeOID == pgtype.VarcharOID && f.TypeModifier > 4 {
			c.precision, c.length = f.TypeModifier-4, f.TypeModifier-4
		}
	}
	return c
}

// pgValue reads a value of the text format.
func pgValue(kind uint32, b []byte) (any, error) {
	if b == nil {
		return nil, nil
	}
	s := string(b)
	switch kind {
	case pgtype.BoolOID:
		return s == "t", nil
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return strconv.ParseInt(s, 10, 64)
	case pgtype.Float4OID, pgtype.Float8OID:
		return strconv.ParseFloat(s, 64)
	case pgtype.ByteaOID:
		return pgtype.ByteaCodec{}.DecodeDatabaseSQLValue(nil, kind, pgtype.TextFormatCode, b)
	default:
		return s, nil
	}
}
