package conformance

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// postgresEnv names a PostgreSQL to run the same tests on, e.g.
// postgres://localhost/test; its schema public is used and cleaned.
const postgresEnv = "LOCALAWS_TEST_POSTGRES"

// engines opens a fresh connection for each engine at hand.
func engines(t testing.TB, run func(t testing.TB, db *engine)) {
	t.Helper()
	open := func(t testing.TB, driver, dsn string, e dialect.Engine) *engine {
		t.Helper()
		pool, err := sql.Open(driver, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = pool.Close() })
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		db := &engine{conn: conn, engine: e}
		for _, s := range slices.Concat(dialect.Setup(e), []string{"CREATE SCHEMA IF NOT EXISTS " + dialect.Schema}, dialect.Library(e)) {
			db.plain(t, s)
		}
		search := "SET search_path = 'main,localaws'"
		if e == dialect.Postgres {
			search = "SET search_path = public, localaws"
		}
		db.plain(t, search)
		return db
	}
	run(t, open(t, "duckdb", "", dialect.DuckDB))
	if dsn := os.Getenv(postgresEnv); dsn != "" {
		db := open(t, "pgx", dsn, dialect.Postgres)
		db.plain(t, "DROP SCHEMA public CASCADE")
		db.plain(t, "CREATE SCHEMA public")
		run(t, db)
	}
}

type engine struct {
	conn   *sql.Conn
	engine dialect.Engine
}

func (db *engine) String() string { return [...]string{"DuckDB", "PostgreSQL"}[db.engine] }

func (db *engine) plain(t testing.TB, sql string) {
	t.Helper()
	if _, err := db.conn.ExecContext(context.Background(), sql); err != nil {
		t.Fatalf("%v: %s: %v", db, sql, err)
	}
}

// run translates and runs a statement with all that belongs to it. Rows come
// back as text, fields parted by |, rows by ;.
func (db *engine) run(sql string, params map[string]string) (string, error) {
	ctx := context.Background()
	s, err := dialect.Translate(sql, db.engine, params)
	if err != nil {
		return "", err
	}
	for _, b := range s.Before {
		if _, err := db.conn.ExecContext(ctx, b); err != nil {
			return "", fmt.Errorf("before: %s: %w", b, err)
		}
	}
	var out string
	if s.Rows {
		if out, err = db.query(ctx, s.SQL); err != nil {
			return "", fmt.Errorf("%s: %w", s.SQL, err)
		}
	} else if s.SQL != "" {
		if _, err := db.conn.ExecContext(ctx, s.SQL); err != nil {
			return "", fmt.Errorf("%s: %w", s.SQL, err)
		}
	}
	for _, a := range s.After {
		if _, err := db.conn.ExecContext(ctx, a); err != nil {
			return "", fmt.Errorf("after: %s: %w", a, err)
		}
	}
	return out, nil
}

func (db *engine) query(ctx context.Context, sql string) (string, error) {
	rows, err := db.conn.QueryContext(ctx, sql)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var lines []string
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		fields := make([]string, len(columns))
		for i, v := range values {
			switch v := v.(type) {
			case nil:
				fields[i] = "NULL"
			case interface{ Format(string) string }: // time.Time
				fields[i] = v.Format("2006-01-02 15:04:05.999999")
			case []byte:
				fields[i] = string(v)
			default:
				fields[i] = fmt.Sprint(v)
			}
		}
		lines = append(lines, strings.Join(fields, "|"))
	}
	return strings.Join(lines, ";"), rows.Err()
}
