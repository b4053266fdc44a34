//go:build slow

package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/storm"
)

// history fills the warehouse with orders of the quarter, by SQL alone.
const history = `INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp)
SELECT 'history-' || n, 'customer-' || MOD(n, 9973), 1 + MOD(n, 200), CAST(MOD(n * 7919, 10000) AS DECIMAL(10,2)) / 100, 1 + MOD(n, 5), 'order_completed',
 DATEADD(minute, 0 - MOD(n * 31, 129600), DATE_TRUNC('day', GETDATE()))
FROM (SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n FROM digits a, digits b, digits c, digits e, digits f) t`

// sql runs statements in the warehouse and waits for their end.
func (m *machine) sql(statements ...string) {
	m.t.Helper()
	in, err := json.Marshal(map[string]any{"Sqls": append(statements, "SELECT 1"), "Database": "analytics", "ClusterIdentifier": "c", "DbUser": "admin"})
	if err != nil {
		m.t.Fatal(err)
	}
	const contentType = "application/x-amz-json-1.1"
	var out struct{ Id, Status, Error string }
	if err := json.Unmarshal(m.post(contentType, "RedshiftData.BatchExecuteStatement", string(in)), &out); err != nil {
		m.t.Fatal(err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for out.Status != "FINISHED" {
		<-tick.C
		if err := json.Unmarshal(m.post(contentType, "RedshiftData.DescribeStatement", `{"Id":"`+out.Id+`"}`), &out); err != nil {
			m.t.Fatal(err)
		}
		if out.Status == "FAILED" || out.Status == "ABORTED" {
			m.t.Fatal(out.Error)
		}
	}
}

// TestTheCPUIsHeld runs the real program and measures by its own report, which the
// machine's counters made. Other work on the machine that takes what is left of the
// CPU makes a run worthless; so it may be repeated once.
func TestTheCPUIsHeld(t *testing.T) {
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "4", "--count", "1")
	m.sql("CREATE TABLE digits (d INTEGER)", "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
	m.sql(history)
	for _, queries := range []struct{ name, faults string }{
		{"fast", `[]`},
		{"slow", `[{"service":"redshift-data","operation":"ExecuteStatement","fault":"statement-slow","delay":"3s"}]`},
		{"down", `[{"service":"redshift-data","fault":"internal-error"}]`},
	} {
		for _, target := range []float64{30, 60, 90} {
			t.Run(fmt.Sprintf("%s at %.0f", queries.name, target), func(t *testing.T) {
				m.faults(queries.faults)
				var r storm.Report
				for range 2 {
					if err := json.Unmarshal([]byte(m.must("stress", "28", fmt.Sprint(target), "--format", "json", "--seed", "5")), &r); err != nil {
						t.Fatal(err)
					}
					if r.CPU.Worst <= 3 {
						break
					}
					t.Logf("mean %.1f, %.1f off: again", r.CPU.Mean, r.CPU.Worst)
				}
				m.faults(`[]`)
				if r.CPU.Worst > 3 || math.Abs(r.CPU.Mean-target) > 3 {
					t.Errorf("the CPU was at %.1f %% and up to %.1f points off over 10 s", r.CPU.Mean, r.CPU.Worst)
				}
				t.Logf("mean %.1f, at most %.1f off; %d queries finished, %d failed, %.0f %% of the work real", r.CPU.Mean, r.CPU.Worst, r.Queries.Finished, r.Queries.Failed, r.Work.RealShare)
				if down := queries.name == "down"; r.Completed != true || down != (r.Queries.Finished == 0) || down && r.Queries.Failed == 0 {
					t.Errorf("%+v", r.Queries)
				}
			})
		}
	}
}

// TestTwoStormsOfOneSeedAgree: the checksum of the first round is the same,
// however far each storm got.
func TestTwoStormsOfOneSeedAgree(t *testing.T) {
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "4", "--count", "1")
	m.sql("CREATE TABLE digits (d INTEGER)", "INSERT INTO digits VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)")
	m.sql(history)
	sums := make(map[string]bool)
	for _, args := range []string{"20 100 --seed 5 --max-rows 3000 --concurrency 6", "25 100 --seed 5 --max-rows 3000 --concurrency 4", "20 100 --seed 6 --max-rows 3000 --concurrency 6"} {
		var r storm.Report
		if err := json.Unmarshal([]byte(m.must(append(strings.Fields("stress "+args), "--format", "json")...)), &r); err != nil {
			t.Fatal(err)
		}
		if r.Checksum == "" {
			t.Fatalf("stress %s finished %d queries, and not the first round", args, r.Queries.Finished)
		}
		sums[r.Checksum] = true
	}
	if len(sums) != 2 {
		t.Errorf("%d checksums for two seeds: %v", len(sums), sums)
	}
}
