package redshift_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

func (r *rig) fault(t *testing.T, f fault.Fault) {
	t.Helper()
	f.Service = "redshift-data"
	if err := r.faults.Put([]fault.Fault{f}); err != nil {
		t.Fatal(err)
	}
}

// checkFaultStatementFailed: the batch fails at its last change of data, and
// nothing of it stays.
func checkFaultStatementFailed(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE t (n INTEGER)")
	r.fault(t, fault.Fault{Kind: fault.StatementFailed, Operation: "BatchExecuteStatement", Count: 1, Error: "ERROR: 1023 injected"})
	r.must(t, "INSERT INTO t VALUES (0)") // another operation
	d := r.try(t, "INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)", "SELECT 1")
	if d.Status != types.StatusStringFailed || *d.Error != "Query #2 failed with ERROR: 1023 injected" {
		t.Errorf("the batch is %s: %s", d.Status, aws.ToString(d.Error))
	}
	if got := r.rows(t, "SELECT COUNT(*) FROM t"); got[0][0] != "1" {
		t.Errorf("%s rows", got[0][0])
	}
	r.must(t, "INSERT INTO t VALUES (1)", "SELECT 1") // the fault is used up
	// Only the batches that hold a text, or that are large.
	const large = "SELECT 'a literal that makes this batch a large one'"
	for _, f := range []fault.Fault{{Match: "(77)"}, {Above: 60}} {
		f.Kind, f.Operation = fault.StatementFailed, "BatchExecuteStatement"
		r.fault(t, f)
		r.must(t, "INSERT INTO t VALUES (7)", "SELECT 1")
		if d := r.try(t, "INSERT INTO t VALUES (77)", large); d.Status != types.StatusStringFailed {
			t.Errorf("%+v did not strike", f)
		}
	}
}

// checkFaultLineRefused: the one line that holds the text, by the number of the
// line that its row begins at.
func checkFaultLineRefused(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE t (a VARCHAR(20), b VARCHAR(20))")
	r.bucket.put("b/lines.gz", gzipped(t, "1,x\n\"of\ntwo\",x\n3,\"this\none\"\n4,x\n"))
	r.fault(t, fault.Fault{Kind: fault.LineRefused, Match: "one", Error: "not this one"})
	const load = "COPY t FROM 's3://b/lines.gz' " + role + " CSV GZIP"
	if d := r.try(t, "SELECT 1", load); d.Status != types.StatusStringFailed || !strings.Contains(*d.Error, "sys_load_error_detail") {
		t.Errorf("the batch is %s: %s", d.Status, aws.ToString(d.Error))
	}
	const told = "[[s3://b/lines.gz 4 b not this one]]"
	for _, sql := range []string{
		"SELECT file_name, line_number, TRIM(column_name), TRIM(error_message) FROM sys_load_error_detail",
		"SELECT filename, line_number, TRIM(colname), TRIM(err_reason) FROM stl_load_errors",
	} {
		if got := fmt.Sprint(r.rows(t, sql)); got != told {
			t.Errorf("%s: %s, want %s", sql, got, told)
		}
	}
	r.must(t, "INSERT INTO t VALUES ('none', 'one')", "SELECT 1") // no COPY
	r.fault(t, fault.Fault{Kind: fault.LineRefused, Match: "another"})
	r.must(t, load)
	if got := r.rows(t, "SELECT COUNT(*) FROM t"); got[0][0] != "5" {
		t.Errorf("%s rows", got[0][0])
	}
}

// checkFaultSnapshotEarly: a batch that waits at its LOCK has its snapshot already.
// What it then changes that others changed too is a conflict; what it adds is not,
// and so what both add stands twice.
func checkFaultSnapshotEarly(t *testing.T, r *rig) {
	const add = "INSERT INTO facts SELECT o.id FROM orders o LEFT JOIN facts f ON f.id = o.id WHERE f.id IS NULL"
	r.must(t, "CREATE TABLE l (n INTEGER)")
	r.must(t, "CREATE TABLE facts (id VARCHAR(10)) SORTKEY(id)")
	r.must(t, "CREATE TABLE orders (id VARCHAR(10))", "INSERT INTO orders VALUES ('o-1')")
	r.must(t, "CREATE TABLE shared (k VARCHAR(10), n INTEGER) SORTKEY(k)", "INSERT INTO shared VALUES ('*', 0), ('a', 0)")
	// overlap runs the statements while another transaction holds the lock that
	// has run the same.
	overlap := func(statements ...string) *redshiftdata.DescribeStatementOutput {
		t.Helper()
		first, _ := r.openSession(t, "BEGIN", 60)
		for _, sql := range append([]string{"LOCK l"}, statements...) {
			if d := r.in(t, first, sql); d.Status != types.StatusStringFinished {
				t.Fatalf("%s: %s", sql, aws.ToString(d.Error))
			}
		}
		second, err := r.BatchExecuteStatement(t.Context(), batch(append([]string{"LOCK l"}, statements...)...))
		if err != nil {
			t.Fatal(err)
		}
		r.awaitPart(t, *second.Id, types.StatementStatusStringStarted)
		if d := r.in(t, first, "COMMIT"); d.Status != types.StatusStringFinished {
			t.Fatalf("the first: %s", aws.ToString(d.Error))
		}
		return r.await(t, *second.Id)
	}
	facts := func(want string) {
		t.Helper()
		if got := r.rows(t, "SELECT COUNT(*) FROM facts"); got[0][0] != want {
			t.Errorf("the fact stands %s times, want %s", got[0][0], want)
		}
	}
	move := "UPDATE shared SET n = n WHERE k = '*'"
	if d := overlap(add, move); d.Status != types.StatusStringFinished {
		t.Errorf("a batch that waited: %s", aws.ToString(d.Error))
	}
	facts("1")
	r.must(t, "DELETE FROM facts")
	r.fault(t, fault.Fault{Kind: fault.SnapshotEarly, Operation: "BatchExecuteStatement", Count: 1})
	if d := overlap(add, move); d.Status != types.StatusStringFailed || !strings.Contains(aws.ToString(d.Error), "ERROR: 1023") {
		t.Errorf("two that write one row: %s %s", d.Status, aws.ToString(d.Error))
	}
	facts("1")
	r.must(t, "DELETE FROM facts")
	r.fault(t, fault.Fault{Kind: fault.SnapshotEarly, Operation: "BatchExecuteStatement", Count: 1})
	if d := overlap(add); d.Status != types.StatusStringFinished {
		t.Errorf("two that write different rows: %s", aws.ToString(d.Error))
	}
	facts("2")
}

// awaitPart follows a batch until its first statement stands so.
func (r *rig) awaitPart(t *testing.T, id string, want types.StatementStatusString) {
	t.Helper()
	for {
		d := r.await(t, id, types.StatusStringStarted, types.StatusStringFinished, types.StatusStringFailed)
		if len(d.SubStatements) > 0 && d.SubStatements[0].Status == want {
			return
		}
		if d.Status != types.StatusStringStarted {
			t.Fatalf("the batch is %s: %s", d.Status, aws.ToString(d.Error))
		}
	}
}

// checkFaultSlowAndCancel: a slow statement is STARTED until it is cancelled, and
// a cancelled one is ABORTED and leaves nothing.
func checkFaultSlowAndCancel(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE t (n INTEGER)")
	r.fault(t, fault.Fault{Kind: fault.StatementSlow, Count: 1, Delay: fault.Duration(time.Hour)})
	out, err := r.BatchExecuteStatement(t.Context(), batch("INSERT INTO t VALUES (1)", "SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, *out.Id, types.StatusStringStarted)
	c, err := r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: out.Id})
	if err != nil || !*c.Status {
		t.Fatalf("cancel: %v, %v", c, err)
	}
	d := r.await(t, *out.Id)
	if d.Status != types.StatusStringAborted || d.SubStatements[0].Status != types.StatementStatusStringAborted {
		t.Errorf("cancelled: %s, first statement %s", d.Status, d.SubStatements[0].Status)
	}
	_, err = r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: out.Id})
	if code(t, err) != "ValidationException" || !strings.Contains(err.Error(), "already in ABORTED state") {
		t.Errorf("cancel again: %v", err)
	}
	r.fault(t, fault.Fault{Kind: fault.StatementSlow, Count: 1, Delay: fault.Duration(50 * time.Millisecond)})
	if d := r.must(t, "INSERT INTO t VALUES (2)"); d.Duration < int64(50*time.Millisecond) {
		t.Errorf("a slow statement took %v", time.Duration(d.Duration))
	}
}

// checkStatementTimeout: statement_timeout ends what takes longer, in the engine or
// waiting for a table, and the session goes on with what it is told of it.
func checkStatementTimeout(t *testing.T, r *rig) {
	const long = "SELECT COUNT(*) FROM big a, big b, big c WHERE a.n + b.n + c.n < 0"
	r.must(t, "CREATE TABLE big (n INTEGER)", "INSERT INTO big VALUES (1)"+strings.Repeat(", (1)", 1999))
	id, _ := r.openSession(t, "SET statement_timeout TO 500", 60)
	holder, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, holder, "LOCK big")
	for _, sql := range []string{"INSERT INTO big VALUES (2)", long} {
		d := r.in(t, id, sql)
		if d.Status != types.StatusStringFailed || !strings.HasSuffix(aws.ToString(d.Error), "cancelled on user's request") {
			t.Errorf("%s is %s: %s", sql, d.Status, aws.ToString(d.Error))
		}
		r.in(t, holder, "ROLLBACK")
	}
	if d := r.in(t, id, "SHOW statement_timeout"); fmt.Sprint(r.result(t, *d.Id)) != "[[500]]" {
		t.Errorf("the session's timeout is %v", r.result(t, *d.Id))
	}
	if got := r.rows(t, "SHOW statement_timeout"); got[0][0] != "0" {
		t.Errorf("another's timeout is %s", got[0][0])
	}
	r.in(t, id, "RESET ALL")
	if d := r.in(t, id, "SHOW statement_timeout"); fmt.Sprint(r.result(t, *d.Id)) != "[[0]]" {
		t.Errorf("after RESET the session's timeout is %v", r.result(t, *d.Id))
	}
}

// checkCancelRunning cancels a statement in the engine and one that waits for a
// lock; the connection of a session survives it.
func checkCancelRunning(t *testing.T, r *rig) {
	const long = "SELECT COUNT(*) FROM big a, big b, big c WHERE a.n + b.n + c.n < 0"
	r.must(t, "CREATE TABLE big (n INTEGER)", "INSERT INTO big VALUES (1)"+strings.Repeat(", (1)", 1999))
	id, _ := r.openSession(t, "CREATE TEMP TABLE mine AS SELECT 1 AS n", 60)
	out, err := r.ExecuteStatement(t.Context(), &redshiftdata.ExecuteStatementInput{SessionId: &id, Sql: aws.String(long)})
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, *out.Id, types.StatusStringStarted)
	if _, err := r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: out.Id}); err != nil {
		t.Fatal(err)
	}
	if d := r.await(t, *out.Id); d.Status != types.StatusStringAborted {
		t.Errorf("cancelled in the engine: %s %s", d.Status, aws.ToString(d.Error))
	}
	if d := r.in(t, id, "SELECT n FROM mine"); d.Status != types.StatusStringFinished {
		t.Errorf("the session after a cancel: %s", aws.ToString(d.Error))
	}
	r.in(t, id, "BEGIN")
	r.in(t, id, "LOCK big")
	waiting := r.submit(t, "INSERT INTO big VALUES (1)")
	r.await(t, waiting, types.StatusStringStarted)
	if _, err := r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: &waiting}); err != nil {
		t.Fatal(err)
	}
	if d := r.await(t, waiting); d.Status != types.StatusStringAborted {
		t.Errorf("cancelled while waiting: %s %s", d.Status, aws.ToString(d.Error))
	}
	r.in(t, id, "COMMIT")
	r.must(t, "INSERT INTO big VALUES (1)") // nothing holds the table any more
}

// TestPaused: statements stay SUBMITTED until the fault goes.
func TestPaused(t *testing.T) {
	r := newRig(t, redshift.Options{})
	r.fault(t, fault.Fault{Kind: fault.Paused})
	id, cancelled := r.submit(t, "SELECT 1"), r.submit(t, "SELECT 2")
	if _, err := r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: &cancelled}); err != nil {
		t.Fatal(err)
	}
	if d := r.await(t, cancelled); d.Status != types.StatusStringAborted {
		t.Errorf("cancelled while paused: %s", d.Status)
	}
	if d := r.await(t, id, types.StatusStringSubmitted, types.StatusStringFinished); d.Status != types.StatusStringSubmitted {
		t.Errorf("a statement started while paused")
	}
	r.faults.Clear()
	if d := r.await(t, id); d.Status != types.StatusStringFinished {
		t.Errorf("after the pause: %s", d.Status)
	}
}
