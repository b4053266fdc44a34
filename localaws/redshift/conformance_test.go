package redshift_test

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
)

// checks are what holds whichever engine runs the SQL.
func checks() []check {
	return []check{
		{"CopyManifest", checkCopyManifest},
		{"CopyPrefix", checkCopyPrefix},
		{"CopyIntoTemporary", checkCopyIntoTemporary},
		{"CopyErrors", checkCopyErrors},
		{"CopyLarge", checkCopyLarge},
		{"FaultStatementFailed", checkFaultStatementFailed},
		{"FaultLineRefused", checkFaultLineRefused},
		{"FaultSnapshotEarly", checkFaultSnapshotEarly},
		{"FaultSlowAndCancel", checkFaultSlowAndCancel},
		{"CancelRunning", checkCancelRunning},
		{"StatementTimeout", checkStatementTimeout},
		{"LoadTransaction", checkLoadTransaction},
		{"ConcurrentLoads", checkConcurrentLoads},
		{"WritersWait", checkWritersWait},
		{"Deadlock", checkDeadlock},
		{"FailedLetsGo", checkFailedLetsGo},
		{"LockOfWhatIsThere", checkLockOfWhatIsThere},
		{"TemporaryNamesLockNothing", checkTemporaryNamesLockNothing},
		{"LockAndReaders", checkLockAndReaders},
		{"Conflict", checkConflict},
		{"ConflictOfRows", checkConflictOfRows},
		{"DefineAtOnce", checkDefineAtOnce},
		{"Catalog", checkCatalog},
		{"Session", checkSession},
		{"ReadOnly", checkReadOnly},
		{"PSQL", checkPSQL},
		{"PSQLExtended", checkPSQLExtended},
		{"PSQLWaits", checkPSQLWaits},
		{"SessionHoldsLocks", checkSessionHoldsLocks},
		{"Types", checkTypes},
		{"Literals", checkLiterals},
		{"TrailingBlanks", checkTrailingBlanks},
		{"TrailingBlanksOfOthers", checkTrailingBlanksOfOthers},
		{"Noncharacters", checkNoncharacters},
		{"Paging", checkPaging},
		{"CSVResult", checkCSVResult},
		{"BatchIsOneTransaction", checkBatchIsOneTransaction},
		{"BatchResults", checkBatchResults},
		{"BatchEndsItsTransaction", checkBatchEndsItsTransaction},
		{"Errors", checkErrors},
		{"TemporaryTables", checkTemporaryTables},
		{"Parameters", checkParameters},
		{"Analyst", checkAnalyst},
		{"Refused", checkRefused},
		{"Super", checkSuper},
		{"SystemViews", checkSystemViews},
		{"Alter", checkAlter},
		{"SessionSnapshot", checkSessionSnapshot},
	}
}

type check struct {
	name string
	run  func(t *testing.T, r *rig)
}

func TestOnDuckDB(t *testing.T) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) { c.run(t, newRig(t, redshift.Options{})) })
	}
}

// TestOnTinyDuckDB: sparing DuckDB's thinking changes no result.
func TestOnTinyDuckDB(t *testing.T) {
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) { c.run(t, newRig(t, redshift.Options{Tiny: true})) })
	}
}

// TestCancelOfPace: a call is cancelled while its time passes in an open transaction
// of the engine, which is rolled back. The times themselves are tried in a bubble.
func TestCancelOfPace(t *testing.T) {
	for name, warehouse := range map[string]string{"DuckDB": "", "PostgreSQL": pgtest.Start(t)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, redshift.Options{Warehouse: warehouse, Pace: redshift.Pace{Commit: time.Hour}})
			if _, _, err := r.svc.Query(t.Context(), "CREATE TABLE t (n INTEGER)"); err != nil {
				t.Fatal(err)
			}
			load := func() (*redshiftdata.BatchExecuteStatementOutput, error) {
				return r.BatchExecuteStatement(t.Context(), batch("LOCK t", "INSERT INTO t VALUES (1)"))
			}
			first, err := load()
			if err != nil {
				t.Fatal(err)
			}
			r.awaitParts(t, *first.Id)
			second, err := load() // it waits for the lock
			if err != nil {
				t.Fatal(err)
			}
			r.await(t, *second.Id, types.StatusStringStarted)
			for _, id := range []string{*first.Id, *second.Id} {
				if _, err := r.CancelStatement(t.Context(), &redshiftdata.CancelStatementInput{Id: &id}); err != nil {
					t.Fatal(err)
				}
				if d := r.await(t, id); d.Status != types.StatusStringAborted {
					t.Errorf("cancelled: %s %s", d.Status, aws.ToString(d.Error))
				}
			}
			if _, rows, err := r.svc.Query(t.Context(), "SELECT COUNT(*) FROM t"); err != nil || rows[0][0] != "0" {
				t.Errorf("%v rows, %v", rows, err)
			}
			r.must(t, "LOCK t", "SELECT 1")
			// The one that is under way when the service closes ends with it.
			if _, err := load(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// awaitParts follows a batch until all of its statements have ended, and only its
// commit is left.
func (r *rig) awaitParts(t *testing.T, id string) {
	t.Helper()
	for {
		d := r.await(t, id, types.StatusStringStarted)
		if d.SubStatements[len(d.SubStatements)-1].Status == types.StatementStatusStringFinished {
			return
		}
	}
}

// TestOnPostgreSQL gives each check the same database, emptied: to make one takes
// longer than most checks.
func TestOnPostgreSQL(t *testing.T) {
	url := pgtest.Start(t)
	for _, c := range checks() {
		t.Run(c.name, func(t *testing.T) {
			db, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(t.Context(), "DROP SCHEMA IF EXISTS public, localaws CASCADE; CREATE SCHEMA public"); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.run(t, newRig(t, redshift.Options{Warehouse: url}))
		})
	}
}
