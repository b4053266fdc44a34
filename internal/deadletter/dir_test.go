package deadletter_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/deadletter/deadlettertest"
)

func TestDirIsABucket(t *testing.T) {
	deadlettertest.Run(t, func(t *testing.T) deadletter.Bucket { return openDir(t, t.TempDir()) })
}

func TestDirRefusesNamesThatLeaveIt(t *testing.T) {
	path := t.TempDir()
	d := openDir(t, filepath.Join(path, "letters"))
	for _, name := range []string{
		"", ".", "..", "../x.ndjson", "a/../../x.ndjson", "/etc/passwd", "a//b", "a/", "./a", "a/./b", ".hidden", "a/.hidden",
		`a\..\b`, "a\x00b", "a/" + strings.Repeat("x", 256),
	} {
		if created, err := d.PutIfAbsent(t.Context(), name, []byte("x")); err == nil || created {
			t.Errorf("PutIfAbsent(%q) = %v, %v, want an error", name, created, err)
		}
		if _, err := d.Get(t.Context(), name); err == nil {
			t.Errorf("Get(%q) gave no error", name)
		}
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 1 {
		t.Errorf("beside the bucket: %v, %v", left, err)
	}
}

func TestDirFollowsNoLinkOutOfIt(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	d := openDir(t, path)
	if err := os.Symlink(outside, filepath.Join(path, "orders")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.PutIfAbsent(t.Context(), "orders/1.ndjson", []byte("x")); err == nil {
		t.Error("PutIfAbsent through a link out of the directory gave no error")
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside: %v, %v", left, err)
	}
}

func TestDirModes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "letters")
	d := openDir(t, path)
	if _, err := d.PutIfAbsent(t.Context(), "s/a/1.ndjson", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{".": 0o750, "s": 0o750, "s/a": 0o750, "s/a/1.ndjson": 0o640} {
		info, err := os.Stat(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got&^want != 0 {
			t.Errorf("%s has mode %o, want no more than %o", name, got, want)
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v, want nothing but the stream's", entries, err)
	}
}

func TestDirErrorsAreOfTheFolder(t *testing.T) {
	path := t.TempDir()
	file := filepath.Join(path, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var folder *deadletter.FolderError
	if _, err := deadletter.Dir(file); !errors.As(err, &folder) || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Dir of a file = %v", err)
	}
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	closed := filepath.Join(path, "closed")
	d := openDir(t, closed)
	if err := os.Chmod(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	_, err := d.PutIfAbsent(t.Context(), "s/1.ndjson", nil)
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &folder) {
		t.Errorf("PutIfAbsent = %v", err)
	}
}

// childEnv makes this test binary a process of its own, which does something to
// the directory that it names.
const childEnv = "DEADLETTER_TEST_CHILD"

func child(t *testing.T, test, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	return cmd
}

func childPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv(childEnv)
	if path == "" {
		t.Skip("runs only as a process of another test")
	}
	return path
}

// A disk that takes no more is made by the limit on the size of a file, under
// which write(2) stops half way just the same. The limit holds for a process.
func TestDirFailedWriteLeavesNothing(t *testing.T) {
	path := t.TempDir()
	out, err := child(t, "TestChildWritesTooMuch", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestChildWritesTooMuch") {
		t.Fatalf("%v\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(path, ".*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	d := openDir(t, path)
	if created, err := d.PutIfAbsent(t.Context(), "s/1.ndjson", []byte("x")); !created || err != nil {
		t.Errorf("PutIfAbsent with space again = %v, %v", created, err)
	}
}

func TestChildWritesTooMuch(t *testing.T) {
	d := openDir(t, childPath(t))
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	created, err := d.PutIfAbsent(t.Context(), "s/1.ndjson", make([]byte, 128<<10))
	if created || !errors.Is(err, syscall.EFBIG) {
		t.Errorf("PutIfAbsent = %v, %v, want EFBIG", created, err)
	}
	names, err := d.List(t.Context(), "")
	if err != nil || len(names) != 0 {
		t.Errorf("List = %q, %v after a failed write", names, err)
	}
}

func TestDirSweepsAfterDeadProcesses(t *testing.T) {
	path := t.TempDir()
	openDir(t, path)
	temp := filepath.Join(path, ".writing-OTHERPROCESS")
	cmd := child(t, "TestChildHoldsTemporaryFile", temp)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stdin.Close() }() // Wait closes it too
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "holding"; {
	}
	openDir(t, path)
	if _, err := os.Stat(temp); err != nil {
		t.Errorf("the file of a live process was swept: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the killed process ended well")
	}
	openDir(t, path)
	if _, err := os.Stat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a dead process is still there: %v", err)
	}
}

// A process that is half way through a write, until it is killed.
func TestChildHoldsTemporaryFile(t *testing.T) {
	f, err := os.Create(childPath(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stdout.WriteString("holding\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	_ = f.Close()
}
