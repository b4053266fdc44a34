package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/simulation"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

// machine is a local AWS in a process of its own, and what is needed to run
// programs of ours against it.
type machine struct {
	t    testing.TB
	url  string
	env  []string
	http *http.Client
}

// newMachine starts the local AWS with settings of serveLocal's.
func newMachine(t testing.TB, settings ...string) *machine {
	t.Helper()
	if _, measured := t.(*testing.B); !measured {
		settings = append(settings, "TINY=yes")
	}
	program, err := localProgram()
	if err != nil {
		t.Fatal(err)
	}
	local := start(t, settings, program)
	m := &machine{t: t, http: &http.Client{Timeout: patience}}
	m.url = local.await("http://")
	dir := t.TempDir()
	m.env = append(sessionEnvironment(m.url, filepath.Join(dir, "dead-letters")), "TMPDIR="+dir, "DRAIN_TIMEOUT=10m")
	t.Cleanup(m.http.CloseIdleConnections)
	return m
}

// run runs the program to its end and returns what it printed.
func (m *machine) run(args ...string) (stdout string, status int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "analytics-worker", args...)
	cmd.Env = append(os.Environ(), m.env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		m.t.Fatal(err)
	}
	if errs.Len() > 0 {
		m.t.Logf("analytics-worker %s: %s", strings.Join(args, " "), errs.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// must runs the program and wants status 0.
func (m *machine) must(args ...string) string {
	m.t.Helper()
	out, status := m.run(args...)
	if status != 0 {
		m.t.Fatalf("analytics-worker %s: status %d: %s", strings.Join(args, " "), status, out)
	}
	return out
}

// worker starts a worker with settings beside the machine's.
func (m *machine) worker(settings ...string) *process {
	m.t.Helper()
	return start(m.t, append(m.env, settings...), "analytics-worker")
}

// faults sets the faults of the local AWS in place of those before.
func (m *machine) faults(text string) {
	m.t.Helper()
	m.admin(http.MethodPut, "/_localaws/faults", text)
}

// post makes one call of an AWS service's, which the program does not make.
func (m *machine) post(contentType, target, body string) []byte {
	m.t.Helper()
	request, err := http.NewRequest(http.MethodPost, m.url, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Amz-Target", target)
	return m.do(request)
}

// admin calls the local AWS's own API.
func (m *machine) admin(method, path, body string) []byte {
	m.t.Helper()
	request, err := http.NewRequest(method, m.url+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	return m.do(request)
}

func (m *machine) do(request *http.Request) []byte {
	m.t.Helper()
	response, err := m.http.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		m.t.Fatalf("%s %s: %s: %s, %v", request.Method, request.URL.Path, response.Status, answer, err)
	}
	return answer
}

// execute submits a statement to the warehouse.
func (m *machine) execute(sql string) {
	m.t.Helper()
	body, err := json.Marshal(map[string]string{"ClusterIdentifier": "cloudcafe-redshift-dev", "Database": "analytics", "DbUser": "admin", "Sql": sql})
	if err != nil {
		m.t.Fatal(err)
	}
	request, err := http.NewRequest(http.MethodPost, m.url, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "RedshiftData.ExecuteStatement")
	request.Header.Set("Content-Type", "application/x-amz-json-1.1")
	response, err := m.http.Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s: %s, %v", sql, response.Status, answer, err)
	}
}

const paused = `[{"service":"redshift-data","fault":"paused"}]`

// verify asks the program whether stream and warehouse agree.
func (m *machine) verify() verify.Report {
	m.t.Helper()
	out, _ := m.run("verify", "--format", "json")
	var r verify.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		m.t.Fatalf("verify: %v: %s", err, out)
	}
	return r
}

// settled waits until as many records are loaded or rejected, and wants stream
// and warehouse to agree then.
func (m *machine) settled(records int64) verify.Report {
	m.t.Helper()
	var r verify.Report
	m.progress(fmt.Sprintf("%d records are settled", records), func() (int64, bool) {
		r = m.verify()
		return r.Records, r.Records == records
	})
	if !r.OK {
		m.t.Fatalf("the warehouse differs from the stream: %+v", r)
	}
	return r
}

// progress waits until done, and gives up once the number has stood still for
// the time of patience: how fast it grows is the machine's affair.
func (m *machine) progress(what string, look func() (n int64, done bool)) {
	m.t.Helper()
	last, since := int64(-1), time.Now()
	for {
		began := time.Now()
		n, done := look()
		switch {
		case done:
			return
		case n != last:
			last, since = n, time.Now()
		case time.Since(since) > patience:
			m.t.Fatalf("waited in vain until %s; it stands at %d", what, n)
		}
		// Looking takes the machine from what is waited for: a quarter of a processor at most.
		<-time.After(max(20*time.Millisecond, 3*time.Since(began)))
	}
}

func (m *machine) await(what string, done func() (bool, error)) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := simulation.Await(ctx, what, done); err != nil {
		m.t.Fatal(err)
	}
}

// status reads a worker's own page.
func (m *machine) status(addr string) (s admin.Status, err error) {
	response, err := m.http.Get("http://" + addr + "/status")
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// anyAddr lets the system choose where a worker serves its pages: a port that
// was free a moment ago may be taken.
const anyAddr = "HTTP_ADDR=127.0.0.1:0"

// address is where a worker says that it serves its pages.
func (p *process) address() string {
	p.t.Helper()
	var entry struct {
		HTTP string `json:"http"`
	}
	if err := json.Unmarshal([]byte(p.await(`"msg":"starting"`)), &entry); err != nil {
		p.t.Fatal(err)
	}
	return entry.HTTP
}

// refusingAddr is an address that refuses connections until the test ends.
func refusingAddr(t testing.TB) string {
	t.Helper()
	addr, _ := keptAddr(t)
	return addr
}

// keptAddr is an address that refuses connections until it is listened on. A socket that
// does not listen keeps it: a port that was only free a moment ago may be another test's.
func keptAddr(t testing.TB) (addr string, listen func() net.Listener) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { _ = socket.Close() })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*syscall.SockaddrInet4).Port), func() net.Listener {
		t.Helper()
		if err := syscall.Listen(fd, syscall.SOMAXCONN); err != nil {
			t.Fatal(err)
		}
		l, err := net.FileListener(socket)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
}

// process is a process under way. Its output is kept; it is killed at the end of
// the test at the latest.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended and all output is in
	err  error         // of Wait

	mu    sync.Mutex // guards lines and grown
	lines []string
	grown chan struct{} // closed at the next line
}

func start(t testing.TB, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(name, args...), done: make(chan struct{}), grown: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.add(lines.Text())
		}
		_ = r.Close()
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s %d said:\n%s", name, p.cmd.Process.Pid, p.output())
		}
	})
	return p
}

func (p *process) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	close(p.grown)
	p.grown = make(chan struct{})
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// await waits for a line that holds all of the texts, and returns it.
func (p *process) await(texts ...string) string {
	p.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		lines, grown := p.lines[seen:], p.grown
		p.mu.Unlock()
		for _, line := range lines {
			if holdsAll(line, texts) {
				return line
			}
		}
		seen += len(lines)
		select {
		case <-grown:
		case <-p.done:
			p.t.Fatalf("the process ended before it said %q", texts)
		case <-timeout.C:
			p.t.Fatalf("waited in vain for a line that says %q", texts)
		}
	}
}

func holdsAll(line string, texts []string) bool {
	for _, text := range texts {
		if !strings.Contains(line, text) {
			return false
		}
	}
	return true
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v: %v", s, err)
	}
}

// kill is kill -9. A process that has ended stays ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// exit waits for the process's own end, within the limit, and returns its status.
func (p *process) exit(limit time.Duration) int {
	p.t.Helper()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.t.Fatalf("the process did not end within %v", limit)
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		p.t.Fatalf("the process ended by %v", status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}
