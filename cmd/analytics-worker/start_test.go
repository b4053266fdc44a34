package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
)

// A worker that is started before the network of its machine is up waits for it,
// and says so: a unit that fails ten times in a row is not started any more.
func TestStartsBeforeAnyServiceIsReached(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "200", "--seed", "21")
	for name, table := range map[string]string{"DynamoDB first": "", "the warehouse first": "LEASE_TABLE=none"} {
		addr, listen := keptAddr(t)
		settings := []string{"AWS_ENDPOINT_URL=http://" + addr}
		if table != "" {
			settings = append(settings, table)
		}
		w := m.worker(settings...)
		w.await(`"level":"WARN"`, "asking again", "nothing listens on "+addr, "localaws --addr")
		l := listen()
		target, err := url.Parse(m.url)
		if err != nil {
			t.Fatal(err)
		}
		proxy := &http.Server{Handler: httputil.NewSingleHostReverseProxy(target)}
		served := make(chan error, 1)
		go func() { served <- proxy.Serve(l) }()
		w.await(`"msg":"reading shard"`)
		m.settled(200)
		w.signal(syscall.SIGTERM)
		if status := w.exit(patience); status != 0 {
			t.Errorf("%s: status %d", name, status)
		}
		_ = proxy.Close()
		<-served
	}
}

// SIGTERM while the worker starts is an order to stop, not a failure: whatever it
// is waiting for, it ends with status 0, and blames nothing.
func TestSIGTERMWhileStarting(t *testing.T) {
	t.Parallel()
	silent := silentAddr(t)
	for name, c := range map[string]struct {
		settings []string
		waits    []string // a line that shows that it waits
	}{
		"for credentials": {[]string{
			"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONTAINER_CREDENTIALS_FULL_URI=http://" + refusingAddr(t) + "/",
		}, []string{"credentials cannot be had yet"}},
		"for the lease table": {[]string{"AWS_ENDPOINT_URL=http://" + refusingAddr(t)}, []string{"the lease table cannot be used yet"}},
		"for the warehouse":   {[]string{"AWS_ENDPOINT_URL=http://" + refusingAddr(t), "LEASE_TABLE=none"}, []string{"the warehouse does not tell the positions yet"}},
		"for an answer":       {[]string{"AWS_ENDPOINT_URL=http://" + silent}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := sessionEnvironment("http://"+silent, t.TempDir())
			w := start(t, append(append(env, "TMPDIR="+t.TempDir()), c.settings...), "analytics-worker", "--verbose")
			if c.waits != nil {
				w.await(c.waits...)
			} else {
				w.await("opening the account") // and before anything answers
			}
			w.signal(syscall.SIGTERM)
			if status := w.exit(patience); status != 0 {
				t.Errorf("status %d", status)
			}
			if out := w.output(); strings.Contains(out, "analytics-worker: ") || !strings.Contains(out, "stopped before it had started") {
				t.Errorf("said %s", out)
			}
		})
	}
}

// LATEST is the time of the start by the stream's clock. A machine whose clock is
// ahead of it would skip what arrives after the start; one that is behind would
// load what came long before.
func TestG1_LatestGoesByTheStreamsClock(t *testing.T) {
	t.Parallel()
	for _, offset := range []string{"-40s", "40s"} {
		t.Run(offset, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t, "CLOCK_OFFSET="+offset)
			m.must("schema", "--apply")
			m.must("publish", "--create", "2", "--count", "50", "--seed", "31")
			// Arrival times are kept in milliseconds, and the service names its time in
			// seconds: what comes in the second before the start is loaded too.
			m.await("a second has passed", passed(3*time.Second))
			w := m.worker("INITIAL_POSITION=LATEST", anyAddr)
			addr := w.address()
			w.await(`"msg":"reading shard"`, "shardId-000000000000", "AT_TIMESTAMP")
			w.await(`"msg":"reading shard"`, "shardId-000000000001", "AT_TIMESTAMP")
			m.must("publish", "--count", "300", "--seed", "32")
			var s admin.Status
			m.await("all that came after the start is loaded", func() (_ bool, err error) {
				s, err = m.status(addr)
				return s.Written >= 300, err
			})
			if s.Written != 300 {
				t.Errorf("%d records are loaded, want the 300 that were put after the start", s.Written)
			}
			w.signal(syscall.SIGTERM)
			if status := w.exit(patience); status != 0 {
				t.Errorf("status %d", status)
			}
		})
	}
}

// passed waits for time to go by.
func passed(d time.Duration) func() (bool, error) {
	end := time.Now().Add(d)
	return func() (bool, error) { return time.Now().After(end), nil }
}

// Keys that another program renews in the shared credentials file are read again:
// the process need not be started anew.
func TestRenewedKeysInAFileAreReadAgain(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	target, err := url.Parse(m.url)
	if err != nil {
		t.Fatal(err)
	}
	// An AWS that takes one access key at a time.
	var valid atomic.Pointer[string]
	first, second := "AKIDFIRST", "AKIDSECOND"
	valid.Store(&first)
	forward := httputil.NewSingleHostReverseProxy(target)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential="+*valid.Load()+"/") {
			forward.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`))
	})}
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(l) }()
	defer func() {
		_ = proxy.Close()
		<-served
	}()
	file := filepath.Join(t.TempDir(), "credentials")
	write := func(key string) {
		t.Helper()
		text := fmt.Sprintf("[default]\naws_access_key_id = %s\naws_secret_access_key = secret\n", key)
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "100", "--seed", "41")
	w := m.worker("AWS_ENDPOINT_URL=http://"+l.Addr().String(), "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE="+file)
	m.settled(100)
	valid.Store(&second)
	line := w.await("ExpiredTokenException", "have expired: renew them")
	if strings.Contains(line, "must allow") || strings.Contains(line, "needs kinesis:") {
		t.Errorf("sends to the IAM policies: %s", line)
	}
	write(second)
	m.must("publish", "--count", "100", "--seed", "42")
	m.settled(200)
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d", status)
	}
}
