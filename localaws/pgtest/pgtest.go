//go:build unix

// Package pgtest gives tests a PostgreSQL of their own: one private server for
// the test binary, a fresh database for each call. Nothing has to run or be set
// up before; only the server's programs must be installed.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// startTimeout bounds initdb and the start of the server; both take about a
// second, and much longer where something else keeps the disk busy.
const startTimeout = 3 * time.Minute

// install is what to do where PostgreSQL is missing.
const install = "install it: apt-get install postgresql (or brew install postgresql)"

// shared is the binary's server. Tests of one binary share it because starting
// one costs more than most tests.
var shared struct {
	sync.Mutex
	server *server
	err    error // why it could not start; it is not tried again
	made   int   // databases, for their names
}

// Start returns the URL of a fresh, empty database. It starts the server if this
// is the first call. TestMain must call Stop.
func Start(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		shared.server, shared.err = start()
	}
	if shared.err != nil {
		t.Fatalf("start a PostgreSQL for tests: %v", shared.err)
	}
	shared.made++
	s, name := shared.server, fmt.Sprintf("test_%d", shared.made)
	if err := s.exec("CREATE DATABASE " + name); err != nil {
		t.Fatalf("create the database %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the database %s: %v", name, err)
		}
	})
	return s.url(name)
}

// Stop stops the server and removes its files. It is for TestMain, after all
// tests; it does nothing where no test called Start.
func Stop() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	s := shared.server
	shared.server = nil
	return s.stop()
}

// port is part of the socket's name, and of nothing else.
const port = 5432

type server struct {
	dir  string // its socket is in there
	cmd  *exec.Cmd
	hold *os.File // the pipe that keeps the server alive; see supervise
	log  string   // file
}

// url is of the server's socket. A port that was free a moment ago may be taken
// when the server binds it: other tests open and close them by the thousand.
func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%d&sslmode=disable", database, url.QueryEscape(s.dir), port)
}

func (s *server) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	c, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, sql)
	return errors.Join(err, c.Close(ctx))
}

// bin finds the directory of the server's programs.
func bin() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			if _, err := os.Stat(filepath.Join(filepath.Dir(p), "postgres")); err == nil {
				return filepath.Dir(p), nil
			}
		}
	}
	// Debian keeps them out of PATH, a directory for each version.
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("initdb is neither in PATH nor in /usr/lib/postgresql/*/bin; " + install)
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// owner is the user that the server runs as: PostgreSQL refuses root.
func owner() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("the test runs as root, which PostgreSQL refuses, and there is no user postgres or nobody; run it as another user")
}

func start() (s *server, err error) {
	programs, err := bin()
	if err != nil {
		return nil, err
	}
	cred, err := owner()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	data := filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(programs, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir = dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	s = &server{dir: dir, log: filepath.Join(dir, "log")}
	if err := s.supervise(filepath.Join(programs, "postgres"), data, cred); err != nil {
		return nil, err
	}
	return s, s.await(ctx)
}

// supervise starts the server under a shell that stops it, and removes its
// files, once the pipe from this process closes: by stop, or because this
// process is gone, however it went.
func (s *server) supervise(program, data string, cred *syscall.Credential) error {
	const script = `"$@" & pid=$!; read -r _; kill -INT $pid; wait $pid; rm -rf -- "$0"`
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	log, err := os.Create(s.log)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command("/bin/sh", "-c", script, s.dir, program, "-D", data,
		"-c", "listen_addresses=", "-c", fmt.Sprintf("port=%d", port), "-c", "unix_socket_directories="+s.dir,
		"-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "autovacuum=off")
	s.cmd.Dir, s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = s.dir, r, log, log
	// A group of its own: Ctrl-C must not reach the server before the tests are done.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	err = s.cmd.Start()
	s.hold = w
	return errors.Join(err, r.Close())
}

// await returns once the server takes connections.
func (s *server) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.exec("SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(s.log)
			return errors.Join(fmt.Errorf("the server does not answer: %w\n%s", err, log), s.stop())
		}
	}
}

func (s *server) stop() error {
	if err := s.hold.Close(); err != nil {
		return err
	}
	// The shell's own exit status is that of rm.
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("stop PostgreSQL: %w", err)
	}
	return os.RemoveAll(s.dir) // the shell may remove what is in it, not always the directory itself
}
