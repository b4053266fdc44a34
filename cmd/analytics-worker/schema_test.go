package main

import (
	"context"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cloudcafe/analytics-worker/internal/storm"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

// onEngines runs a test against a local AWS over DuckDB and over PostgreSQL.
func onEngines(t *testing.T, test func(t *testing.T, m *machine)) {
	t.Parallel()
	t.Run("DuckDB", func(t *testing.T) {
		t.Parallel()
		test(t, newMachine(t))
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, newMachine(t, "WAREHOUSE="+pgtest.Start(t)))
	})
}

const otherSchema = "sales-2026"

// TestEverythingWorksInASchemaOfItsOwn: with REDSHIFT_SCHEMA no statement of any
// verb meets the tables of the same names in public, which have other columns: one
// that did would fail, or change them.
func TestEverythingWorksInASchemaOfItsOwn(t *testing.T) {
	onEngines(t, func(t *testing.T, m *machine) {
		for _, table := range warehouse.Tables() {
			m.sql("CREATE TABLE "+table+" (mine INTEGER)", "INSERT INTO "+table+" VALUES (42)")
		}
		m.env = append(m.env, "REDSHIFT_SCHEMA="+otherSchema)
		m.shows([]string{"schema", "--apply", "--dry-run"}, "would create schema sales-2026\n", `would create table "sales-2026".fact_orders`, `would create table "sales-2026".worker_load_lock`)
		if got := m.rows("SELECT COUNT(*) FROM svv_tables WHERE table_schema = 'sales-2026'"); got != "0" {
			t.Errorf("--dry-run made %s tables", got)
		}
		m.shows([]string{"schema", "--apply"}, `tables ready: "sales-2026".fact_orders, `)
		m.shows([]string{"schema", "--apply", "--dry-run"}, "nothing is missing\n")

		m.must("publish", "--create", "2", "--count", "200")
		m.must("publish", "--file", filepath.Join("..", "..", "internal", "event", "testdata", "inventory.ndjson"))
		m.must("publish", "--file", filepath.Join("..", "..", "internal", "event", "testdata", "payments.ndjson"))
		w := m.worker(anyAddr)
		w.address()
		m.progress("all is loaded", func() (int64, bool) {
			r := m.verify()
			return r.Records, r.Records > 200 && r.OK && r.Tables[0].Facts > 0 && r.Tables[1].Facts > 0 && r.Tables[2].Facts > 0
		})
		m.everyVerb()
		w.signal(syscall.SIGINT)
		if status := w.exit(patience); status != 0 {
			t.Errorf("exit status %d of the worker", status)
		}
		// Read again from the start: what is there is found, and nothing changes.
		before := m.rows(`SELECT COUNT(*), SUM(total_amount) FROM "sales-2026".fact_orders`)
		m.must("positions", "--start-over", "--to", "TRIM_HORIZON")
		again := m.worker()
		m.progress("all is loaded again", func() (int64, bool) {
			r := m.verify()
			return r.Records, r.Records > 200 && r.OK
		})
		again.signal(syscall.SIGINT)
		again.exit(patience)
		if after := m.rows(`SELECT COUNT(*), SUM(total_amount) FROM "sales-2026".fact_orders`); after != before {
			t.Errorf("reading again made %s of %s", after, before)
		}
		for _, table := range warehouse.Tables() {
			if got := m.rows("SELECT * FROM public." + table); got != "42" {
				t.Errorf("public.%s holds %q", table, got)
			}
		}
	})
}

// everyVerb runs what asks the warehouse, while a worker serves its pages.
func (m *machine) everyVerb() {
	m.t.Helper()
	for _, r := range reports(warehouse.Names{}) {
		if out := m.must("report", r.name, "--format", "csv"); r.name != "load-errors" && strings.Count(out, "\n") < 2 {
			m.t.Errorf("report %s is empty: %s", r.name, out)
		}
	}
	m.shows([]string{"status", "--wide"}, "shardId-000000000000")
	m.shows([]string{"positions", "--wide"}, "shardId-000000000000")
	if out, _ := m.run("doctor"); !strings.Contains(out, "7 tables with the columns expected") || strings.Contains(out, "FAIL ") {
		m.t.Errorf("doctor: %s", out)
	}
	names, err := warehouse.NamesIn(otherSchema)
	if err != nil {
		m.t.Fatal(err)
	}
	m.shows([]string{"stress", "6", "100", "--dry-run"}, `FROM "sales-2026".fact_orders`, `FROM "sales-2026".agg_orders_minute`)
	q, seen := storm.NewSequence(1, time.Now().Add(48*time.Hour), 1000).In(names), make(map[string]bool)
	for n := range storm.Round() {
		if query := q.Query(n); !seen[query.Kind] {
			seen[query.Kind] = true
			m.rows(query.SQL)
		}
	}
	if got := m.rows(salesQuery(names, "order-events", time.Now().Add(-time.Hour))); !strings.Contains(got, "store") || !strings.Contains(got, "shard shardId") {
		m.t.Errorf("the dashboard: %s", got)
	}
}

// shows wants the verb to end with status 0 and to print all of the texts.
func (m *machine) shows(verb []string, texts ...string) {
	m.t.Helper()
	if out := m.must(verb...); !holdsAll(out, texts) {
		m.t.Errorf("analytics-worker %s: want %q:\n%s", strings.Join(verb, " "), texts, out)
	}
}

// TestSchemaAddsColumns: a column that a table of an earlier version lacks is
// shown, then made, and what else is in the table stays.
func TestSchemaAddsColumns(t *testing.T) {
	onEngines(t, func(t *testing.T, m *machine) {
		m.env = append(m.env, "REDSHIFT_SCHEMA="+otherSchema)
		m.must("schema", "--apply")
		const table = `"sales-2026".fact_payments`
		m.sql("DROP TABLE "+table, "CREATE TABLE "+table+` (payment_id VARCHAR(100) NOT NULL, order_id VARCHAR(100) NOT NULL, customer_id VARCHAR(100) NOT NULL,
 amount DECIMAL(10,2) NOT NULL, payment_method VARCHAR(50) NOT NULL, status VARCHAR(50) NOT NULL, event_type VARCHAR(50) NOT NULL, event_timestamp TIMESTAMP NOT NULL, mine INTEGER)`,
			"INSERT INTO "+table+" (payment_id, order_id, customer_id, amount, payment_method, status, event_type, event_timestamp, mine) VALUES ('p', 'o', 'c', 1, 'card', 's', 't', '2026-01-01 00:00:00', 7)")
		const planned = "would add column fact_payments.transaction_id VARCHAR(100) COLLATE CASE_SENSITIVE\nwould add column fact_payments.fraud_score INTEGER\n"
		if out := m.must("schema", "--apply", "--dry-run"); out != planned {
			t.Errorf("the plan is %q", out)
		}
		if out := m.must("schema", "--apply", "--dry-run"); out != planned {
			t.Errorf("--dry-run did what it showed: %q", out)
		}
		m.shows([]string{"schema", "--apply"}, "column added: fact_payments.transaction_id\ncolumn added: fact_payments.fraud_score\n")
		if got := m.rows("SELECT mine, COALESCE(transaction_id, 'none'), COALESCE(fraud_score, -1) FROM " + table); got != "7 none -1" {
			t.Errorf("the row that was there is %q", got)
		}
		if out := m.must("schema", "--apply", "--dry-run"); out != "nothing is missing\n" {
			t.Errorf("after --apply: %q", out)
		}
	})
}

// TestGrantsAreEnoughAndNeeded: a user that owns none of the tables works with
// them once it has what --grants prints, and not before. localaws runs statements
// of PostgreSQL as the role localaws_api.
func TestGrantsAreEnoughAndNeeded(t *testing.T) {
	t.Parallel()
	url := pgtest.Start(t)
	admin, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.WithoutCancel(t.Context())) }()
	exec := func(sql ...string) {
		t.Helper()
		for _, s := range sql {
			if _, err := admin.Exec(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	var database string
	if err := admin.QueryRow(t.Context(), "SELECT current_database()").Scan(&database); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "WAREHOUSE="+url)
	m.env = append(m.env, "REDSHIFT_SCHEMA="+otherSchema, "REDSHIFT_DATABASE="+database)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "50")
	owner := `"owner of ` + database + `"` // roles are of the whole server
	exec("CREATE ROLE "+owner, `ALTER SCHEMA "sales-2026" OWNER TO `+owner)
	for _, table := range warehouse.Tables() {
		exec(`ALTER TABLE "sales-2026".` + table + " OWNER TO " + owner)
	}
	exec(`REVOKE ALL ON DATABASE "`+database+`" FROM localaws_api, PUBLIC`, `GRANT CONNECT ON DATABASE "`+database+`" TO localaws_api`)
	if out, status := m.run("verify"); status == 0 {
		t.Fatalf("verify needs no rights: %s", out)
	}
	if _, status := m.run("schema", "--apply"); status == 0 {
		t.Error("schema --apply needs no rights")
	}
	grants := m.must("schema", "--grants", "localaws_api")
	exec(grants)

	w := m.worker()
	m.settled(50)
	w.signal(syscall.SIGINT)
	if status := w.exit(patience); status != 0 {
		t.Errorf("exit status %d of the worker", status)
	}
	m.must("report", "top-stores")
	m.must("positions", "--start-over", "--to", "TRIM_HORIZON")
	m.shows([]string{"schema", "--apply", "--dry-run"}, "nothing is missing\n")
	if out, _ := m.run("doctor"); strings.Count(out, "FAIL ") != strings.Count(out, "FAIL  verdict       No worker is running") {
		t.Errorf("doctor: %s", out)
	}
}
