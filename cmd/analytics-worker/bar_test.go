package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
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
