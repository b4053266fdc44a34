package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// seated takes a seat for a worker of a stream; said is what was logged.
func seated(t *testing.T, stream string) (id identity, said string) {
	t.Helper()
	var log bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		id = newIdentity(config{Stream: stream}, "us-east-1", slog.New(slog.NewTextHandler(&log, nil)))
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("taking a seat does not end")
	}
	t.Cleanup(id.leave)
	return id, log.String()
}

// seatsIn sets the folder for seats, and returns the path of the first seat of a
// stream that nobody has taken yet.
func seatsIn(t *testing.T, stream string) (first string) {
	t.Helper()
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", t.TempDir())
	id, said := seated(t, stream)
	if id.lock == nil {
		t.Fatal(said)
	}
	first = id.lock.Name()
	id.leave()
	if err := os.Remove(first); err != nil {
		t.Fatal(err)
	}
	return first
}

// A worker that ends leaves its name to the next one on its seat, and only to
// that one: a neighbour that lives must never be taken for a predecessor.
func TestASuccessorKnowsWhoEnded(t *testing.T) {
	seatsIn(t, "order-events")
	sit := func(stream string) identity {
		id, _ := seated(t, stream)
		return id
	}
	a, b := sit("order-events"), sit("order-events")
	if a.name == b.name || a.predecessor != "" || b.predecessor != "" {
		t.Fatalf("two that live: %+v, %+v", a, b)
	}
	a.leave()
	if other := sit("payments"); other.predecessor != "" {
		t.Errorf("a worker of another stream follows %q", other.predecessor)
	}
	if next := sit("order-events"); next.predecessor != a.name {
		t.Errorf("follows %q, want %q", next.predecessor, a.name)
	}
	if third := sit("order-events"); third.predecessor != "" {
		t.Errorf("a third worker follows %q, where two live", third.predecessor)
	}
}

// Whatever else lies where the seat should be is neither waited for, nor believed,
// nor written to. The worker does without.
func TestForeignSeatsAreRefused(t *testing.T) {
	const precious = "not to be overwritten"
	for name, lay := range map[string]func(t *testing.T, path, victim string) error{
		"a pipe":           func(_ *testing.T, path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"a hard link":      func(_ *testing.T, path, victim string) error { return os.Link(victim, path) },
		"a symbolic link":  func(_ *testing.T, path, victim string) error { return os.Symlink(victim, path) },
		"a folder":         func(_ *testing.T, path, _ string) error { return os.Mkdir(path, 0o700) },
		"a dangling link":  func(_ *testing.T, path, victim string) error { return os.Symlink(victim+"-not-there", path) },
		"a stranger's own": strangers,
	} {
		t.Run(name, func(t *testing.T) {
			path := seatsIn(t, "order-events")
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte(precious), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := lay(t, path, victim); err != nil {
				t.Fatal(err)
			}
			id, said := seated(t, "order-events")
			if id.name == "" || id.lock != nil || id.predecessor != "" {
				t.Errorf("took it: %+v", id)
			}
			if strings.Count(said, "no seat file") != 1 {
				t.Errorf("said %q", said)
			}
			if now, err := os.ReadFile(victim); err != nil || string(now) != precious {
				t.Errorf("the file behind it now holds %q, %v", now, err)
			}
			if _, err := os.Lstat(victim + "-not-there"); err == nil {
				t.Error("a file was made through the link")
			}
		})
	}
}

func strangers(t *testing.T, path, _ string) error {
	if os.Getuid() != 0 {
		t.Skip("only root can make a file of another user")
	}
	if err := os.WriteFile(path, []byte("a-worker-that-lives"), 0o666); err != nil {
		return err
	}
	return os.Chown(path, 12345, -1)
}

// The folder of the seats must be the user's alone, too.
func TestForeignSeatFoldersAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(folder string) error{
		"open to all":     func(folder string) error { return os.Chmod(folder, 0o777) },
		"open to a group": func(folder string) error { return os.Chmod(folder, 0o770) },
		"a link": func(folder string) error {
			return os.Symlink(filepath.Dir(folder), folder)
		},
		"a file": func(folder string) error { return os.WriteFile(folder, nil, 0o600) },
		"a stranger's": func(folder string) error {
			if os.Getuid() != 0 {
				return os.Chmod(folder, 0o777)
			}
			return os.Chown(folder, 12345, -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Dir(seatsIn(t, "order-events"))
			if name == "a link" || name == "a file" {
				if err := os.Remove(folder); err != nil {
					t.Fatal(err)
				}
			}
			if err := spoil(folder); err != nil {
				t.Fatal(err)
			}
			if id, said := seated(t, "order-events"); id.lock != nil || !strings.Contains(said, "this user's alone") {
				t.Errorf("took %+v and said %q", id, said)
			}
		})
	}
}

// The session's own folder comes first, and old seats of other settings go.
func TestSeatsLieInTheSessionsFolderAndDoNotPileUp(t *testing.T) {
	session := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", session)
	t.Setenv("TMPDIR", t.TempDir())
	old, _ := seated(t, "old")
	taken, _ := seated(t, "taken")
	fresh, _ := seated(t, "fresh")
	same, _ := seated(t, "new")
	folder := filepath.Join(session, "analytics-worker")
	if filepath.Dir(old.lock.Name()) != folder {
		t.Fatalf("the seat is %s", old.lock.Name())
	}
	old.leave()
	fresh.leave()
	same.leave()
	before := time.Now().Add(-2 * seatKept)
	for _, id := range []identity{old, taken, same} {
		if err := os.Chtimes(id.lock.Name(), before, before); err != nil {
			t.Fatal(err)
		}
	}
	if now, _ := seated(t, "new"); now.predecessor != same.name {
		t.Errorf("follows %q after long, want %q", now.predecessor, same.name)
	}
	for id, want := range map[*identity]bool{&old: false, &taken: true, &fresh: true} {
		if _, err := os.Lstat(id.lock.Name()); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", id.lock.Name(), err, want)
		}
	}
}
