package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// in runs a statement in a session and returns its description.
func (r *rig) in(t *testing.T, session, sql string) *redshiftdata.DescribeStatementOutput {
	t.Helper()
	out, err := r.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{SessionId: &session, Sql: &sql})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return r.await(t, *out.Id)
}

func (r *rig) openSession(t *testing.T, sql string, keepAlive int32) (string, *redshiftdata.DescribeStatementOutput) {
	t.Helper()
	in := execute(sql)
	in.SessionKeepAliveSeconds = &keepAlive
	out, err := r.ExecuteStatement(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.SessionId), r.await(t, *out.Id)
}

// checkSession: temporary tables and an open transaction live in the session.
func checkSession(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE kept (n INTEGER)")
	id, first := r.openSession(t, "CREATE TEMP TABLE mine (n INTEGER)", 60)
	if id == "" || aws.ToString(first.SessionId) != id {
		t.Fatalf("session %q, described as %q", id, aws.ToString(first.SessionId))
	}
	for _, step := range []struct {
		sql    string
		status types.StatusString
		result string
	}{
		{"INSERT INTO mine VALUES (1)", "FINISHED", ""},
		{"BEGIN", "FINISHED", ""},
		{"INSERT INTO kept SELECT n FROM mine", "FINISHED", ""},
		{"SELECT n FROM kept", "FINISHED", "[[1]]"},
		{"ROLLBACK", "FINISHED", ""},
		{"SELECT COUNT(*) FROM kept", "FINISHED", "[[0]]"},
		{"BEGIN", "FINISHED", ""},
		{"SELECT * FROM nix", "FAILED", ""},
		{"INSERT INTO kept VALUES (2)", "FAILED", ""}, // the transaction is aborted
		{"COMMIT", "FINISHED", ""},                    // which ends it
		{"INSERT INTO kept VALUES (3)", "FINISHED", ""},
		{"SELECT n FROM kept", "FINISHED", "[[3]]"},
		{"SELECT n FROM mine", "FINISHED", "[[1]]"},
	} {
		d := r.in(t, id, step.sql)
		if d.Status != step.status {
			t.Fatalf("%s: %s %s", step.sql, d.Status, aws.ToString(d.Error))
		}
		if step.result != "" {
			if got := fmt.Sprint(r.result(t, *d.Id)); got != step.result {
				t.Errorf("%s: %s, want %s", step.sql, got, step.result)
			}
		}
		if d.RedshiftPid != first.RedshiftPid {
			t.Errorf("%s ran in process %d, the session's is %d", step.sql, d.RedshiftPid, first.RedshiftPid)
		}
	}
	if got := r.rows(t, "SELECT n FROM kept"); fmt.Sprint(got) != "[[3]]" {
		t.Errorf("outside the session: %v", got)
	}
}

// TestSessionEnds: a session that is gone, never was, or is busy.
func TestSessionEnds(t *testing.T) {
	r := newRig(t, redshift.Options{})
	gone, _ := r.openSession(t, "SELECT 1", 0)
	use := func(id string) error {
		_, err := r.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{SessionId: &id, Sql: aws.String("SELECT 1")})
		return err
	}
	if err := use(gone); code(t, err) != "ValidationException" || !strings.Contains(err.Error(), "Session is not available") {
		t.Errorf("a closed session: %v", err)
	}
	if err := use("0b9ab1f5-0000-4000-8000-000000000000"); code(t, err) != "ValidationException" || !strings.Contains(err.Error(), "is invalid") {
		t.Errorf("a session that never was: %v", err)
	}
	open, _ := r.openSession(t, "SELECT 1", 60)
	if err := r.faults.Put([]fault.Fault{{Service: "redshift-data", Kind: fault.Paused}}); err != nil {
		t.Fatal(err)
	}
	out, err := r.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{SessionId: &open, Sql: aws.String("SELECT 1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := use(open); code(t, err) != "ValidationException" || !strings.Contains(err.Error(), "busy") {
		t.Errorf("a busy session: %v", err)
	}
	r.faults.Clear()
	r.await(t, *out.Id)
	if d := r.in(t, open, "SELECT 2"); d.Status != types.StatusStringFinished {
		t.Errorf("after its statement the session is not free: %s", d.Status)
	}
}

// checkSessionHoldsLocks: a lock lasts until the session's transaction ends.
func checkSessionHoldsLocks(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE l (n INTEGER)")
	id, _ := r.openSession(t, "BEGIN", 60)
	if d := r.in(t, id, "LOCK l"); d.Status != types.StatusStringFinished {
		t.Fatal(*d.Error)
	}
	waiting := r.submit(t, "INSERT INTO l VALUES (1)")
	r.await(t, waiting, types.StatusStringStarted)
	if d := r.in(t, id, "INSERT INTO l VALUES (0)"); d.Status != types.StatusStringFinished {
		t.Fatal(*d.Error)
	}
	if d := r.await(t, waiting, types.StatusStringStarted, types.StatusStringFinished); d.Status != types.StatusStringStarted {
		t.Error("a writer did not wait for LOCK")
	}
	r.in(t, id, "COMMIT")
	if d := r.await(t, waiting); d.Status != types.StatusStringFinished {
		t.Errorf("the writer that waited: %s", aws.ToString(d.Error))
	}
}

// checkSessionSnapshot: in a session that has made tables, too, the snapshot comes
// after the wait for LOCK, so no update is lost and none fails.
func checkSessionSnapshot(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE counted (n INTEGER)")
	r.must(t, "INSERT INTO counted VALUES (0)")
	holds, _ := r.openSession(t, "CREATE TEMP TABLE a (n INTEGER)", 60)
	waits, _ := r.openSession(t, "CREATE TEMP TABLE b (n INTEGER)", 60)
	for _, sql := range []string{"BEGIN", "LOCK counted", "UPDATE counted SET n = n + 1"} {
		if d := r.in(t, holds, sql); d.Status != types.StatusStringFinished {
			t.Fatalf("%s: %s", sql, aws.ToString(d.Error))
		}
	}
	out, err := r.BatchExecuteStatement(t.Context(), &redshiftdata.BatchExecuteStatementInput{
		SessionId: &waits, Sqls: []string{"LOCK counted", "UPDATE counted SET n = n + 1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for d := r.await(t, *out.Id, types.StatusStringStarted); d.SubStatements[0].Status != types.StatementStatusStringStarted; {
		d = r.await(t, *out.Id, types.StatusStringStarted)
	}
	r.in(t, holds, "COMMIT")
	if d := r.await(t, *out.Id); d.Status != types.StatusStringFinished {
		t.Errorf("the one that waited: %s", aws.ToString(d.Error))
	}
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM counted")); got != "[[2]]" {
		t.Errorf("counted %s, want 2", got)
	}
}

// A transaction that is READ ONLY reads, and refuses what writes or defines.
func checkReadOnly(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE kept (n INTEGER)", "INSERT INTO kept VALUES (1)")
	for _, sql := range []string{
		"INSERT INTO kept VALUES (2)", "UPDATE kept SET n = 2", "DELETE FROM kept", "CREATE TABLE other (n INTEGER)", "CREATE TEMP TABLE other (n INTEGER)",
		"SELECT n INTO other FROM kept", "ALTER TABLE kept ADD COLUMN m INTEGER", "DROP TABLE kept",
	} {
		id, _ := r.openSession(t, "BEGIN READ ONLY", 60)
		if d := r.in(t, id, "SELECT n FROM kept"); fmt.Sprint(r.result(t, *d.Id)) != "[[1]]" {
			t.Errorf("before %s: %s", sql, d.Status)
		}
		if d := r.in(t, id, sql); aws.ToString(d.Error) != "ERROR: transaction is read-only" {
			t.Errorf("%s: %s %s", sql, d.Status, aws.ToString(d.Error))
		}
		r.in(t, id, "ROLLBACK")
		if d := r.in(t, id, "INSERT INTO kept VALUES (3)"); d.Status != "FINISHED" {
			t.Errorf("after %s: %s", sql, aws.ToString(d.Error))
		}
		r.must(t, "DELETE FROM kept WHERE n = 3")
	}
	// A session that ends with its query keeps no lock on what it read.
	id, _ := r.openSession(t, "BEGIN TRANSACTION READ ONLY", 60)
	zero, sql := int32(0), "SELECT n FROM kept"
	out, err := r.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{SessionId: &id, Sql: &sql, SessionKeepAliveSeconds: &zero})
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, *out.Id)
	r.must(t, "LOCK kept", "DELETE FROM kept")
	if got := fmt.Sprint(r.result(t, *out.Id)); got != "[[1]]" {
		t.Errorf("the result of a session that has ended: %s", got)
	}
}
