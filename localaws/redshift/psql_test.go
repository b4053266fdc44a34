package redshift_test

import (
	"context"
	"errors"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// psqlPort serves the rig's warehouse to PostgreSQL's clients and returns the URL.
func psqlPort(t *testing.T, r *rig) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- redshift.ServePSQL(ctx, listener, func() *redshift.Service { return r.svc }) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "postgres://anybody:any@" + listener.Addr().String() + "/analytics?sslmode=prefer"
}

func psqlClient(t *testing.T, url string, mode pgx.QueryExecMode) *pgx.Conn {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = mode
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) }) // some tests end it themselves
	return c
}

// checkPSQL: PostgreSQL's own client, with Redshift's SQL.
func checkPSQL(t *testing.T, r *rig) {
	url := psqlPort(t, r)
	run := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "psql", append([]string{"-X", "-w", url}, args...)...)
		out, _ := cmd.CombinedOutput() // the status is told by what it says
		return string(out)
	}
	for _, c := range []struct{ sql, want string }{
		{"CREATE TABLE sold (id INTEGER, name VARCHAR(20), amount DECIMAL(10,2), at TIMESTAMP, paid BOOLEAN) DISTKEY(id)", "CREATE TABLE\n"},
		{"INSERT INTO sold VALUES (1, 'it\\'s', 10.5, '2026-01-01 10:00:00', TRUE), (2, NULL, NULL, NULL, NULL)", "INSERT 0 2\n"},
		{"SELECT * FROM sold ORDER BY id", "1|it's|10.50|2026-01-01 10:00:00|t\n2|~|~|~|~\n"},
		{"UPDATE sold SET paid = FALSE WHERE id = 1", "UPDATE 1\n"},
		{"SELECT GETDATE() > '2020-01-01', NVL(NULL, 7)", "t|7\n"},
		{"SELECT 1; SELECT 2", "1\n2\n"},
		{"BEGIN; DELETE FROM sold; ROLLBACK; SELECT COUNT(*) FROM sold", "BEGIN\nDELETE 2\nROLLBACK\n2\n"},
		{"DELETE FROM sold; SELECT 1/0.0 FROM nix", "DELETE 2\nERROR:  42P01"},
		{"SELECT COUNT(*) FROM sold", "2\n"}, // the failure took both back
		{"SELEC 1", "ERROR:  42601"},
		{"SELECT nix FROM sold", "ERROR:  42703"},
		{"INSERT INTO sold (name) VALUES ('a name of more than 20 letters')", "ERROR:  22001"},
		{"SELECT CAST('a' AS bytea)", "ERROR:  42704"},
		{"SELECT CURRENT_SCHEMA()", "public\n"},
		{"PREPARE p (int) AS SELECT * FROM sold WHERE id = $1", "ERROR:  0A000"},
		{"SELECT E'a'", "ERROR:  "}, // as Redshift, which has no such text
		{"", ""},
		{"SELECT id, COUNT(*) FROM sold", "ERROR:  "},
	} {
		got := run("-A", "-t", "-P", "null=~", "-v", "VERBOSITY=verbose", "-c", c.sql)
		if exact := !strings.HasSuffix(c.want, "\n"); got != c.want && (!exact || !strings.HasPrefix(got, c.want)) {
			t.Errorf("%s:\n%q, want\n%q", c.sql, got, c.want)
		}
	}
}

// checkPSQLExtended: a driver with the extended protocol, binary values and parameters.
func checkPSQLExtended(t *testing.T, r *rig) {
	url := psqlPort(t, r)
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec,
	} { // the simple protocol of pgx wants standard_conforming_strings, which Redshift does not tell
		c := psqlClient(t, url, mode)
		var id int32
		var name *string
		var amount float64
		var at time.Time
		var open bool
		if _, err := c.Exec(t.Context(), "DROP TABLE IF EXISTS sold"); err != nil {
			t.Fatal(mode, err)
		}
		if _, err := c.Exec(t.Context(), "CREATE TABLE sold (id INTEGER, name VARCHAR(20), amount DECIMAL(10,2), at TIMESTAMP, paid BOOLEAN)"); err != nil {
			t.Fatal(mode, err)
		}
		tag, err := c.Exec(t.Context(), "INSERT INTO sold VALUES ($1, $2, $3, $4, $5), (2, NULL, 1, '2026-01-02', FALSE)", 1, `it's \ $1`, "10.50", "2026-01-01 10:00:00", true)
		if err != nil || tag.RowsAffected() != 2 {
			t.Fatal(mode, tag, err)
		}
		for want := range int32(2) { // the second one uses what the first one prepared
			if err := c.QueryRow(t.Context(), "SELECT id, name, amount, at, paid FROM sold WHERE id = $1", want+1).Scan(&id, &name, &amount, &at, &open); err != nil {
				t.Fatal(mode, err)
			}
			if id != want+1 || (name == nil) != (want == 1) || name != nil && *name != `it's \ $1` || open != (want == 0) || at.Day() != int(want)+1 {
				t.Errorf("%v: %d %v %v %v %v", mode, id, name, amount, at, open)
			}
		}
		var state *pgconn.PgError
		if err := c.QueryRow(t.Context(), "SELECT nix FROM sold").Scan(&id); !errors.As(err, &state) || state.Code != "42703" {
			t.Errorf("%v: %v", mode, err)
		}
		// A transaction of the connection, which a failure aborts.
		tx, err := c.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "DELETE FROM sold"); err != nil {
			t.Error(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT nix FROM nix"); !errors.As(err, &state) || state.Code != "42P01" {
			t.Error(err)
		}
		if _, err := tx.Exec(t.Context(), "SELECT 1"); !errors.As(err, &state) || state.Code != "25P02" {
			t.Error(err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
		if got := r.rows(t, "SELECT COUNT(*) FROM sold"); got[0][0] != "2" {
			t.Errorf("%v: %v rows", mode, got)
		}
	}
}

// checkPSQLWaits: a pause holds statements up, and a request to cancel ends them; who
// leaves gives back what its transaction held.
func checkPSQLWaits(t *testing.T, r *rig) {
	url := psqlPort(t, r)
	r.must(t, "CREATE TABLE sold (id INTEGER)")
	c := psqlClient(t, url, pgx.QueryExecModeExec)
	if err := r.faults.Put([]fault.Fault{{Service: "redshift-data", Kind: fault.Paused}}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(t.Context(), "SELECT 1")
		ended <- err
	}()
	var err error
	for waiting := true; waiting; {
		if cancelErr := c.PgConn().CancelRequest(t.Context()); cancelErr != nil {
			t.Fatal(cancelErr)
		}
		select {
		case err = <-ended:
			waiting = false
		case <-time.After(20 * time.Millisecond):
		}
	}
	var state *pgconn.PgError
	if !errors.As(err, &state) || state.Code != "57014" {
		t.Errorf("cancelled: %v", err)
	}
	r.faults.Clear()
	if _, err := c.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(t.Context(), "LOCK sold"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Error(err)
	}
	r.must(t, "INSERT INTO sold VALUES (1)")
	deadline := time.After(2 * time.Minute)
	for open := 0; ; { // the one that left has its place for a moment yet
		c, err := pgx.Connect(t.Context(), url)
		if err == nil {
			t.Cleanup(func() { _ = c.Close(context.Background()) })
			if open++; open <= 20 {
				continue
			}
			t.Fatalf("%d clients at a time", open)
		}
		if !errors.As(err, &state) || state.Code != "53300" {
			t.Fatalf("with %d clients another is refused with %v", open, err)
		}
		if open == 20 {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("there is place for %d clients, want 20", open)
		}
	}
}
