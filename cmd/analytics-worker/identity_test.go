package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The session's own folder for seats comes first. A worker that can have no seat says
// so once, and does without.
func TestSeatsLieInTheSessionsFolder(t *testing.T) {
	session, temporary := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	for where, folder := range map[string]string{session: session, "": temporary, "not/a/whole/path": temporary} {
		t.Setenv("XDG_RUNTIME_DIR", where)
		var log bytes.Buffer
		one := newIdentity(config{Stream: "order-events"}, "us-east-1", slog.New(slog.NewTextHandler(&log, nil)))
		one.Leave()
		if log.Len() > 0 || filepath.Dir(seatFolder()) != folder {
			t.Errorf("%q: the seat lies in %s, and the log says %s", where, seatFolder(), &log)
		}
		if next := newIdentity(config{Stream: "order-events"}, "us-east-1", slog.New(slog.NewTextHandler(&log, nil))); next.Predecessor != one.name || next.name == one.name {
			t.Errorf("%q: %s follows %q, want %s", where, next.name, next.Predecessor, one.name)
		} else {
			next.Leave()
		}
		if other := newIdentity(config{Stream: "payments"}, "us-east-1", slog.New(slog.NewTextHandler(&log, nil))); other.Predecessor != "" {
			t.Errorf("%q: a worker of another stream follows %q", where, other.Predecessor)
		} else {
			other.Leave()
		}
		if err := os.Chmod(seatFolder(), 0o777); err != nil {
			t.Fatal(err)
		}
		none := newIdentity(config{Stream: "order-events"}, "us-east-1", slog.New(slog.NewTextHandler(&log, nil)))
		if none.name == "" || none.Predecessor != "" || strings.Count(log.String(), "no seat file") != 1 {
			t.Errorf("%q: in a folder that all may write to: %+v, and the log says %s", where, none, &log)
		}
		if err := os.RemoveAll(seatFolder()); err != nil {
			t.Fatal(err)
		}
	}
}
