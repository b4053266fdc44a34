package redshift_test

import (
	"testing"

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
