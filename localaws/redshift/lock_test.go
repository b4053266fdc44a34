package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/redshiftdata/types"
)

// checkWritersWait: whoever writes a table second waits for the first, and both
// take effect.
func checkWritersWait(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE c (n INTEGER)", "INSERT INTO c VALUES (0)")
	const writers = 20
	var ids []string
	for range writers {
		ids = append(ids, r.submit(t, "UPDATE c SET n = n + 1"))
	}
	for _, id := range ids {
		if d := r.await(t, id); d.Status != types.StatusStringFinished {
			t.Errorf("a writer ended %s: %s", d.Status, aws.ToString(d.Error))
		}
	}
	if got := r.rows(t, "SELECT n FROM c"); got[0][0] != fmt.Sprint(writers) {
		t.Errorf("%s updates took effect, want %d", got[0][0], writers)
	}
}

// checkDeadlock: of two transactions that wait for each other one fails, in
// Redshift's words, and the other goes on.
func checkDeadlock(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE a (n INTEGER)", "CREATE TABLE b (n INTEGER)")
	one, _ := r.openSession(t, "BEGIN", 60)
	two, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, one, "LOCK a")
	r.in(t, two, "LOCK b")
	in := execute("LOCK b")
	in.SessionId = &one
	waiting, err := r.ExecuteStatement(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	r.await(t, *waiting.Id, types.StatusStringStarted)
	// Either may be chosen: PostgreSQL fails the one whose timer fires first.
	second := r.in(t, two, "LOCK a")
	r.in(t, two, "ROLLBACK")
	first := r.await(t, *waiting.Id)
	victim, other := second, first
	if first.Status == types.StatusStringFailed {
		victim, other = first, second
	}
	if victim.Status != types.StatusStringFailed || !strings.HasPrefix(aws.ToString(victim.Error), "ERROR: deadlock detected") {
		t.Errorf("the victim is %s: %s", victim.Status, aws.ToString(victim.Error))
	}
	if other.Status != types.StatusStringFinished {
		t.Errorf("the other is %s: %s", other.Status, aws.ToString(other.Error))
	}
	r.in(t, one, "ROLLBACK")
}

// checkFailedLetsGo: the tables of a transaction that failed are free before its
// client ends it, and nothing of it is done after the failure.
func checkFailedLetsGo(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE a (n INTEGER)")
	id, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "LOCK a")
	r.in(t, id, "INSERT INTO a VALUES (1)")
	if d := r.in(t, id, "SELECT n FROM nowhere"); d.Status != types.StatusStringFailed {
		t.Fatalf("a query of a table that is not there: %s", d.Status)
	}
	r.must(t, "INSERT INTO a VALUES (2)") // would wait for ever
	if d := r.in(t, id, "INSERT INTO a VALUES (3)"); !strings.Contains(aws.ToString(d.Error), "transaction is aborted") {
		t.Errorf("a statement after the failure is %s: %s", d.Status, aws.ToString(d.Error))
	}
	r.in(t, id, "COMMIT")
	if d := r.in(t, id, "INSERT INTO a VALUES (4)"); d.Status != types.StatusStringFinished {
		t.Errorf("a statement after the end is %s: %s", d.Status, aws.ToString(d.Error))
	}
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM a ORDER BY n")); got != "[[2] [4]]" {
		t.Errorf("the rows are %s", got)
	}
}

// checkLockAndReaders: LOCK keeps readers of its table waiting, and no others, and
// waits for a transaction that has read it.
func checkLockAndReaders(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE l (n INTEGER)", "CREATE TABLE o (n INTEGER)", "INSERT INTO l VALUES (1)")
	waits := func(id string) {
		t.Helper()
		r.await(t, id, types.StatusStringStarted, types.StatusStringFinished, types.StatusStringFailed)
		r.must(t, "SELECT n FROM o WHERE n IN (SELECT n + 1 FROM o)", "SELECT 1") // time to go wrong
		if d := r.await(t, id, types.StatusStringStarted, types.StatusStringFinished, types.StatusStringFailed); d.Status != types.StatusStringStarted {
			t.Errorf("%s is %s: %s", aws.ToString(d.QueryString), d.Status, aws.ToString(d.Error))
		}
	}
	id, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "LOCK l")
	var readers []string
	for _, sql := range []string{
		"SELECT n FROM l", "SELECT o.n FROM o LEFT JOIN l ON l.n = o.n", "SELECT o.n FROM o, public.l AS x WHERE x.n = o.n",
		"SELECT n FROM o WHERE n IN (SELECT n FROM l)", "WITH w AS (SELECT n FROM (SELECT n FROM l) q) SELECT n FROM w",
		"INSERT INTO o SELECT n FROM l", "CREATE TEMP TABLE c AS SELECT n FROM l", "DELETE FROM o USING l WHERE o.n = l.n",
	} {
		readers = append(readers, r.submit(t, sql))
	}
	for _, reader := range readers {
		waits(reader)
	}
	r.in(t, id, "INSERT INTO l VALUES (2)")
	r.in(t, id, "COMMIT")
	for _, reader := range readers {
		if d := r.await(t, reader); d.Status != types.StatusStringFinished {
			t.Errorf("%s is %s: %s", aws.ToString(d.QueryString), d.Status, aws.ToString(d.Error))
		}
	}
	if got := r.result(t, readers[0]); len(got) != 2 {
		t.Errorf("the reader saw %v, want what was committed before it could read", got)
	}
	r.in(t, id, "BEGIN")
	r.in(t, id, "SELECT COUNT(*) FROM l")
	locker, err := r.BatchExecuteStatement(t.Context(), batch("LOCK l", "SELECT 1"))
	if err != nil {
		t.Fatal(err)
	}
	waits(*locker.Id)
	r.in(t, id, "COMMIT")
	if d := r.await(t, *locker.Id); d.Status != types.StatusStringFinished {
		t.Errorf("LOCK is %s: %s", d.Status, aws.ToString(d.Error))
	}
}

// checkConflict: a transaction whose snapshot is older than another's change of
// the same row fails as Redshift's do.
func checkConflict(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE c (n INTEGER)", "INSERT INTO c VALUES (0)")
	id, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "SELECT n FROM c") // takes the snapshot
	r.must(t, "UPDATE c SET n = 1")
	d := r.in(t, id, "UPDATE c SET n = 2")
	if d.Status == types.StatusStringFinished {
		d = r.in(t, id, "COMMIT")
	}
	if d.Status != types.StatusStringFailed || !strings.HasPrefix(aws.ToString(d.Error), "ERROR: 1023") {
		t.Errorf("the older transaction is %s: %s", d.Status, aws.ToString(d.Error))
	}
	r.in(t, id, "ROLLBACK")
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM c")); got != "[[1]]" {
		t.Errorf("the row is %s", got)
	}
}

// checkConflictOfRows: who writes a row that was written since its snapshot fails,
// whatever the two did to it; who writes another row does not.
func checkConflictOfRows(t *testing.T, r *rig) {
	for name, c := range map[string]struct {
		first, second string
		conflict      bool
	}{
		"other columns":   {"UPDATE c SET n = 1 WHERE k = 'a'", "UPDATE c SET m = 1 WHERE k = 'a'", true},
		"the same values": {"UPDATE c SET n = n WHERE k = 'a'", "UPDATE c AS u SET n = p.n FROM (SELECT 0 AS n, 'a' AS k) p WHERE u.k = p.k", true},
		"gone since":      {"DELETE FROM c WHERE k = 'a'", "UPDATE c SET n = 1 WHERE k = 'a'", true},
		"gone twice":      {"DELETE FROM c WHERE k = 'a'", "DELETE FROM c USING (SELECT 'a' AS k) p WHERE c.k = p.k", true},
		"to go":           {"UPDATE c SET n = 1 WHERE k = 'a'", "DELETE FROM c WHERE k = 'a'", true},
		"other rows":      {"UPDATE c SET n = 1 WHERE k = 'a'", "UPDATE c SET n = 1 WHERE k = 'b'", false},
		"a row beside":    {"INSERT INTO c VALUES (0, 0, 'a')", "INSERT INTO c VALUES (0, 0, 'a')", false},
	} {
		r.must(t, "DROP TABLE IF EXISTS c", "CREATE TABLE c (n INTEGER, m INTEGER, k VARCHAR(10))", "INSERT INTO c (k, n, m) VALUES ('a', 0, 0), ('b', 0, 0)")
		id, _ := r.openSession(t, "BEGIN", 60)
		r.in(t, id, "SELECT n FROM c") // takes the snapshot
		r.must(t, c.first)
		d := r.in(t, id, c.second)
		if d.Status == types.StatusStringFinished {
			d = r.in(t, id, "COMMIT")
		}
		if got := strings.HasPrefix(aws.ToString(d.Error), "ERROR: 1023"); got != c.conflict || got != (d.Status == types.StatusStringFailed) {
			t.Errorf("%s: the second is %s: %s", name, d.Status, aws.ToString(d.Error))
		}
		r.in(t, id, "ROLLBACK")
	}
}

// checkDefineAtOnce: many that start together may all create what is missing.
func checkDefineAtOnce(t *testing.T, r *rig) {
	var ids []string
	for range 8 {
		out, err := r.BatchExecuteStatement(t.Context(), batch("CREATE TABLE IF NOT EXISTS a (n INTEGER)", "CREATE TABLE IF NOT EXISTS b (n INTEGER) SORTKEY(n)"))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, *out.Id)
	}
	for _, id := range ids {
		if d := r.await(t, id); d.Status != types.StatusStringFinished {
			t.Errorf("%s: %s", d.Status, aws.ToString(d.Error))
		}
	}
}

// checkLockOfWhatIsThere: a table can be locked while it is there, and only
// then: whoever locked it before, drops and renames it, and whether the drop is
// undone.
func checkLockOfWhatIsThere(t *testing.T, r *rig) {
	there := func(table string, want bool) {
		t.Helper()
		d := r.try(t, "LOCK "+table, "SELECT 1")
		if got := d.Status == types.StatusStringFinished; got != want {
			t.Errorf("LOCK %s is %s: %s", table, d.Status, aws.ToString(d.Error))
		}
	}
	there("a", false)
	r.must(t, "CREATE TABLE a (n INTEGER)")
	there("a", true)
	id, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "DROP TABLE a")
	r.in(t, id, "ROLLBACK")
	there("a", true)
	r.in(t, id, "BEGIN")
	r.in(t, id, "CREATE TABLE b (n INTEGER)")
	r.in(t, id, "LOCK b")
	r.in(t, id, "ROLLBACK")
	there("b", false)
	r.must(t, "ALTER TABLE a RENAME TO c")
	there("a", false)
	there("c", true)
	r.must(t, "DROP TABLE c")
	there("c", false)
}

// checkTemporaryNamesLockNothing: a session's temporary table keeps nobody from
// the permanent one of its name, and no longer hides it once it is undone.
func checkTemporaryNamesLockNothing(t *testing.T, r *rig) {
	r.must(t, "CREATE TABLE a (n INTEGER)", "INSERT INTO a VALUES (0)")
	id, _ := r.openSession(t, "BEGIN", 60)
	r.in(t, id, "CREATE TEMP TABLE a (n INTEGER)")
	r.in(t, id, "INSERT INTO a VALUES (1)")
	r.must(t, "UPDATE a SET n = n + 10") // would wait for ever
	r.in(t, id, "ROLLBACK")
	r.in(t, id, "BEGIN")
	r.in(t, id, "UPDATE a SET n = n + 100")
	waiting := r.submit(t, "UPDATE a SET n = n + 1000")
	r.await(t, waiting, types.StatusStringStarted)
	r.in(t, id, "COMMIT")
	if d := r.await(t, waiting); d.Status != types.StatusStringFinished {
		t.Errorf("the second writer is %s: %s", d.Status, aws.ToString(d.Error))
	}
	if got := fmt.Sprint(r.rows(t, "SELECT n FROM a")); got != "[[1110]]" {
		t.Errorf("the row is %s", got)
	}
}
