package verify_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

func TestMain(m *testing.M) {
	if err := simulation.SetEnvironment(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := pgtest.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a test waits for what must happen, on a loaded machine.
const patience = 2 * time.Minute

func deadline(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// engines runs a test on DuckDB and on PostgreSQL.
func engines(t *testing.T, test func(t *testing.T, url string)) {
	t.Parallel()
	t.Run("DuckDB", func(t *testing.T) {
		t.Parallel()
		test(t, "")
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, pgtest.Start(t))
	})
}

// rig is a stream that a worker has loaded into a real warehouse of the local
// AWS, and that nobody works on any more.
type rig struct {
	*testing.T
	*simulation.World
	shard string // one that holds records
}

const (
	goodOrders = 24
	badRecords = 6
)

// hour is the event time of every order.
var hour = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

func newRig(t *testing.T, o simulation.Options) *rig {
	t.Helper()
	o.Dir = t.TempDir()
	o.Tiny = true
	w, err := simulation.NewWorld(deadline(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &rig{T: t, World: w}
}

// loadedRig has its records loaded, and copies of its tables.
func loadedRig(t *testing.T, url string) *rig {
	t.Helper()
	r := newRig(t, simulation.Options{Warehouse: url})
	var entries []aws.Entry
	for i := range goodOrders {
		entries = append(entries, order(fmt.Sprintf("order-%02d", i), hour.Add(time.Duration(i)*time.Second)))
	}
	for i := range badRecords {
		entries = append(entries, aws.Entry{PartitionKey: fmt.Sprint("bad-", i), Data: []byte("no order")})
	}
	r.put(entries...)
	r.load(len(entries))
	r.keep()
	r.shard = r.text("SELECT MAX(shard_id) FROM worker_checkpoints WHERE sequence_number <> 'TRIM_HORIZON' AND stream_name = 'order-events'")
	return r
}

func order(id string, at time.Time) aws.Entry {
	return aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil,
		`{"order_id":%q,"customer_id":"c","store_id":7,"total_amount":1.25,"item_count":2,"event_type":"order_created","timestamp":%q}`,
		id, at.Format(time.RFC3339))}
}

func (r *rig) put(entries ...aws.Entry) {
	r.Helper()
	if err := r.Put(deadline(r.T), entries); err != nil {
		r.Fatal(err)
	}
}

// load has a worker settle so many records, and end.
func (r *rig) load(records int) {
	r.Helper()
	ctx := deadline(r.T)
	running, err := r.Start(ctx, simulation.Worker{})
	if err != nil {
		r.Fatal(err)
	}
	err = simulation.Await(ctx, fmt.Sprint(records, " records are settled"), func() (bool, error) {
		return running.Metrics.RecordsProcessed.Value() >= int64(records), nil
	})
	if err == nil {
		err = running.Drain()
	}
	if err != nil {
		r.Fatal(err)
	}
}

// keep copies the tables.
func (r *rig) keep() {
	r.Helper()
	for _, table := range warehouse.Tables() {
		r.sql("CREATE TABLE kept_" + table + " AS SELECT * FROM " + table)
	}
}

// restore puts the tables back to what the worker made of them.
func (r *rig) restore() {
	r.Helper()
	for _, table := range warehouse.Tables() {
		r.sql("DELETE FROM "+table, "INSERT INTO "+table+" SELECT * FROM kept_"+table)
	}
}

func (r *rig) sql(statements ...string) warehouse.Result {
	r.Helper()
	results, err := r.DB.Run(deadline(r.T), warehouse.Token(), statements)
	if err != nil {
		r.Fatalf("%q: %v", statements, err)
	}
	return results[0]
}

func (r *rig) text(sql string) string {
	r.Helper()
	return r.sql(sql).Rows[0][0].Text
}

func (r *rig) config() verify.Config {
	r.Helper()
	identity, err := r.Stream.Identity(deadline(r.T))
	if err != nil {
		r.Fatal(err)
	}
	return verify.Config{
		Stream: simulation.StreamName, Identity: identity, Shards: r.Stream.Shards, DB: r.DB, Letters: r.Letters().All(deadline(r.T)), Fates: r.Letters().Fates,
		Open: r.Reader,
		Dir:  r.TempDir(),
	}
}

// largePage holds all rows of a test.
const largePage = 1000

// verify compares as if some minutes had passed since everything arrived.
func (r *rig) verify(page int) *verify.Report {
	r.Helper()
	return r.verifyAt(r.config(), page, time.Now().Add(10*time.Minute))
}

func (r *rig) verifyAt(c verify.Config, page int, now time.Time) *verify.Report {
	r.Helper()
	report, err := verify.RunPaged(deadline(r.T), c, page, now)
	if err != nil {
		r.Fatal(err)
	}
	return report
}

// agrees fails the test when anything is found.
func (r *rig) agrees(report *verify.Report) {
	r.Helper()
	if !report.OK || len(report.Differences) > 0 || len(report.Gaps) > 0 {
		r.Errorf("found in a sound warehouse: %+v", *report)
	}
}

// only fails the test unless all that was found is of these kinds, and each of
// them was. Rollups may differ besides where facts were changed.
func (r *rig) only(report *verify.Report, kinds ...string) {
	r.Helper()
	var found []string
	for _, d := range report.Differences {
		if d.Kind != "rollup differs" || slices.Contains(kinds, d.Kind) {
			found = append(found, d.Kind)
		}
	}
	slices.Sort(found)
	slices.Sort(kinds)
	if found = slices.Compact(found); report.OK || !slices.Equal(found, kinds) {
		r.Errorf("ok is %v, found %q, want %q: %+v", report.OK, found, kinds, *report)
	}
}

func (r *rig) difference(report *verify.Report, kind string) verify.Difference {
	r.Helper()
	for _, d := range report.Differences {
		if d.Kind == kind {
			return d
		}
	}
	r.Errorf("no difference is %q: %+v", kind, report.Differences)
	return verify.Difference{}
}

func (r *rig) gap(report *verify.Report, shard, why string) {
	r.Helper()
	for _, g := range report.Gaps {
		if g.Shard == shard && strings.Contains(g.Why, why) {
			return
		}
	}
	r.Errorf("no gap of %q says %q: %+v", shard, why, report.Gaps)
}
