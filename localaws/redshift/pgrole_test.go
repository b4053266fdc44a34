package redshift_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// TestPostgreSQLRunsStatementsWithoutRights: the URL's user is a superuser, and no
// statement is: none reads or writes a file, ends another's session, or becomes
// somebody else, however it is written and whatever ran on its connection before.
func TestPostgreSQLRunsStatementsWithoutRights(t *testing.T) {
	url := pgtest.Start(t)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(t.Context()) }()
	// A function that no list of names knows, for what the lists may lack.
	for _, sql := range []string{
		"CREATE TABLE before (n INTEGER); INSERT INTO before VALUES (1); CREATE SCHEMA more; CREATE VIEW more.seen AS SELECT n FROM before",
		"CREATE FUNCTION anything(q text) RETURNS text LANGUAGE plpgsql AS 'DECLARE r text; BEGIN EXECUTE q INTO r; RETURN r; END'",
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, redshift.Options{Warehouse: url})
	file := filepath.Join(t.TempDir(), "written")
	for _, sql := range []string{
		"SELECT pg_read_file('/etc/passwd')", `SELECT "pg_read_file"('/etc/passwd')`, "SELECT pg_catalog.pg_read_file('/etc/passwd')",
		`SELECT pg_catalog."pg_ls_dir"('/')`, "SELECT * FROM pg_stat_file('/etc/passwd')",
		"SELECT query_to_xml('SELECT pg_read_file(''/etc/passwd'')', true, true, '')",
		"SELECT anything('SELECT pg_read_file(''/etc/passwd'')')",
		"SELECT anything('SELECT rolpassword FROM pg_authid LIMIT 1')",
		"SELECT lo_from_bytea(77777, '\\\\x70')", "SELECT lo_export(77777, '" + file + "')", "SELECT lo_import('/etc/passwd')",
		"SELECT anything('COPY (SELECT 1) TO ''" + file + "''')", "SELECT anything('COPY (SELECT 1) TO PROGRAM ''touch " + file + "''')",
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity", "SELECT pg_reload_conf()", "SELECT pg_advisory_lock(1)",
		"SELECT anything('SELECT pg_terminate_backend(" + fmt.Sprint(admin.PgConn().PID()) + ")')",
		"SELECT set_config('role', 'none', false)", "UPDATE pg_settings SET setting = 'none' WHERE name = 'role'",
		"UPDATE pg_catalog.pg_settings SET setting = 'none' WHERE name = 'role'", "SELECT rolpassword FROM pg_authid",
		"SELECT dblink('', 'SELECT 1')",
	} {
		d := r.try(t, sql)
		if d.Status != types.StatusStringFailed || strings.Contains(aws.ToString(d.Error), "syntax error") {
			t.Errorf("%s: %s %s", sql, d.Status, aws.ToString(d.Error))
		}
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}
	if err := admin.Ping(t.Context()); err != nil {
		t.Errorf("a session of somebody else was ended: %v", err)
	}
	for _, sql := range []string{"SET ROLE postgres", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT", "RESET ALL", "SELECT 1"} {
		r.try(t, sql)
		if got := r.rows(t, "SELECT current_setting('is_superuser')"); got[0][0] != "off" {
			t.Errorf("after %s: is_superuser is %s", sql, got[0][0])
		}
	}
	// What was there before is the statements' own.
	r.must(t, "INSERT INTO before VALUES (2)", "ALTER TABLE before ADD COLUMN m INTEGER", "SELECT n FROM more.seen")
	r.must(t, "DROP VIEW more.seen", "DROP TABLE before")
	if _, err := admin.Exec(t.Context(), "CREATE TABLE later (n INTEGER)"); err != nil {
		t.Fatal(err)
	}
	r.must(t, "INSERT INTO later VALUES (1)")
}
