package awstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func startRedshift(t *testing.T) (*localaws.Running, *aws.Redshift) {
	t.Helper()
	l, a := start(t, false)
	return l, a.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"})
}

func run(t *testing.T, db *aws.Redshift, token string, statements ...string) []warehouse.Result {
	t.Helper()
	out, err := db.Run(t.Context(), token, statements)
	if err != nil {
		t.Fatalf("run %q: %v", statements, err)
	}
	return out
}

func TestABatchIsOneTransactionWithAResultForEachStatement(t *testing.T) {
	_, db := startRedshift(t)
	got := run(t, db, "load-1",
		"CREATE TABLE x (a INTEGER, b DECIMAL(10,2), c VARCHAR(20), d TIMESTAMP)",
		"INSERT INTO x VALUES (1, 10.35, 'quo''te \\\\ é', '2026-11-23 07:08:09.123456'), (2, NULL, NULL, NULL)",
		"SELECT a AS number, b, c, d FROM x ORDER BY a")
	if got[1].Affected != 2 || got[1].Columns != nil {
		t.Errorf("insert: %+v", got[1])
	}
	want := warehouse.Result{Columns: []string{"number", "b", "c", "d"}, Types: []string{"int4", "numeric", "varchar", "timestamp"}, Affected: -1, Rows: [][]warehouse.Value{
		{{Text: "1"}, {Text: "10.35"}, {Text: `quo'te \ é`}, {Text: "2026-11-23 07:08:09.123456"}},
		{{Text: "2"}, {Null: true}, {Null: true}, {Null: true}},
	}}
	if !reflect.DeepEqual(got[2], want) {
		t.Errorf("got  %+v\nwant %+v", got[2], want)
	}
	_, err := db.Run(t.Context(), "load-2", []string{"DELETE FROM x", "INSERT INTO x (a) VALUES ('seven')"})
	var refused *warehouse.StatementError
	if !errors.As(err, &refused) || refused.Index != 1 || refused.Kind != nil {
		t.Fatalf("got %#v", err)
	}
	if got := run(t, db, "count", "SELECT COUNT(*) FROM x"); got[0].Rows[0][0].Text != "2" {
		t.Errorf("after a failed batch the table has %s rows", got[0].Rows[0][0].Text)
	}
}

func TestALargeResultComesWhole(t *testing.T) {
	_, db := startRedshift(t)
	var values []string
	for i := range 2000 {
		values = append(values, fmt.Sprintf("(%d, '%s')", i, strings.Repeat("x", 30)))
	}
	statements := []string{
		"CREATE TABLE x (a INTEGER, b VARCHAR(2000))", "INSERT INTO x VALUES " + strings.Join(values, ","),
		"SELECT a, b || b || b || b || b || b || b || b || b || b FROM x ORDER BY a",
	}
	got := run(t, db, "t", statements...)[2]
	if len(got.Rows) != 2000 || got.Rows[1999][0].Text != "1999" || len(got.Rows[1999][1].Text) != 300 {
		t.Errorf("%d rows", len(got.Rows))
	}
}

func TestALostReplyDoesNotRunTheBatchTwice(t *testing.T) {
	l, db := startRedshift(t)
	run(t, db, "ddl", "CREATE TABLE x (a INTEGER)")
	for _, c := range []struct {
		operation  string
		kind       fault.Kind
		statements []string
	}{
		{"ExecuteStatement", fault.ReplyLost, []string{"INSERT INTO x VALUES (1)"}},
		{"BatchExecuteStatement", fault.ReplyLost, []string{"INSERT INTO x VALUES (2)", "SELECT 1"}},
		{"BatchExecuteStatement", fault.Reset, []string{"INSERT INTO x VALUES (3)", "SELECT 1"}},
		{"BatchExecuteStatement", fault.InternalError, []string{"INSERT INTO x VALUES (4)", "SELECT 1"}},
		{"DescribeStatement", fault.ReplyLost, []string{"INSERT INTO x VALUES (5)", "SELECT 1"}},
		{"DescribeStatement", fault.Throttle, []string{"INSERT INTO x VALUES (6)", "SELECT 1"}},
		{"GetStatementResult", fault.InternalError, []string{"INSERT INTO x VALUES (7)", "SELECT 1"}},
	} {
		l.SetFaults(fault.Fault{Service: "redshift-data", Operation: c.operation, Kind: c.kind, Count: 1})
		run(t, db, c.operation+string(c.kind), c.statements...)
		struck(t, l)
	}
	got := run(t, db, "count", "SELECT COUNT(*), SUM(a) FROM x")[0].Rows[0]
	if got[0].Text != "7" || got[1].Text != "28" {
		t.Errorf("%s rows, sum %s, want 7 and 28", got[0].Text, got[1].Text)
	}
}

func TestThrottlesAndConflictsAreToldApart(t *testing.T) {
	l, db := startRedshift(t)
	for _, c := range []struct {
		fault fault.Fault
		want  error
	}{
		{fault.Fault{Kind: fault.Throttle, Operation: "ExecuteStatement"}, warehouse.ErrThrottled},
		{fault.Fault{Kind: fault.StatementFailed, Error: "ERROR: 1023 Detail: Serializable isolation violation on table"}, warehouse.ErrConflict},
		{fault.Fault{Kind: fault.StatementFailed, Error: "ERROR: Disk Full"}, warehouse.ErrUnavailable},
	} {
		c.fault.Service, c.fault.Count = "redshift-data", 3 // as often as the SDK tries
		l.SetFaults(c.fault)
		if _, err := db.Run(t.Context(), "t"+c.fault.Error, []string{"SELECT 1"}); !errors.Is(err, c.want) {
			t.Errorf("%s %q: got %v", c.fault.Kind, c.fault.Error, err)
		}
	}
}

func TestRunReturnsWhenItsContextEndsAndTheStatementGoesOn(t *testing.T) {
	l, db := startRedshift(t)
	run(t, db, "ddl", "CREATE TABLE x (a INTEGER)")
	l.SetFaults(fault.Fault{Service: "redshift-data", Kind: fault.StatementSlow, Delay: fault.Duration(5 * time.Second), Count: 1})
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	began := time.Now()
	if _, err := db.Run(ctx, "slow", []string{"INSERT INTO x VALUES (1)"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("returned only after %s", took)
	}
	// The same token again joins the statement that goes on.
	if got := run(t, db, "slow", "INSERT INTO x VALUES (1)"); got[0].Affected != 1 {
		t.Errorf("affected %d", got[0].Affected)
	}
	if got := run(t, db, "count", "SELECT COUNT(*) FROM x"); got[0].Rows[0][0].Text != "1" {
		t.Errorf("%s rows", got[0].Rows[0][0].Text)
	}
}

// A reading comes part by part, in order, and can change nothing.
func TestReadGivesItsResultInPartsAndWritesNothing(t *testing.T) {
	l, db := startRedshift(t)
	var values []string
	for i := range 2000 {
		values = append(values, fmt.Sprintf("(%d, '%s')", i, strings.Repeat("x", 30)))
	}
	run(t, db, "t", "CREATE TABLE x (a INTEGER, b VARCHAR(2000))", "INSERT INTO x VALUES "+strings.Join(values, ","))
	// The replies to both submissions are lost once, and to a page.
	for _, operation := range []string{"ExecuteStatement", "GetStatementResult"} {
		l.SetFaults(fault.Fault{Service: "redshift-data", Operation: operation, Kind: fault.ReplyLost, Count: 1})
		parts, rows := 0, 0
		err := db.Read(t.Context(), "SELECT a, b || b || b || b || b || b || b || b || b || b FROM x ORDER BY a", func(part warehouse.Result) error {
			parts++
			for _, row := range part.Rows {
				if row[0].Text != fmt.Sprint(rows) {
					t.Fatalf("row %d is %s", rows, row[0].Text)
				}
				rows++
			}
			if !reflect.DeepEqual(part.Types, []string{"int4", "varchar"}) {
				t.Errorf("part %d has the types %q", parts, part.Types)
			}
			return nil
		})
		if err != nil || rows != 2000 || parts < 2 {
			t.Errorf("%d rows in %d parts, %v", rows, parts, err)
		}
		struck(t, l)
	}
	var refused *warehouse.StatementError
	if err := db.Read(t.Context(), "DELETE FROM x", nil); !errors.As(err, &refused) || !strings.Contains(refused.Message, "read-only") {
		t.Errorf("a DELETE: %v", err)
	}
	if got := run(t, db, "count", "SELECT COUNT(*) FROM x")[0].Rows[0][0].Text; got != "2000" {
		t.Errorf("%s rows are left", got)
	}
	run(t, db, "lock", "LOCK x", "SELECT 1") // no session keeps the table
	stop := errors.New("no more")
	if err := db.Read(t.Context(), "SELECT a FROM x", func(warehouse.Result) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a part that was refused: %v", err)
	}
}

// What reads is cancelled when its caller does not wait any more, also where the reply
// to its submission was not waited for; what loads goes on.
func TestWhatNobodyWaitsForIsCancelled(t *testing.T) {
	l, a := start(t, false)
	conf := aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"}
	loads := a.Redshift(conf)
	conf.Cancel = true
	reads := a.Redshift(conf)
	slow := fault.Fault{Service: "redshift-data", Kind: fault.StatementSlow, Delay: fault.Duration(time.Hour)}
	gone := errors.New("the caller is gone")
	for _, c := range []struct {
		what   string
		faults []fault.Fault
		run    func(ctx context.Context) error
		left   int
	}{
		{"a batch", []fault.Fault{slow}, func(ctx context.Context) error {
			_, err := reads.Run(ctx, warehouse.Token(), []string{"SELECT 1", "SELECT 2"})
			return err
		}, 0},
		{"a reading", []fault.Fault{slow}, func(ctx context.Context) error { return reads.Read(ctx, "SELECT 1", nil) }, 0},
		{"a lost reply", []fault.Fault{slow, {Service: "redshift-data", Operation: "ExecuteStatement", Kind: fault.ReplyLost, Count: 3}}, func(ctx context.Context) error {
			_, err := reads.Run(ctx, warehouse.Token(), []string{"SELECT 1"})
			return err
		}, 0},
		{"a load", []fault.Fault{slow}, func(ctx context.Context) error {
			_, err := loads.Run(ctx, warehouse.Token(), []string{"SELECT 1", "SELECT 2"})
			return err
		}, 1},
	} {
		l.SetFaults(c.faults...)
		ctx, end := context.WithCancelCause(t.Context())
		var unended []aws.Query
		done := make(chan error)
		go func() { done <- c.run(ctx) }()
		for len(unended) == 0 { // until it runs
			var err error
			if unended, err = loads.Unended(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
		}
		end(gone)
		if err := <-done; !errors.Is(err, gone) || c.left == 0 != strings.Contains(err.Error(), "was cancelled") {
			t.Errorf("%s: %v", c.what, err)
		}
		unended, err := loads.Unended(t.Context(), "")
		if err != nil || len(unended) != c.left {
			t.Errorf("%s left %d statements, %v", c.what, len(unended), err)
		}
	}
}
