package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/storm"
)

// slowStorm makes all that a storm asks take an hour but the one question before it,
// and loses replies.
const slowStorm = `,{"service":"redshift-data","fault":"statement-slow","match":"arrived_until","delay":"1h"},
	{"service":"redshift-data","operation":"ExecuteStatement","fault":"reply-lost","count":20}]`

// onOneProcessor has a storm without results make pages up on one processor: on all of
// them it takes the machine from the tests beside it.
const onOneProcessor = "GOMAXPROCS=1"

// newStormMachine has tables and a stream, and queries that take an hour.
func newStormMachine(t *testing.T) *machine {
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	m.faults(strings.TrimSuffix(slowQueries("1h"), "]") + slowStorm)
	return m
}

// TestAStormThatIsToldToStopLeavesNothing: whatever ends it cancels what is in the
// warehouse, also the query of a submission that was never answered, and what it asked
// for itself. A session that drops and a reader that goes away are ends as well.
func TestAStormThatIsToldToStopLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGHUP": syscall.SIGHUP, "nobody reads": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newStormMachine(t)
			cmd := exec.Command("analytics-worker", "stress", "600", "100", "--nice", "0")
			cmd.Env = append(append(os.Environ(), m.env...), onOneProcessor)
			said, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			if s == 0 {
				lines := bufio.NewScanner(said)
				for lines.Scan() && !strings.Contains(lines.Text(), "in flight") {
				}
			}
			m.awaitUnended(6)
			if s == 0 {
				_ = said.Close()
			} else if err := cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			select {
			case err := <-ended:
				if cmd.ProcessState.ExitCode() != 1 {
					t.Errorf("%v of a storm that was cut short, want exit status 1", err)
				}
			case <-time.After(patience):
				t.Fatal("it does not end")
			}
			if left := m.unended(); len(left) > 0 {
				t.Errorf("%d statements are left, among them %q: %s", len(left), left[0].Name, left[0].sqls())
			}
			lost := slices.ContainsFunc(m.calls(), func(c call) bool { return c.Fault == "reply-lost" })
			if aborted := m.statements(stormPrefix, "ABORTED"); !lost || len(aborted) < 6 {
				t.Errorf("replies were lost: %t; %d queries were cancelled", lost, len(aborted))
			}
		})
	}
}

// TestWhatAStormAsksItselfIsCancelled: the question before the first query waits like
// any other, and Ctrl-C takes it back.
func TestWhatAStormAsksItselfIsCancelled(t *testing.T) {
	t.Parallel()
	m := newStormMachine(t)
	m.faults(`[{"service":"redshift-data","fault":"statement-slow","match":"MAX(event_timestamp) FROM","delay":"1h"}]`)
	p := start(t, append(m.env, onOneProcessor), "analytics-worker", "stress", "600", "100")
	m.awaitUnended(1)
	p.signal(syscall.SIGINT)
	if status := p.exit(patience); status != 1 {
		t.Errorf("exit status %d", status)
	}
	if left := m.unended(); len(left) > 0 {
		t.Errorf("%q is left: %s", left[0].Name, left[0].sqls())
	}
}

// TestAStormUnderNohupGoesOn: what was started to outlive its session does.
func TestAStormUnderNohupGoesOn(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	p := start(t, m.env, "sh", "-c", `trap "" HUP; exec analytics-worker stress 3 10`)
	p.await("asking the warehouse")
	p.signal(syscall.SIGHUP)
	if status := p.exit(patience); status != 0 {
		t.Errorf("exit status %d", status)
	}
	p.await("ran its full time")
}

// TestAStormIsNicerThanItsCaller: the priority is lowered from where it is, of each
// thread; to raise that of a caller that has lowered it takes a privilege, or undoes
// what the caller wanted.
func TestAStormIsNicerThanItsCaller(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	own, err := niceness(0)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, m.env, "nice", "-n", "5", "analytics-worker", "stress", "600", "10", "--nice", "3")
	p.await("in flight")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil || len(tasks) == 0 {
		t.Skip("no threads are listed here:", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if got := strings.Fields(rest)[16]; got != fmt.Sprint(min(19, own+8)) {
			t.Errorf("%s has the niceness %s, want %d + 5 + 3", task, got, own)
		}
	}
	p.signal(syscall.SIGTERM)
	p.exit(patience)
}

// TestAStormThatMayNotCancelSaysSo: it does not try for minutes what it may not do, and
// says what is left and why.
func TestAStormThatMayNotCancelSaysSo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	m.faults(strings.TrimSuffix(slowQueries("1h"), "]") + `,{"service":"redshift-data","operation":"CancelStatement","fault":"access-denied"}]`)
	p := start(t, append(m.env, onOneProcessor), "analytics-worker", "stress", "600", "100")
	m.awaitUnended(4)
	p.signal(syscall.SIGTERM)
	p.await("queries could not be cancelled", "allow redshift-data:CancelStatement to the IAM role")
	if status := p.exit(patience); status != 1 {
		t.Errorf("exit status %d", status)
	}
	asked := 0
	for _, c := range m.calls() {
		if c.Operation == "CancelStatement" {
			asked++
		}
	}
	if asked > 2 { // one is the question of the watermark's age
		t.Errorf("%d calls of CancelStatement, each of which was denied", asked)
	}
}

// TestAThrottledPageKeepsThePipelineKnown: the storm takes its share of the rates, and
// its own question is refused as others are.
func TestAThrottledPageKeepsThePipelineKnown(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	w := m.worker("HTTP_ADDR=", "POLL_INTERVAL=200ms")
	m.await("a record is loaded", func() (bool, error) {
		return strings.Contains(m.must("report", "freshness", "--format", "json"), "shardId-000000000000"), nil
	})
	w.signal(syscall.SIGTERM)
	w.exit(patience)
	m.faults(`[{"service":"redshift-data","operation":"GetStatementResult","fault":"throttle","count":6}]`)
	out := m.must("stress", "1", "10", "--format", "json")
	var r storm.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Freshness.Before < 0 {
		t.Errorf("the age of the watermark before the storm is %v: %v", r.Freshness.Before, err)
	}
}

// TestAWarehouseThatGoesAwayIsTold: also where queries have finished before, and some
// are in flight.
func TestAWarehouseThatGoesAwayIsTold(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	p := start(t, append(m.env, onOneProcessor), "analytics-worker", "stress", "600", "100")
	m.await("queries finish", func() (bool, error) { return len(m.statements(stormPrefix, "FINISHED")) > 8, nil })
	m.faults(`[{"service":"redshift-data","fault":"internal-error"}]`)
	p.await("the warehouse takes no queries", "InternalFailure")
	m.faults(`[{"service":"redshift-data","fault":"statement-failed","error":"ERROR: a made-up error"}]`)
	p.await("every query fails", "a made-up error")
	m.faults(`[]`)
	p.await("queries and reports")
	p.signal(syscall.SIGTERM)
	p.exit(patience)
}

// TestAWarehouseThatSaysNothingOfQueriesIsTold: as many are in flight as may, no other
// is tried, and none of them fails.
func TestAWarehouseThatSaysNothingOfQueriesIsTold(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	p := start(t, append(m.env, onOneProcessor), "analytics-worker", "stress", "600", "100", "--concurrency", "4")
	m.await("queries finish", func() (bool, error) { return len(m.statements(stormPrefix, "FINISHED")) > 8, nil })
	m.faults(`[{"service":"redshift-data","operation":"DescribeStatement","fault":"internal-error"}]`)
	p.await("failed 0", "the warehouse takes no queries", "InternalFailure")
	m.faults(`[]`)
	p.await("queries and reports")
	p.signal(syscall.SIGTERM)
	p.exit(patience)
}

// TestProductionIsToldByItsName: a storm there takes a flag, however the name is
// written.
func TestProductionIsToldByItsName(t *testing.T) {
	for name, want := range map[string]bool{
		"prod": true, "production": true, "PROD": true, "Production": true, "prod-eu": true, "shop_production": true, "eu.prd": true, "prod2": true,
		"dev": false, "staging": false, "preprod": false, "pre-prod": false, "non-production": false, "reproduction": false, "product": false,
	} {
		if isProduction(name) != want {
			t.Errorf("%s is production: %t, want %t", name, !want, want)
		}
	}
}

// TestNegativeArgumentsAreExplained: they look like flags.
func TestNegativeArgumentsAreExplained(t *testing.T) {
	for _, args := range [][]string{{"stress", "-1"}, {"stress", "5", "-.5"}} {
		var said strings.Builder
		status := run(t.Context(), args, func(string) (string, bool) { return "", false }, &said, &said)
		if status != exitUsage || !strings.Contains(said.String(), "SECONDS and CPU must not be negative") {
			t.Errorf("%v: status %d, %s", args, status, said.String())
		}
	}
}
