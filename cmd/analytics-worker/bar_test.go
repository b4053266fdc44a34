package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// TestALineIsWrittenForALog: where nobody watches, a line comes every ten seconds,
// also while one thing takes long, and none for what is quick.
func TestALineIsWrittenForALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newLine(t.Context(), &out)
		l.say("reading")
		l.say("comparing")
		<-time.After(25*time.Second + 500*time.Millisecond)
		l.done()
		if want := "comparing (10s)\ncomparing (20s)\n"; out.String() != want {
			t.Errorf("wrote %q, want %q", out.String(), want)
		}
		out.Reset()
		l = newLine(t.Context(), &out)
		l.say("reading")
		l.done()
		if out.Len() > 0 {
			t.Errorf("wrote %q of something quick", out.String())
		}
	})
}

// A line of progress is no longer than its terminal: what goes on in the next line cannot
// be written anew in its place, and fills the screen.
func TestALineOfProgressFitsItsTerminal(t *testing.T) {
	program, screen := openTerminal(t)
	t.Setenv("TERM", "xterm")
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 40}); err != nil {
		t.Fatal(err)
	}
	l := newLine(t.Context(), onTerminal(program))
	for _, doing := range []string{"loading shard shardId-000000000003 again, 2 loads to go: 3402 records read, 29866/s; 0 rows changed", "注文を読み込んでいます " + strings.Repeat("é", 60), "short"} {
		l.mu.Lock()
		l.last = time.Time{} // it is time
		l.mu.Unlock()
		l.say(doing)
	}
	l.done()
	var text strings.Builder
	for b := make([]byte, 4096); !strings.Contains(text.String(), "short"); {
		n, err := screen.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(b[:n])
	}
	for shown := range strings.SplitSeq(text.String(), "\r\x1b[K") {
		if n := utf8.RuneCountInString(shown); n >= 40 || shown != "" && !strings.Contains(shown, "s) ") {
			t.Errorf("%d characters, or no time: %q", n, shown)
		}
	}
}
