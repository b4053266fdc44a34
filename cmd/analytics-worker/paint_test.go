package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// Colours are added to the words, never in place of them, and nothing of others'
// steers the terminal with them.
func TestColoursAreOursAlone(t *testing.T) {
	text := "OK    stream  fine\nFAIL  reads\x1b[2J  4 of 4\n        -> do this\nSHARD  STATE\n! lag\u202e\nACT: start one\n0  open\nno end"
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		p := &painter{w: &out}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			fmt.Fprint(p, rest[:n])
			rest = rest[n:]
		}
		want := "\x1b[32mOK \x1b[0m   stream  fine\n\x1b[1;31mFAIL \x1b[0m reads\ufffd[2J  4 of 4\n        \x1b[36m-> do this\x1b[0m\n" +
			"\x1b[1mSHARD  STATE\x1b[0m\n\x1b[33m! lag\ufffd\x1b[0m\n\x1b[1;31mACT:\x1b[0m start one\n0  open\n"
		if out.String() != want {
			t.Fatalf("in pieces of %d:\n%q\nwant\n%q", size, out.String(), want)
		}
	}
}

func TestWhoAsksForColoursGetsThem(t *testing.T) {
	screen := &terminal{screen: new(bytes.Buffer)}
	for _, c := range []struct {
		flag, noColor, term string
		screen, want        bool
	}{
		{"auto", "", "xterm", true, true},
		{"auto", "", "xterm", false, false},
		{"auto", "1", "xterm", true, false},
		{"auto", "", "dumb", true, false},
		{"always", "1", "dumb", false, true},
		{"never", "", "xterm", true, false},
	} {
		a := &app{color: c.flag, lookup: settingsOf([]string{"NO_COLOR=" + c.noColor, "TERM=" + c.term})}
		var got bool
		if c.screen {
			got = a.colorful(screen)
		} else {
			got = a.colorful(new(bytes.Buffer))
		}
		if got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWordsOfAFlagsHelp(t *testing.T) {
	for usage, want := range map[string]string{
		"table or json": "table json", "table, csv or json": "table csv json", "redshift, postgres or duckdb": "redshift postgres duckdb",
		"auto (on a terminal, unless NO_COLOR is set), always or never": "auto always never",
	} {
		if got := strings.Join(wordsOf(usage), " "); got != want {
			t.Errorf("%q: %q, want %q", usage, got, want)
		}
	}
}

func TestWhatDoesNotFitIsSaid(t *testing.T) {
	text := "one\n" + strings.Repeat("x", 25) + "\nthree\nfour\n"
	for lines, want := range map[int]string{
		6: text, 7: text, 5: "one\n" + strings.Repeat("x", 25) + "\n... and 2 lines that a taller window shows\n", 3: "one\n... and 3 lines that a taller window shows\n",
	} {
		if got := clip(text, 10, lines); got != want {
			t.Errorf("%d lines: %q, want %q", lines, got, want)
		}
	}
}

func TestHelpFitsInALine(t *testing.T) {
	const text = "one two three four five\nsix seven\n\nkeys:\n  a, b\n  c, d, e, f, g, h\nend\n\nshort"
	const want = "one two three\nfour five six\nseven\n\nkeys:\n  a, b c, d, e,\n  f, g, h\nend\n\nshort"
	if got := fit(text, 15); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := fit(text, 80); got != text {
		t.Errorf("%q is not as it was", got)
	}
}

// COLUMNS says how long lines may be where no terminal does: in a pipe, say, whose end a
// pager shows.
func TestColumnsAreHeeded(t *testing.T) {
	longest := func(columns string, args ...string) int {
		var out, errs bytes.Buffer
		if status := run(context.Background(), args, settingsOf([]string{"COLUMNS=" + columns}), &out, &errs); status != exitOK {
			t.Fatalf("%q: status %d: %s", args, status, errs.String())
		}
		long := 0
		text, _, _ := strings.Cut(out.String(), "\nUsage:")
		_, flags, _ := strings.Cut(out.String(), "\nFlags:")
		for line := range strings.Lines(text + flags) { // an example is to be copied as it stands
			long = max(long, utf8.RuneCountInString(strings.TrimRight(line, "\n")))
		}
		return long
	}
	for _, args := range [][]string{{"verify", "--help"}, {"letters", "--help"}, {"help", "settings"}} {
		for _, columns := range []int{60, 80} {
			if got := longest(fmt.Sprint(columns), args...); got > columns || got < columns-12 {
				t.Errorf("%q with COLUMNS=%d: the longest line has %d", args, columns, got)
			}
		}
	}
	for _, none := range []string{"", "0", "-5", "wide"} {
		if got := longest(none, "letters", "--help"); got <= 80 {
			t.Errorf("COLUMNS=%q: the longest line has %d", none, got)
		}
	}
}
