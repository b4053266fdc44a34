package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// saidToBeWrong is what says that something is not as it should be.
var saidToBeWrong = regexp.MustCompile(`(?m)^FAIL|"FAIL"|refuses|DIFFER|what was loaded stays`)

// asked counts the calls of an operation of the Data API's.
func (m *machine) asked(operation string) int {
	m.t.Helper()
	var calls []struct{ Operation string }
	if err := json.Unmarshal(m.admin(http.MethodGet, "/_localaws/calls?service=redshift-data&operation="+operation, ""), &calls); err != nil {
		m.t.Fatal(err)
	}
	return len(calls)
}

// A verb that a signal ends before it is done has a status of its own: 1 says that
// something is not as it should be, and 0 that all is well. What it has not found out
// it does not call wrong, and what only reads leaves nothing running in the warehouse.
func TestAnInterruptedVerbSaysSo(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "20", "--seed", "13")
	m.faults(`[{"service":"redshift-data","fault":"paused"}]`)
	for _, c := range []struct {
		verb    string
		signal  syscall.Signal
		status  int
		cancels bool
	}{
		{"report top-stores", syscall.SIGINT, 130, true},
		{"report top-stores", syscall.SIGTERM, 143, true},
		{"verify", syscall.SIGINT, 130, true},
		{"verify --format json", syscall.SIGTERM, 143, true},
		{"replay --from 1h", syscall.SIGINT, 130, true},
		{"replay --from 1h --dry-run", syscall.SIGINT, 130, true},
		{"positions", syscall.SIGINT, 130, true},
		{"schema --apply", syscall.SIGINT, 130, true},
		{"status", syscall.SIGINT, 130, false},
		{"status --watch", syscall.SIGINT, 0, false},
		{"doctor", syscall.SIGINT, 130, false},
		{"doctor --format json", syscall.SIGTERM, 143, false},
	} {
		m.admin(http.MethodDelete, "/_localaws/calls", "")
		p := start(t, m.env, "analytics-worker", strings.Fields(c.verb)...)
		m.await(c.verb+" asks the warehouse", func() (bool, error) { return m.asked("DescribeStatement") > 0, nil })
		p.signal(c.signal)
		status := p.exit(patience)
		said := p.output()
		if status != c.status {
			t.Errorf("%s: status %d after %v, want %d: %s", c.verb, status, c.signal, c.status, said)
		}
		if wrong := saidToBeWrong.FindString(said); wrong != "" {
			t.Errorf("%s calls wrong what it has not found out (%q):\n%s", c.verb, wrong, said)
		}
		if c.status != 0 && !strings.Contains(said, c.signal.String()+" signal received") {
			t.Errorf("%s does not say what ended it:\n%s", c.verb, said)
		}
		if c.cancels && (m.asked("CancelStatement") == 0 || strings.Contains(said, "goes on")) {
			t.Errorf("%s leaves its statement in the warehouse:\n%s", c.verb, said)
		}
	}
}
