package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// terminal is a standard stream that somebody reads on a screen. What is printed
// may hold text of anybody's who can put an event on the stream, or of a service's
// error, and a terminal obeys what is in it: so everything that goes there
// loses what could steer it, whoever prints it. To a file or a pipe data go as they are.
type terminal struct {
	screen io.Writer // takes what this program itself steers the terminal with

	mu    sync.Mutex // guards what follows, and keeps what is written together
	rest  []byte     // the beginning of a character whose end the next Write brings
	drawn int        // lines at the end that draw put there
}

// onTerminal is w, as a terminal if it is one.
func onTerminal(w io.Writer) io.Writer {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return &terminal{screen: f}
	}
	return w
}

func isTerminal(w io.Writer) bool {
	_, ok := onTerminal(w).(*terminal)
	return ok
}

// steerable reports whether w is a terminal that takes escape sequences, so that lines
// can be written anew in their place.
func steerable(w io.Writer) bool { return isTerminal(w) && os.Getenv("TERM") != "dumb" }

// screenOf is where a terminal takes escape sequences; other writers are as they are.
func screenOf(w io.Writer) io.Writer {
	if t, ok := w.(*terminal); ok {
		return t.screen
	}
	return w
}

// draw puts lines where those of the last time are.
func (t *terminal) draw(lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	if t.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", t.drawn)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[K" + line + "\n")
	}
	b.WriteString("\x1b[J") // what was there before the terminal became smaller
	t.drawn = len(lines)
	_, _ = io.WriteString(t.screen, b.String())
}

// keep leaves what is drawn where it is.
func (t *terminal) keep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drawn = 0
}

// Write implements io.Writer. What is drawn gives way: text between two pictures would
// leave a part of the first on the screen.
func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drawn > 0 {
		_, _ = fmt.Fprintf(t.screen, "\x1b[%dA\r\x1b[J", t.drawn)
		t.drawn = 0
	}
	text := append(t.rest, b...)
	whole := len(text)
	for i := 1; i < utf8.UTFMax && i <= len(text); i++ {
		if last := text[len(text)-i:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				whole -= i
			}
			break
		}
	}
	t.rest = append([]byte(nil), text[whole:]...)
	if _, err := io.WriteString(t.screen, printableText(string(text[:whole]))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// printable is one line of text without anything that steers a terminal, changes
// the order in which it shows, or does not show at all.
func printable(s string) string { return strings.Map(visible, s) }

// printableText is printable for text of several lines, in which tabs may be.
func printableText(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return visible(r)
	}, s)
}

// visible is r, or the replacement character in place of controls (C0, C1, and
// bytes that are no UTF-8), of marks that turn the direction of text, and of what has
// no width or is a line's end to some: two ids that look the same are then not the same.
func visible(r rune) rune {
	switch {
	case r < 0x7f && r >= ' ':
		return r
	case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point),
		unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r):
		return utf8.RuneError
	}
	return r
}
