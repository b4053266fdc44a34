package main

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// notices is the socket that systemd listens on, and what was said there.
type notices struct {
	path string

	mu    sync.Mutex // guards said
	said  []string
	fedAt time.Time // of the last WATCHDOG=1
}

func newNotices(t *testing.T) *notices {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	n := &notices{path: filepath.Join(dir, "notify")}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, 1<<16)
		for {
			size, err := c.Read(buffer)
			if err != nil {
				return
			}
			n.add(string(buffer[:size]))
		}
	}()
	t.Cleanup(func() {
		_ = c.Close()
		<-ended
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("systemd was told:\n%s", strings.Join(n.all(), "\n"))
		}
	})
	return n
}

func (n *notices) add(message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, line := range strings.Split(message, "\n") {
		if line == "WATCHDOG=1" {
			n.fedAt = time.Now()
		}
		n.said = append(n.said, line)
	}
}

func (n *notices) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.said)
}

// hungry is for how long the watchdog has not been fed.
func (n *notices) hungry() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Since(n.fedAt)
}

// heard reports whether a line was said that holds the text.
func (n *notices) heard(text string) bool {
	return slices.ContainsFunc(n.all(), func(line string) bool { return strings.Contains(line, text) })
}

func (n *notices) await(m *machine, text string) {
	m.t.Helper()
	m.await("systemd is told "+text, func() (bool, error) { return n.heard(text), nil })
}

// A worker is ready once it owns shards. While the warehouse is paused it is not, and
// asks for the time; one that finds every shard in other hands is.
func TestReadyOnceShardsAreOwnedOrOthersOwnThem(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "10", "--seed", "1")
	m.faults(paused)
	n := newNotices(t)
	w := m.worker("NOTIFY_SOCKET=" + n.path)
	n.await(m, "the warehouse has not answered since")
	if n.heard("READY=1") {
		t.Error("ready before it owned a shard")
	}
	if !n.heard("EXTEND_TIMEOUT_USEC=90000000") {
		t.Error("it did not ask for more time to start in")
	}
	m.admin("DELETE", "/_localaws/faults", "")
	n.await(m, "READY=1")
	w.await("reading shard") // which another goroutine says, and by another way
	m.settled(10)
	n.await(m, "STATUS=1 shard, ")

	idle := newNotices(t)
	other := m.worker("NOTIFY_SOCKET=" + idle.path)
	idle.await(m, "READY=1")
	for _, p := range []*process{other, w} {
		p.signal(syscall.SIGTERM)
		if status := p.exit(patience); status != 0 {
			t.Errorf("status %d", status)
		}
	}
	for _, text := range []string{"STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=620000000"} { // 10m, and 20 s more
		n.await(m, text)
	}
}

// testWatchdog is above twice the longest silence of a worker that asks a local
// warehouse, which is 5 s.
const testWatchdog = "WATCHDOG_USEC=16000000"

// A warehouse that does not answer for long is waited for, which is to get on.
func TestWatchdogIsFedWhileTheWarehouseIsPaused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "10", "--seed", "2")
	n := newNotices(t)
	w := m.worker("NOTIFY_SOCKET="+n.path, testWatchdog, anyAddr)
	addr := w.address()
	m.settled(10)
	m.faults(paused)
	m.must("publish", "--count", "10", "--seed", "3")
	m.await("the warehouse is waited for", func() (bool, error) {
		s, err := m.status(addr)
		if hungry := n.hungry(); hungry > 14*time.Second {
			return false, errors.New("the watchdog was not fed for " + hungry.String())
		}
		return s.Warehouse.WaitingMillis > 25_000, err
	})
	if n.heard("hangs") {
		t.Error("a paused warehouse was taken for a loader that hangs")
	}
	m.admin("DELETE", "/_localaws/faults", "")
	m.settled(20)
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d", status)
	}
}

// A loader that neither returns nor tries again is not fed for. It hangs here where
// a disk can make it hang: in opening a file, which no deadline ends. The file is
// a pipe under the name of a letter that the worker wants to read, and nobody writes into it.
func TestWatchdogIsNotFedForALoaderThatHangs(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "1", "--count", "1", "--bad", "1", "--seed", "4")
	w := m.worker()
	m.settled(1)
	w.signal(syscall.SIGTERM)
	w.exit(patience)
	letter := m.onlyLetter()
	if err := os.Remove(letter); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(letter, 0o600); err != nil {
		t.Fatal(err)
	}
	m.must("positions", "--reset", "--shard", "shardId-000000000000")

	n, log := newNotices(t), filepath.Join(t.TempDir(), "worker.log")
	w = m.worker("NOTIFY_SOCKET="+n.path, testWatchdog, "LOG_FILE="+log)
	n.await(m, "READY=1")
	n.await(m, "STATUS=the loader hangs: it has not got on for ")
	m.await("the watchdog starves", func() (bool, error) { return n.hungry() > 16*time.Second, nil })
	// What systemd does then. Where everybody stands is in the log file too.
	w.signal(syscall.SIGABRT)
	<-w.done
	text, err := os.ReadFile(log)
	if err != nil || !strings.Contains(string(text), "SIGABRT") || !strings.Contains(string(text), "deadletter.(*DirBucket).Get") {
		t.Errorf("the log file does not say where the loader hung (%v): %s", err, text)
	}
}

// onlyLetter is the path of the one object in the dead-letter folder.
func (m *machine) onlyLetter() (path string) {
	m.t.Helper()
	for _, setting := range m.env {
		folder, found := strings.CutPrefix(setting, "DEAD_LETTER_URL=file://")
		if !found {
			continue
		}
		err := filepath.WalkDir(folder, func(name string, e fs.DirEntry, err error) error {
			if strings.HasSuffix(name, ".ndjson") {
				path = name
			}
			return err
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	if path == "" {
		m.t.Fatal("there is no letter")
	}
	return path
}

// A worker whose instance is about to end must not be started again, even where it
// could not load all in time.
func TestANoticeEndsForGoodEvenIfTheDrainIsLate(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 1)
	a := f.join(append(f.onEC2(), "DRAIN_TIMEOUT=1")...)
	f.held(0, a)
	f.faults(paused)
	f.must("publish", "--count", "100", "--seed", "5")
	f.waiting(time.Second, a)
	f.admin("PUT", "/_localaws/imds", `{"autoscaling/target-lifecycle-state":"Terminated"}`)
	if status := a.exit(patience); status != exitGone {
		t.Errorf("status %d, want %d", status, exitGone)
	}
}
