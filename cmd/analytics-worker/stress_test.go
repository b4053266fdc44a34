package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cloudcafe/analytics-worker/internal/storm"
)

// statement is one of the Data API's, as ListStatements shows it.
type statement struct {
	ID           string `json:"Id"`
	Name         string `json:"StatementName"`
	Status       string
	QueryString  string
	QueryStrings []string
	CreatedAt    float64 // seconds
	UpdatedAt    float64
}

// sqls is the texts of a statement, or of each of a batch.
func (s statement) sqls() []string {
	if len(s.QueryStrings) > 0 {
		return s.QueryStrings
	}
	return []string{s.QueryString}
}

// statements lists what the warehouse was asked for, the newest first.
func (m *machine) statements(prefix, status string) []statement {
	m.t.Helper()
	var out []statement
	for in := map[string]any{"StatementName": prefix, "Status": status, "MaxResults": 100}; ; {
		body, err := json.Marshal(in)
		if err != nil {
			m.t.Fatal(err)
		}
		var page struct {
			Statements []statement
			NextToken  string
		}
		if err := json.Unmarshal(m.post("application/x-amz-json-1.1", "RedshiftData.ListStatements", string(body)), &page); err != nil {
			m.t.Fatal(err)
		}
		out = append(out, page.Statements...)
		if page.NextToken == "" {
			return out
		}
		in["NextToken"] = page.NextToken
	}
}

// unended lists all that is in the warehouse, whatever its name.
func (m *machine) unended() []statement {
	m.t.Helper()
	var out []statement
	for _, status := range []string{"SUBMITTED", "PICKED", "STARTED"} {
		out = append(out, m.statements("", status)...)
	}
	return out
}

// awaitUnended waits until that many statements are in the warehouse.
func (m *machine) awaitUnended(n int) {
	m.t.Helper()
	m.await(fmt.Sprintf("%d queries are in the warehouse", n), func() (bool, error) { return len(m.unended()) >= n, nil })
}

// call is an entry of the local AWS's log of calls.
type call struct {
	Service, Operation, Fault string
}

func (m *machine) calls() []call {
	m.t.Helper()
	var out []call
	if err := json.Unmarshal(m.admin(http.MethodGet, "/_localaws/calls?service=redshift-data&limit=100000", ""), &out); err != nil {
		m.t.Fatal(err)
	}
	return out
}

// published wants a metric of a storm's whose highest value is at least so much, in so
// many samples at the least.
func (m *machine) published(name, unit string, least, samples float64) {
	m.t.Helper()
	var out struct {
		Datapoints []struct{ Maximum, SampleCount float64 }
	}
	now := time.Now()
	body := fmt.Sprintf(`{"Namespace":"CloudCafe/Analytics","MetricName":%q,"Dimensions":[{"Name":"Scenario","Value":"QueryStorm"}],"StartTime":%d,"EndTime":%d,"Period":60,"Statistics":["Maximum","SampleCount"],"Unit":%q}`,
		name, now.Add(-time.Hour).Unix(), now.Add(time.Hour).Unix(), unit)
	if err := json.Unmarshal(m.post("application/x-amz-json-1.0", "GraniteServiceVersion20100801.GetMetricStatistics", body), &out); err != nil {
		m.t.Fatal(err)
	}
	highest, n := -1.0, 0.0
	for _, d := range out.Datapoints {
		highest, n = max(highest, d.Maximum), n+d.SampleCount
	}
	if highest < least || n < samples {
		m.t.Errorf("%s was at most %v in %v samples of %s, want %v in %v", name, highest, n, unit, least, samples)
	}
}

// TestAStormOnlyReads: every statement that the warehouse saw of a storm is a
// SELECT, and it saw no others than it lists.
func TestAStormOnlyReads(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	before := len(m.statements("", "ALL"))
	m.admin(http.MethodDelete, "/_localaws/calls", "")
	m.env = append(m.env, "METRICS_INTERVAL=30") // nothing is lost of what was between two publications
	m.must("stress", "6", "100", "--seed", "1")
	m.published("QueryStormCompleted", "Count", 1, 1)
	m.published("QueryStormCPU", "Percent", 1, 4)
	m.published("QueryStormQueriesFinished", "Count", 1, 1)
	submitted := 0
	for _, c := range m.calls() {
		switch c.Operation {
		case "ExecuteStatement", "BatchExecuteStatement":
			submitted++
		case "DescribeStatement", "GetStatementResult", "CancelStatement", "ListStatements":
		default:
			t.Errorf("the storm calls %s", c.Operation)
		}
	}
	all := m.statements("", "ALL")
	seen := all[:len(all)-before]
	if len(seen) != submitted || submitted < 5 {
		t.Errorf("%d statements are listed, %d were submitted", len(seen), submitted)
	}
	for _, s := range seen {
		for _, sql := range s.sqls() {
			if !strings.HasPrefix(sql, "SELECT ") || strings.Contains(sql, ";") {
				t.Errorf("%s is no SELECT: %s", s.Name, sql)
			}
		}
	}
}

// slowQueries makes every query of a storm over the facts or the minutes take so
// long.
func slowQueries(delay string) string {
	return `[{"service":"redshift-data","fault":"statement-slow","match":"event_timestamp >=","delay":"` + delay + `"},
		{"service":"redshift-data","fault":"statement-slow","match":"minute >=","delay":"` + delay + `"}]`
}

// TestAKilledStormLeavesWhatEnds: after kill -9 there is at most what was in the
// warehouse, the next storm says so, and it ends by itself.
func TestAKilledStormLeavesWhatEnds(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1")
	m.faults(slowQueries("20s"))
	p := start(t, append(m.env, onOneProcessor), "analytics-worker", "stress", "600", "100")
	m.awaitUnended(4)
	p.kill()
	left := m.unended()
	if len(left) == 0 { // what the storm asked for itself may have ended
		t.Fatal("no query is left")
	}
	m.faults(`[]`)
	next := start(t, m.env, "analytics-worker", "stress", "1", "10")
	next.await("queries of another storm have not ended")
	if status := next.exit(patience); status != 0 {
		t.Errorf("exit status %d of the next storm", status)
	}
	m.await("what was left has ended by itself", func() (bool, error) { return len(m.unended()) == 0, nil })
	for _, s := range m.statements(stormPrefix, "ABORTED") {
		if slices.ContainsFunc(left, func(l statement) bool { return l.ID == s.ID }) {
			t.Errorf("%s was cancelled: it may have been another's", s.Name)
		}
	}
}

// TestTheDisplayFitsTheTerminal: a line that wraps, or a screen that scrolls, would
// leave the picture before on it.
func TestTheDisplayFitsTheTerminal(t *testing.T) {
	s := storm.Snapshot{
		Elapsed: 400 * time.Second, Left: 200*time.Second + 123*time.Millisecond, Target: 90, CPU: 89.6, InFlight: 123, Allowed: 456,
		Unread: 1200, Full: true, RowsPerSecond: 12_345_678, Made: 0.33, Freshness: 1234 * time.Millisecond, FreshKnown: true,
		Counts: storm.Counts{Finished: 10_000, Failed: 200, Refused: 3000, Rows: 1e9}, RunP95: time.Minute,
	}
	for range 600 {
		s.History = append(s.History, storm.Second{CPU: 95})
	}
	for _, size := range [][2]int{{200, 50}, {100, 24}, {80, 24}, {40, 15}, {30, 14}, {20, 10}, {5, 8}} {
		lines := stormLines(s, size[0], size[1])
		if len(lines) >= size[1] {
			t.Errorf("%d lines on a screen of %d", len(lines), size[1])
		}
		for _, line := range lines {
			if len(line) > size[0] {
				t.Errorf("a line of %d on a screen of %d: %s", len(line), size[0], line)
			}
		}
	}
	out := strings.Join(stormLines(s, 80, 24), "\n")
	for _, want := range []string{"] 3m20s left", "CPU         90 %, target 90 %: 1200 pages wait to be read", "123 in flight, 456 allowed, 10000 finished, 200 failed, 3000 refused", "1.2s behind"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q in\n%s", want, out)
		}
	}
}

// openTerminal returns the two ends of a terminal: what a program writes to, and
// what the screen shows.
func openTerminal(t *testing.T) (program, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	var locked, number int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &locked, syscall.TIOCGPTN: &number} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, screen.Fd(), request, uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here:", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return program, screen
}

// TestTheDisplayIsDrawnInPlace: on a terminal the second picture is drawn over the
// first, a line of the log takes the place of a picture and the next one comes below it,
// the last one stays, and what a message says cannot steer it.
func TestTheDisplayIsDrawnInPlace(t *testing.T) {
	program, screen := openTerminal(t)
	t.Setenv("TERM", "xterm")
	d := newApp(os.LookupEnv, program, program).newStormDisplay(onTerminal(program), stressOptions{duration: time.Minute, target: 90})
	d.say("a message with \x1b[31m in it")
	d.show(storm.Snapshot{Left: time.Minute})
	d.show(storm.Snapshot{Left: time.Minute})
	up := fmt.Sprintf("\x1b[%dA", d.screen.drawn)
	d.say("a line of the log")
	d.show(storm.Snapshot{Left: 3 * time.Second})
	d.end()
	d.say("over")
	var text strings.Builder
	for b := make([]byte, 4096); !strings.Contains(text.String(), "over"); {
		n, err := screen.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b[:n])
	}
	if strings.Count(text.String(), up) != 2 || strings.Contains(text.String(), "\x1b[31m") {
		t.Errorf("%q twice and no color expected in %q", up, text.String())
	}
	_, after, _ := strings.Cut(text.String(), up+"\r\x1b[Ja line of the log")
	if strings.Count(after, "\x1b[K") != strings.Count(text.String(), "\x1b[K")/3 || strings.Contains(after, up) {
		t.Errorf("a picture below the line of the log, and nothing over it, expected in %q", text.String())
	}
}
