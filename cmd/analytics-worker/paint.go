package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Values of --color.
const (
	colorAuto   = "auto"
	colorAlways = "always"
	colorNever  = "never"
)

var colors = []string{colorAuto, colorAlways, colorNever}

// colorful reports whether what is written to w is to be in colour. NO_COLOR is
// https://no-color.org's: set to anything but nothing, it takes colours off, and the flag has the last word.
func (a *app) colorful(w io.Writer) bool {
	switch a.color {
	case colorAlways:
		return true
	case colorNever:
		return false
	}
	no, _ := a.lookup("NO_COLOR")
	kind, _ := a.lookup("TERM")
	return isTerminal(w) && no == "" && kind != "dumb"
}

// painted is w, with colours for what a verb says about health where they are asked
// for. The words are the same with and without: a colour never is all that tells.
func (a *app) painted(w io.Writer) io.Writer {
	if !a.colorful(w) {
		return w
	}
	return &painter{w: w}
}

// style is how the text between two escapes looks: one of the 16 colours that
// terminals have a legible shade of, on light and on dark ground.
type style string

const (
	plain  style = ""
	bold   style = "1"
	dim    style = "2"
	red    style = "1;31"
	green  style = "32"
	amber  style = "33"
	accent style = "36"
)

func (s style) on(text string) string {
	if s == plain || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// painter colours whole lines by how they begin. What is written to it is text of
// ours and of others: only the colours steer the terminal.
type painter struct {
	w     io.Writer
	plain bool // without colours

	mu   sync.Mutex // guards rest
	rest []byte     // a line whose end the next Write brings
}

// Write implements io.Writer.
func (p *painter) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	end := bytes.LastIndexByte(p.rest, '\n') + 1
	if end == 0 {
		return len(b), nil
	}
	var out strings.Builder
	for line := range strings.Lines(printableText(string(p.rest[:end]))) {
		if !p.plain {
			line = tint(strings.TrimSuffix(line, "\n")) + "\n"
		}
		out.WriteString(line)
	}
	p.rest = append(p.rest[:0], p.rest[end:]...)
	w := p.w
	if t, ok := w.(*terminal); ok {
		t.keep()
		w = t.screen
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return 0, err
	}
	return len(b), nil
}

// beginnings are how lines begin that have a colour, and how much of them has it.
var beginnings = []struct {
	text  string
	style style
	whole bool
}{
	{"OK ", green, false},
	{"WARN ", amber, false},
	{"FAIL ", red, false},
	{"FINE:", green, false},
	{"LOOK:", amber, false},
	{"ACT:", red, false},
	{"! ", amber, true},
	{"everything agrees", green, true},
	{"DIFFERENCES FOUND", red, false},
	{"NOT ALL WAS COMPARED", amber, false},
	{"analytics-worker:", red, false},
}

// logLine is how a line of the log begins on a terminal, see readable.
var logLine = regexp.MustCompile(`^(\d\d:\d\d:\d\dZ) (DEBUG|INFO |WARN |ERROR)`)

// tint is the line in its colour.
func tint(line string) string {
	if m := logLine.FindStringSubmatch(line); m != nil {
		levels := map[string]style{"DEBUG": dim, "INFO ": plain, "WARN ": amber, "ERROR": red}
		return dim.on(m[1]) + " " + levels[m[2]].on(m[2]) + line[len(m[0]):]
	}
	for _, b := range beginnings {
		if rest, found := strings.CutPrefix(line, b.text); found {
			if b.whole {
				return b.style.on(line)
			}
			return b.style.on(b.text) + rest
		}
	}
	if step := strings.TrimLeft(line, " "); strings.HasPrefix(step, "-> ") {
		return line[:len(line)-len(step)] + accent.on(step)
	}
	if line != "" && line == strings.ToUpper(line) && line != strings.ToLower(line) { // heads of tables
		return bold.on(line)
	}
	return line
}

// size is how many characters a line of w may have, and how many lines fit on it: what
// the terminal tells, else 80 by 24. COLUMNS has its say as in other programs, but for
// more than the terminal has.
func (a *app) size(w io.Writer) (columns, lines int) {
	wanted := a.columns()
	columns, lines = terminalSize(w)
	switch {
	case wanted > 0 && isTerminal(w):
		return min(columns, wanted), lines
	case wanted > 0:
		return wanted, lines
	}
	return columns, lines
}

// terminalSize is what the terminal tells that w is, else 80 by 24.
func terminalSize(w io.Writer) (columns, lines int) {
	if f, ok := screenOf(w).(*os.File); ok {
		if columns, lines, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 && lines > 0 {
			return columns, lines
		}
	}
	return 80, 24
}

// columns is what COLUMNS says, 0 for nothing: whoever has lines written to a file or a
// pipe can tell only so how long they may be.
func (a *app) columns() int {
	given, _ := a.lookup("COLUMNS")
	n, err := strconv.Atoi(strings.TrimSpace(given))
	if err != nil {
		return 0
	}
	return max(0, n)
}

// fits reports whether lines to w have a width that they must fit in.
func (a *app) fits(w io.Writer) bool { return isTerminal(w) || a.columns() > 0 }

// clip is as much of a text as fits on so many lines of a screen, and a line that
// says so where that is not all.
func clip(text string, columns, lines int) string {
	var out strings.Builder
	all := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	used := 0
	for i, line := range all {
		rows := max(1, (utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))+columns-1)/columns)
		last := i == len(all)-1
		if used+rows > lines || used+rows == lines && !last {
			fmt.Fprintf(&out, "... and %s that a taller window shows\n", plural.Of(len(all)-i, "line"))
			return out.String()
		}
		used += rows
		out.WriteString(line)
	}
	return out.String() + "\n"
}

// reporting is where a verb's report goes, painted where it is for people.
func (a *app) reporting(format string) io.Writer {
	if format != "table" {
		return a.stdout
	}
	return a.painted(a.stdout)
}
