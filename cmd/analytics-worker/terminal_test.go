package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// hostile steers a terminal in every way that is known here: a title, a bell, a
// cleared screen, C1 as a character, text that runs from right to left, isolates,
// what has no width, and ends of lines of another kind.
const hostile = "\x1b]0;pwned\a\x1b[2J\u009b31m\u202egnp.exe\u2066\u200b\u200d\ufeff\u2060\u00ad\u2028\u3164\x7f"

func TestSafeCellsAreNoFormulas(t *testing.T) {
	for in, want := range map[string]string{
		`=HYPERLINK("http://x","y")`: `'=HYPERLINK("http://x","y")`, "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0", "@SUM(1)": "'@SUM(1)",
		"-1+1": "'-1+1", "-2.50": "-2.50", "+3": "+3", "-": "'-", "\t=1": "'\t=1", "\r=1": "'\r=1", "\n=1": "'\n=1", "": "", "order_created": "order_created", "a=b": "a=b",
	} {
		if got := safeCell(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestPrintableBlanksWhatSteers(t *testing.T) {
	for in, want := range map[string]string{
		"order created": "order created", "naïve 注文 🛒": "naïve 注文 🛒", "a\u0600b": "a\u0600b",
		"\x1b[2J": "\ufffd[2J", "a\tb\n": "a\ufffdb\ufffd", "\x9b31m": "\ufffd31m", "\u009b31m": "\ufffd31m",
		"a\u202eb": "a\ufffdb", "\u2066\u2067\u2068\u2069\u200e\u200f\u061c": strings.Repeat("\ufffd", 7),
		"a\u200bb\u200cc\u200dd\ufeff": "a\ufffdb\ufffdc\ufffdd\ufffd", "\u2028\u2029": "\ufffd\ufffd", "\U000e0041": "\ufffd",
		"\u3164\u115f\u034f\u00ad": "\ufffd\ufffd\ufffd\ufffd",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := printableText("a\tb\n\x1bc"); got != "a\tb\n\ufffdc" {
		t.Errorf("lines: %q", got)
	}
}

// However what is written is cut up, the terminal sees the same.
func TestATerminalSeesWholeCharacters(t *testing.T) {
	text := "é注🛒\x9b\x1b[2J\u009b\u202e end\n"
	for size := 1; size <= len(text); size++ {
		var screen bytes.Buffer
		w := &terminal{screen: &screen}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if got, err := io.WriteString(w, rest[:n]); err != nil || got != n {
				t.Fatalf("wrote %d of %d, %v", got, n, err)
			}
			rest = rest[n:]
		}
		if screen.String() != printableText(text) {
			t.Errorf("in pieces of %d: %q", size, screen.String())
		}
	}
}

// ourColours are a style of paint.go's, and what has it.
var ourColours = regexp.MustCompile(`\x1b\[(?:1|2|1;31|32|33|36)m([^\x1b]*)\x1b\[0m`)

// onScreen runs the program on a terminal, with what it prints and says there.
func onScreen(t *testing.T, env []string, args ...string) string {
	t.Helper()
	host, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	defer host.Close()
	number, err := unix.IoctlGetInt(int(host.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(host.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "analytics-worker", args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = screen, screen
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = screen.Close()
	shown := make(chan string)
	go func() {
		text, _ := io.ReadAll(host) // it ends with an error when the program has closed the other side
		shown <- string(text)
	}()
	_ = cmd.Wait() // its status does not matter here
	return <-shown
}

// Nothing that came with an event or in an error of a service reaches a terminal
// as more than text, whatever prints it; to a pipe data go as they are.
func TestNoEventSteersATerminal(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	file := filepath.Join(t.TempDir(), "orders.ndjson")
	// event_type takes 50 bytes; the rest is in an id that verify shows as missing.
	kind := "\x1b]0;pwned\a\u009b\u202e\u2066\u200b=1"
	order := func(id, kind string) string {
		text, err := json.Marshal(map[string]any{"order_id": id, "customer_id": "c", "store_id": 1, "total_amount": 1, "item_count": 1, "event_type": kind, "event_timestamp": "2026-11-20T08:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	if err := os.WriteFile(file, []byte(order("1", kind)+order("id"+hostile, "created")), 0o600); err != nil {
		t.Fatal(err)
	}
	m.must("publish", "--create", "1", "--file", file)
	w := m.worker()
	m.settled(2)
	w.kill()
	if out := m.must("report", "event-types", "--format", "csv"); !strings.Contains(out, kind) {
		t.Errorf("to a pipe the data are not as they are: %q", out)
	}
	m.execute("DELETE FROM fact_orders WHERE order_id <> '1'") // verify tells of it
	m.await("the order is gone", func() (bool, error) { return m.verify().Missing == 1, nil })
	refused := `[{"service":"kinesis","fault":"throttle","error":"` + `\u001b]0;pwned\u0007\u009b\u202e` + `"},
		{"service":"redshift-data","operation":"ExecuteStatement","fault":"throttle","error":"` + `\u001b]0;pwned\u0007\u009b\u202e` + `"}]`
	for _, run := range []struct {
		faults string
		args   []string
		holds  string
	}{
		{`[]`, []string{"report", "event-types"}, "0;pwned"},
		{`[]`, []string{"report", "event-types", "--format", "csv"}, "0;pwned"},
		{`[]`, []string{"report", "event-types", "--format", "json"}, "pwned"},
		{`[]`, []string{"verify"}, "pwned"},
		{`[]`, []string{"verify", "--format", "json"}, "pwned"},
		{`[]`, []string{"report", hostile}, "top-stores"},
		{`[]`, []string{"nothing" + hostile}, "unknown verb"},
		{refused, []string{"publish", "--count", "1"}, "pwned"},
		{refused, []string{"status"}, "pwned"},
		{refused, []string{"doctor"}, "pwned"},
		{refused, []string{"doctor", "--format", "json"}, "pwned"},
	} {
		m.faults(run.faults)
		shown := onScreen(t, m.env, run.args...)
		if !strings.Contains(shown, run.holds) {
			t.Errorf("%q shows no %q: %q", run.args, run.holds, shown)
		}
		for _, line := range strings.Split(strings.ReplaceAll(shown, "\r\n", "\n"), "\n") {
			// A line of progress steers the terminal itself.
			line = strings.TrimPrefix(strings.ReplaceAll(line, "\r\x1b[K", ""), "\r")
			line = ourColours.ReplaceAllString(line, "$1") // none of them is in what is hostile
			if clean := printableText(line); clean != line {
				t.Errorf("%q steers the terminal: %q", run.args, line)
			}
		}
	}
}

// A terminal that takes no escape sequences gets none, whatever waits.
func TestADumbTerminalIsNotSteered(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.faults(paused)
	for _, c := range []struct {
		kind  string
		steer bool
	}{{"xterm", true}, {"dumb", false}} {
		shown := onScreen(t, append(m.env, "TERM="+c.kind), "report", "top-stores", "--timeout", "2s")
		if steered := strings.Contains(shown, "\x1b"); steered != c.steer || !strings.Contains(shown, "no answer within 2s") {
			t.Errorf("%s: %q", c.kind, shown)
		}
	}
}
