package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/verify"
)

// replayed is what replay --format json prints.
type replayed struct {
	Records, Rejected, Letters, Restored, Rows, Changed, Refused, Rollups int64
}

func (m *machine) replay(args ...string) (r replayed) {
	m.t.Helper()
	out := m.must(append([]string{"replay", "--format", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		m.t.Fatalf("replay: %v: %s", err, out)
	}
	return r
}

// warp runs statements in the warehouse one after the other, and waits for each.
func (m *machine) warp(statements ...string) {
	m.t.Helper()
	const call = "application/x-amz-json-1.1"
	for _, sql := range statements {
		body, err := json.Marshal(map[string]string{"ClusterIdentifier": "cloudcafe-redshift-dev", "Database": "analytics", "DbUser": "admin", "Sql": sql})
		if err != nil {
			m.t.Fatal(err)
		}
		var submitted struct{ ID string }
		if err := json.Unmarshal(m.post(call, "RedshiftData.ExecuteStatement", string(body)), &submitted); err != nil {
			m.t.Fatal(err)
		}
		m.await("the statement is through: "+sql, func() (bool, error) {
			var s struct{ Status, Error string }
			err := json.Unmarshal(m.post(call, "RedshiftData.DescribeStatement", `{"Id":"`+submitted.ID+`"}`), &s)
			if err == nil && (s.Status == "FAILED" || s.Status == "ABORTED") {
				err = fmt.Errorf("%s: %s", s.Status, s.Error)
			}
			return s.Status == "FINISHED", err
		})
	}
}

var (
	suggested = regexp.MustCompile(`(?m)^  analytics-worker (replay .*)$`)
	removal   = regexp.MustCompile(`(?m)^  (DELETE FROM .*);$`)
)

// mend runs what verify suggests, and wants everything to agree then.
func (m *machine) mend() {
	m.t.Helper()
	out, status := m.run("verify")
	if status != 1 {
		m.t.Fatalf("verify found nothing:\n%s", out)
	}
	commands := suggested.FindAllStringSubmatch(out, -1)
	if len(commands) == 0 {
		m.t.Fatalf("verify suggests nothing:\n%s", out)
	}
	for _, d := range removal.FindAllStringSubmatch(out, -1) {
		m.warp(d[1])
	}
	for _, c := range commands {
		m.must(strings.Fields(c[1])...)
	}
	if r := m.verify(); !r.OK {
		m.t.Fatalf("after %q the warehouse differs from the stream: %+v", commands, r)
	}
}

// Rows that were deleted and changed by hand are found by verify, and mended by the
// command that it ends with: beside a worker, and only what is wrong changes.
func TestReplayMendsWhatVerifyFinds(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--count", "600", "--create", "3", "--seed", "8", "--bad", "0.05")
	worker := m.worker()
	m.settled(600)

	// Nothing is wrong: nothing changes, however often.
	for range 2 {
		if r := m.replay("--from", "1h"); r.Records != 600 || r.Changed+r.Restored+r.Refused+r.Rollups != 0 || r.Letters != r.Rejected || r.Rejected == 0 {
			t.Fatalf("a replay of what is right: %+v", r)
		}
	}

	// Deleted, made older, made another, made newer; of facts, of rollups, of each family.
	m.warp(
		"DELETE FROM fact_orders WHERE order_id IN (SELECT order_id FROM fact_orders ORDER BY order_id LIMIT 20)",
		"UPDATE fact_orders SET event_timestamp = event_timestamp - INTERVAL '3 hours', total_amount = 1.00 WHERE order_id IN (SELECT order_id FROM fact_orders ORDER BY order_id LIMIT 5)",
		"DELETE FROM fact_inventory WHERE store_id IN (SELECT MIN(store_id) FROM fact_inventory)",
		"DELETE FROM fact_payments WHERE payment_id IN (SELECT payment_id FROM fact_payments ORDER BY payment_id LIMIT 7)",
	)
	dry := m.replay("--from", "1h", "--dry-run")
	if dry.Changed < 33 || dry.Records != 600 {
		t.Errorf("a dry run would change %+v", dry)
	}
	if r := m.verify(); r.OK || r.Mend == nil || len(r.Mend.Remove) > 0 {
		t.Errorf("after a dry run: %+v", r.Mend)
	}
	m.mend()
	m.warp(
		"UPDATE fact_orders SET total_amount = total_amount + 1 WHERE order_id IN (SELECT order_id FROM fact_orders ORDER BY order_id LIMIT 3)",
		"UPDATE fact_orders SET event_timestamp = event_timestamp + INTERVAL '2 hours' WHERE order_id IN (SELECT MAX(order_id) FROM fact_orders)",
	)
	m.mend()
	m.warp("UPDATE agg_orders_minute SET revenue = revenue + 1 WHERE minute IN (SELECT MIN(minute) FROM agg_orders_minute)",
		"DELETE FROM agg_payments_minute WHERE minute IN (SELECT MAX(minute) FROM agg_payments_minute)")
	m.mend()

	// The worker had no trouble by it, and goes on.
	m.must("publish", "--count", "50", "--seed", "9")
	m.settled(650)
	worker.signal(syscall.SIGINT)
	if status := worker.exit(patience); status != 0 {
		t.Errorf("the worker ended with status %d", status)
	}
}

// A replay that is killed in the middle leaves everything as it should be, and so do
// two at once beside a worker under load.
func TestG2_G6_ReplayMayBeKilledAndDoubled(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--count", "3000", "--create", "3", "--seed", "11", "--bad", "0.02")
	m.worker()
	m.settled(3000)
	m.warp("DELETE FROM fact_orders WHERE store_id IN (SELECT MIN(store_id) FROM fact_orders)")
	before := m.verify()
	if before.OK {
		t.Fatal("nothing was deleted")
	}
	publisher := start(t, m.env, "analytics-worker", "publish", "--count", "2000", "--rate", "400", "--seed", "12")
	for range 3 {
		// Within its transaction, which then goes on without it.
		m.faults(`[{"service":"redshift-data","fault":"statement-slow","match":"load_orders_minutes","delay":"1s","count":1}]`)
		p := start(t, m.env, "analytics-worker", "replay", "--from", "1h")
		m.await("a replay is in its transaction", func() (bool, error) {
			var left []struct{ Count int }
			err := json.Unmarshal(m.admin(http.MethodGet, "/_localaws/faults", ""), &left)
			return len(left) == 0 || left[0].Count == 0, err
		})
		p.kill()
	}
	two := []*process{start(t, m.env, "analytics-worker", "replay", "--from", "1h"), start(t, m.env, "analytics-worker", "replay", "--from", "1h")}
	for _, p := range two {
		if status := p.exit(patience); status != 0 {
			t.Errorf("a replay ended with status %d", status)
		}
	}
	if status := publisher.exit(patience); status != 0 {
		t.Errorf("publish ended with status %d", status)
	}
	var r verify.Report = m.settled(5000)
	if r.LettersSurplus+r.LettersMissing != 0 {
		t.Errorf("letters: %+v", r)
	}
}
