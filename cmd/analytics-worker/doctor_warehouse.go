package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// ask runs a statement of its own.
func (d *doctor) ask(ctx context.Context, sql string) (warehouse.Result, error) {
	results, err := d.account.Redshift(d.config.Redshift).Run(ctx, warehouse.Token(), []string{sql})
	if err != nil {
		return warehouse.Result{}, err
	}
	return results[0], nil
}

// checkWarehouse runs a batch, as loads are batches. What does not come back in
// time has been taken and not started: a paused cluster does that.
func (d *doctor) checkWarehouse(ctx context.Context) []finding {
	ctx, question := ask(ctx)
	defer question.end()
	asked := time.Now()
	_, err := d.account.Redshift(d.config.Redshift).Run(ctx, warehouse.Token(), []string{"SELECT 1", "SELECT 2"})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		next := "see whether the cluster is paused, resizing or overloaded (resume it in the Redshift console); else check the network path"
		if d.config.Redshift.Workgroup == "" {
			next = "see whether the cluster is paused (aws redshift resume-cluster --cluster-identifier " + d.config.Redshift.ClusterID + "), resizing or overloaded; else check the network path"
		}
		return []finding{{"warehouse", levelFail, err.Error(), next}}
	default:
		otherwise := "check REDSHIFT_CLUSTER_ID or REDSHIFT_WORKGROUP, REDSHIFT_DATABASE and AWS_REGION"
		if refused := as[*warehouse.StatementError](err); refused != nil && refused.Kind == nil {
			return []finding{{"warehouse", levelFail, err.Error(), "the warehouse answers, and refuses: read its words; no setting of the worker is in question"}}
		}
		return []finding{{"warehouse", levelFail, err.Error(), nextStepAt("the Redshift Data API", err, otherwise)}}
	}
	found := []finding{{"warehouse", levelOK, fmt.Sprintf("answers in %v through the Data API", time.Since(asked).Round(time.Millisecond)), ""}}
	var rest [2][]finding
	var all sync.WaitGroup
	all.Go(func() { rest[0] = d.checkCollation(ctx) })
	all.Go(func() { rest[1] = d.checkLock(ctx) })
	all.Wait()
	for _, more := range rest {
		found = append(found, more...)
	}
	return found
}

// checkCollation looks for a database that compares without case, in which two
// orders whose ids differ in nothing else would be one. An engine that does not
// know the function has no such databases.
func (d *doctor) checkCollation(ctx context.Context) []finding {
	r, err := d.ask(ctx, "SELECT db_collation()")
	if err != nil || len(r.Rows) != 1 {
		return nil
	}
	return collationFinding(d.config.Redshift.Database, r.Rows[0][0].Text)
}

func collationFinding(database, collation string) []finding {
	if !strings.EqualFold(collation, "case_insensitive") {
		return nil
	}
	return []finding{{
		"warehouse", levelFail, "database " + database + " compares text without case: the orders A1 and a1 would be one",
		"make a database with COLLATE CASE_SENSITIVE (it cannot be altered later), and name it in REDSHIFT_DATABASE",
	}}
}

// lockSQL asks who holds worker_load_lock, or waits for it. It reads the catalog
// alone: to read the table is to wait for the load that holds it.
func lockSQL(in warehouse.Names) string {
	sql := `SELECT t.pid, t.txn_owner, t.txn_start, t.lock_mode, CASE WHEN t.granted THEN 1 ELSE 0 END AS holds
FROM svv_transactions t JOIN pg_class c ON c.oid = t.relation`
	if in.Schema() != "" {
		sql += ` JOIN pg_namespace n ON n.oid = c.relnamespace`
	}
	return sql + `
WHERE c.relname = ` + warehouse.Quote(warehouse.LockTable) + in.InSchema("n.nspname") + ` ORDER BY 5 DESC, 3`
}

// lockHold is one transaction that holds or awaits worker_load_lock.
type lockHold struct {
	pid, owner, mode string
	since            time.Time
	holds            bool
}

// checkLock tells of a transaction that keeps loads waiting. Where the warehouse
// cannot be asked there is no line.
func (d *doctor) checkLock(ctx context.Context) []finding {
	r, err := d.ask(ctx, lockSQL(d.config.Redshift.Names))
	if err != nil {
		return nil
	}
	var held []lockHold
	for _, row := range r.Rows {
		since, err := warehouse.ParseTimestamp(row[2].Text)
		if err != nil && !row[2].Null {
			return nil
		}
		held = append(held, lockHold{row[0].Text, strings.TrimSpace(row[1].Text), strings.TrimSpace(row[3].Text), since, row[4].Text == "1"})
	}
	return lockFindings(held, time.Now())
}

// longHold is how long a load may hold the lock before that is worth a look.
const longHold = time.Minute

// lockFindings judges who holds the lock. Of other users' transactions Redshift
// shows superusers alone, so what loads wait for may not be in sight.
func lockFindings(held []lockHold, now time.Time) []finding {
	const name = "load lock"
	waits := time.Duration(-1) // the longest
	for _, h := range held {
		if !h.holds {
			waits = max(waits, now.Sub(h.since))
		}
	}
	for _, h := range held {
		age := now.Sub(h.since).Round(time.Second)
		who := fmt.Sprintf("process %s of user %s holds worker_load_lock (%s) for %v", h.pid, h.owner, h.mode, age)
		next := "if it is not a load of a worker, end it: SELECT pg_terminate_backend(" + h.pid + "). Nobody should read worker_load_lock in a transaction"
		switch {
		case !h.holds:
		case waits >= 0 && h.mode != "AccessExclusiveLock":
			return []finding{{name, levelFail, who + ", and loads wait for it", next}}
		case h.mode != "AccessExclusiveLock" || age > longHold:
			return []finding{{name, levelWarn, who, next}}
		default:
			return []finding{{name, levelOK, who + ", as loads do", ""}}
		}
	}
	if waits >= 0 {
		return []finding{{
			name, levelWarn, fmt.Sprintf("a load waits for worker_load_lock since %v, and this user does not see who holds it", waits.Round(time.Second)),
			"as a superuser, ask svv_transactions for it (OPERATIONS.md, \"Somebody holds worker_load_lock\"), and end that session",
		}}
	}
	return []finding{{name, levelOK, "nobody holds worker_load_lock, as far as this user sees", ""}}
}

// checkTables asks for the columns by name, which needs no catalog and works on
// every engine. Tables of families that are not loaded need not be there. worker_load_lock alone is looked up in the catalog: a load holds it
// against readers, so that to ask the table is to wait for the load.
func (d *doctor) checkTables(ctx context.Context) []finding {
	ctx, question := ask(ctx)
	defer question.end()
	tables := warehouse.TablesOf(d.config.Families)
	errs := make([]error, len(tables))
	var all sync.WaitGroup
	for i, table := range tables {
		all.Go(func() { errs[i] = d.askTable(ctx, table) })
	}
	all.Wait()
	var out []finding
	for i, err := range errs {
		var refused *warehouse.StatementError
		switch {
		case err == nil:
			continue
		case errors.Is(err, warehouse.ErrNoTable) && !(errors.As(err, &refused) && aboutColumn.MatchString(refused.Message)):
			out = append(out, d.missing(ctx, tables[i]))
		case errors.As(err, &refused) && !errors.Is(err, warehouse.ErrUnavailable):
			out = append(out, finding{
				"tables", levelFail, tables[i] + ": " + err.Error(),
				nextStepAt("the Redshift Data API", err, "compare it with: analytics-worker schema"),
			})
		default:
			return []finding{{"tables", levelWarn, "not known: " + tables[i] + ": " + err.Error(), "mend the warehouse first; if it answers, does somebody hold a lock on this table?"}}
		}
	}
	if len(out) == 0 {
		out = append(out, finding{"tables", levelOK, fmt.Sprintf("%d tables with the columns expected", len(tables)), ""})
	}
	return out
}

// aboutColumn matches the refusal of a column of a table that is there.
var aboutColumn = regexp.MustCompile(`(?i)\bcolumn\b`)

func (d *doctor) askTable(ctx context.Context, table string) error {
	return warehouse.CheckTable(ctx, d.account.Redshift(d.config.Redshift), table, warehouse.Columns(table))
}

// missing tells of a table that is not in sight. It may be in a schema that the
// search path leaves out: a person and a worker have different ones.
func (d *doctor) missing(ctx context.Context, table string) finding {
	r, err := d.ask(ctx, "SELECT table_schema FROM svv_tables WHERE table_name = "+warehouse.Quote(table)+" ORDER BY 1")
	if err != nil || len(r.Rows) == 0 {
		return finding{"tables", levelFail, table + " is missing", "analytics-worker schema --apply"}
	}
	schema := r.Rows[0][0].Text
	if ours := d.config.Redshift.Names.Schema(); ours != "" {
		return finding{
			"tables", levelFail, fmt.Sprintf("%s is missing in schema %s (REDSHIFT_SCHEMA), or this user lacks USAGE on it; there is one in schema %s", table, ours, schema),
			"analytics-worker schema --apply, or schema --grants for this user, or REDSHIFT_SCHEMA=" + schema,
		}
	}
	return finding{
		"tables", levelFail, fmt.Sprintf("%s is in schema %s, which the search path of this database user leaves out", table, schema),
		fmt.Sprintf("ALTER USER ... SET search_path TO %s, or make the tables as this user: analytics-worker schema --apply", schema),
	}
}

// Redshift's answers to a COPY of what is not there: the role was taken on, and
// the bucket was looked into. The Data API has no code for them.
var (
	nothingThere = regexp.MustCompile(`(?i)prefix .* does not exist|NoSuchKey`)
	noManifest   = regexp.MustCompile(`(?i)NoSuchKey|key or bucket does not exist|key does not exist`)
	deniedByS3   = regexp.MustCompile(`(?i)access ?denied|status 403`)
	troubleOfS3  = regexp.MustCompile(`(?i)S3ServiceException`) // passing for a load, an answer here
)

// checkCopyRole lets Redshift list a prefix that is not there, and then read a
// manifest that is not there. Each COPY fails in any case and takes its
// transaction with it.
func (d *doctor) checkCopyRole(ctx context.Context) []finding {
	if d.config.StagingURL == "" {
		return nil
	}
	ctx, question := ask(ctx)
	defer question.end()
	list := d.tryCopy(ctx, "")
	if f := copyRoleFinding(d.config.StagingURL, list); f.Level != levelOK {
		return []finding{f}
	}
	return []finding{manifestFinding(d.config.StagingURL, d.tryCopy(ctx, " MANIFEST"))}
}

func (d *doctor) tryCopy(ctx context.Context, how string) error {
	role := "default"
	if r := d.config.CopyIAMRole; r != "" && r != "default" {
		role = warehouse.Quote(r)
	}
	from := strings.TrimSuffix(d.config.StagingURL, "/") + "/analytics-worker-doctor-no-such-file"
	_, err := d.account.Redshift(d.config.Redshift).Run(ctx, warehouse.Token(), []string{
		"CREATE TEMP TABLE doctor_copy (nothing INTEGER)",
		"COPY doctor_copy FROM " + warehouse.Quote(from) + " IAM_ROLE " + role + " FORMAT AS CSV" + how,
	})
	return err
}

// copyRoleFinding judges the answer to a COPY of a prefix that is not there. What
// is denied is the role's, be it that the cluster may not take it on.
func copyRoleFinding(location string, err error) finding {
	var refused *warehouse.StatementError
	switch {
	case errors.As(err, &refused) && nothingThere.MatchString(refused.Message):
		return finding{"copy role", levelOK, "Redshift can look into " + location, ""}
	case errors.As(err, &refused) && (refused.Kind == nil || errors.Is(err, warehouse.ErrDenied) || troubleOfS3.MatchString(refused.Message)):
		return finding{
			"copy role", levelFail, refused.Message,
			"attach the role to the cluster or namespace and let it s3:ListBucket and s3:GetObject on " + location + " (COPY_IAM_ROLE)",
		}
	}
	return finding{"copy role", levelWarn, "not known: the warehouse did not answer", "mend that first"}
}

// manifestFinding judges the answer to a COPY by a manifest that is not there.
// One that may list and not read is denied; some answers say neither.
func manifestFinding(location string, err error) finding {
	var refused *warehouse.StatementError
	switch {
	case errors.As(err, &refused) && noManifest.MatchString(refused.Message):
		return finding{"copy role", levelOK, "Redshift can look into " + location + " and read there", ""}
	case errors.As(err, &refused) && deniedByS3.MatchString(refused.Message):
		return finding{
			"copy role", levelFail, "Redshift can look into " + location + " and not read there: " + refused.Message,
			"let the role s3:GetObject on " + location + "/* (and kms:Decrypt where the bucket is encrypted with a key of KMS)",
		}
	}
	return finding{"copy role", levelOK, "Redshift can look into " + location + "; whether it may read objects was not found out", ""}
}
