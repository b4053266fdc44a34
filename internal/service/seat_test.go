package service

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should be done at once.
const patience = time.Minute

// seated takes a seat for a worker of a scope, under a name of its own.
func seated(t *testing.T, folder, scope string) (id sitter, err error) {
	t.Helper()
	id.name = rand.Text()
	done := make(chan struct{})
	go func() {
		defer close(done)
		id.Seat, err = TakeSeat(folder, scope, id.name)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("taking a seat does not end")
	}
	t.Cleanup(id.Leave)
	return id, err
}

type sitter struct {
	name string
	Seat
}

// firstSeat is the path of the first seat of a scope, which nobody has taken yet.
func firstSeat(t *testing.T, folder, scope string) string {
	t.Helper()
	id, err := seated(t, folder, scope)
	if err != nil {
		t.Fatal(err)
	}
	path := id.lock.Name()
	id.Leave()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A worker that ends leaves its name to the next one on its seat, and only to
// that one: a neighbour that lives must never be taken for a predecessor.
func TestASuccessorKnowsWhoEnded(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "seats")
	sit := func(scope string) sitter {
		id, err := seated(t, folder, scope)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b := sit("order-events"), sit("order-events")
	if a.name == b.name || a.Predecessor != "" || b.Predecessor != "" {
		t.Fatalf("two that live: %+v, %+v", a, b)
	}
	a.Leave()
	if other := sit("payments"); other.Predecessor != "" {
		t.Errorf("a worker of another stream follows %q", other.Predecessor)
	}
	if next := sit("order-events"); next.Predecessor != a.name {
		t.Errorf("follows %q, want %q", next.Predecessor, a.name)
	}
	if third := sit("order-events"); third.Predecessor != "" {
		t.Errorf("a third worker follows %q, where two live", third.Predecessor)
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
			folder := filepath.Join(t.TempDir(), "seats")
			path := firstSeat(t, folder, "order-events")
			victim := filepath.Join(t.TempDir(), "victim")
			if err := os.WriteFile(victim, []byte(precious), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := lay(t, path, victim); err != nil {
				t.Fatal(err)
			}
			if id, err := seated(t, folder, "order-events"); err == nil || id.lock != nil || id.Predecessor != "" {
				t.Errorf("took it: %+v, %v", id, err)
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
			folder := filepath.Join(t.TempDir(), "seats")
			firstSeat(t, folder, "order-events")
			if name == "a link" || name == "a file" {
				if err := os.Remove(folder); err != nil {
					t.Fatal(err)
				}
			}
			if err := spoil(folder); err != nil {
				t.Fatal(err)
			}
			if id, err := seated(t, folder, "order-events"); id.lock != nil || err == nil || !strings.Contains(err.Error(), "this user's alone") {
				t.Errorf("took %+v, %v", id, err)
			}
		})
	}
}

// Old seats of other scopes go.
func TestOldSeatsDoNotPileUp(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "seats")
	sit := func(scope string) sitter {
		id, err := seated(t, folder, scope)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	old, taken, fresh, same := sit("old"), sit("taken"), sit("fresh"), sit("new")
	old.Leave()
	fresh.Leave()
	same.Leave()
	before := time.Now().Add(-2 * seatKept)
	for _, id := range []sitter{old, taken, same} {
		if err := os.Chtimes(id.lock.Name(), before, before); err != nil {
			t.Fatal(err)
		}
	}
	if now := sit("new"); now.Predecessor != same.name {
		t.Errorf("follows %q after long, want %q", now.Predecessor, same.name)
	}
	for id, want := range map[*sitter]bool{&old: false, &taken: true, &fresh: true} {
		if _, err := os.Lstat(id.lock.Name()); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", id.lock.Name(), err, want)
		}
	}
}
