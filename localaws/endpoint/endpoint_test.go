package endpoint_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/memnet"
	"github.com/cloudcafe/analytics-worker/localaws/sts"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// door is an endpoint with Kinesis and STS behind it.
type door struct {
	t      *testing.T
	client *http.Client
	url    string
}

func open(t *testing.T, listener net.Listener, dial func(context.Context, string, string) (net.Conn, error), more ...wire.Service) *door {
	t.Helper()
	streams, err := kinesis.New(kinesis.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := endpoint.New(endpoint.Options{
		Hosts:    []string{"memory"},
		Services: append(more, streams, sts.New()),
		Admin: map[string]http.Handler{"extra": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "mounted")
		})},
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, listener) }()
	// A client that announces its body waits for the word to send it.
	transport := &http.Transport{DialContext: dial, ExpectContinueTimeout: time.Minute}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := errors.Join(<-served, streams.Close()); err != nil {
			t.Error(err)
		}
	})
	return &door{t: t, client: &http.Client{Transport: transport}, url: "http://" + listener.Addr().String()}
}

func inMemory(t *testing.T, more ...wire.Service) *door {
	listener := memnet.Listen()
	return open(t, listener, listener.DialContext, more...)
}

func overTCP(t *testing.T) *door {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return open(t, listener, (&net.Dialer{}).DialContext)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) is(t *testing.T, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Fatalf("the body lacks %q: %s", text, a.body)
		}
	}
}

// send makes a request; header is pairs of names and values.
func (d *door) send(method, path, body string, header ...string) (answer, error) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := d.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text)}, err
}

func (d *door) admin(method, path, body string) answer {
	d.t.Helper()
	a, err := d.send(method, "/_localaws"+path, body)
	if err != nil {
		d.t.Fatal(err)
	}
	return a
}

func (d *door) kinesis(operation, body string) (answer, error) {
	d.t.Helper()
	return d.send(http.MethodPost, "/", body, "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "Kinesis_20131202."+operation)
}

func (d *door) calls(query string) (calls []endpoint.Call) {
	d.t.Helper()
	a := d.admin(http.MethodGet, "/calls"+query, "")
	a.is(d.t, http.StatusOK)
	if err := json.Unmarshal([]byte(a.body), &calls); err != nil {
		d.t.Fatal(err)
	}
	return calls
}

const oneShard = `{"StreamName":"s","ShardCount":1}`

// TestFaults tries each shared fault by its name, with what the caller sees and
// whether the call took effect.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		fault, text string
		status      int // 0: the connection is reset
		effect      bool
	}{
		{"throttle", "ProvisionedThroughputExceededException", 400, false},
		{"internal-error", "InternalFailure", 500, false},
		{"access-denied", "AccessDeniedException", 400, false},
		{"reset", "", 0, false},
		{"reply-lost", "", 0, true},
		{"delay", "", 200, true},
		{"empty-reply", "", 200, false},
	} {
		t.Run(test.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := inMemory(t)
				put := `[{"service":"kinesis","operation":"CreateStream","fault":"` + test.fault + `","count":1,"delay":"7s"}]`
				d.admin(http.MethodPut, "/faults", put).is(t, http.StatusOK, test.fault)
				if _, err := d.kinesis("ListStreams", "{}"); err != nil {
					t.Fatalf("the fault struck another operation: %v", err)
				}
				start := time.Now()
				a, err := d.kinesis("CreateStream", oneShard)
				if (err != nil) != (test.status == 0) {
					t.Fatalf("got %+v, %v", a, err)
				}
				if test.status != 0 {
					a.is(t, test.status, test.text)
				}
				if waited := time.Since(start) >= 7*time.Second; waited != (test.fault == "delay") {
					t.Errorf("the call took %v", time.Since(start))
				}
				a, err = d.kinesis("DescribeStream", `{"StreamName":"s"}`)
				if err != nil || (a.status == http.StatusOK) != test.effect {
					t.Errorf("afterwards the stream: %+v %v; want it there: %v", a, err, test.effect)
				}
				d.admin(http.MethodGet, "/faults", "").is(t, http.StatusOK, "[]")
				calls := d.calls("?operation=CreateStream")
				if len(calls) != 1 || string(calls[0].Fault) != test.fault {
					t.Errorf("the log has %+v", calls)
				}
			})
		})
	}
}

func TestResetIsAResetOverTCP(t *testing.T) {
	d := overTCP(t)
	d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"reset","count":1}]`).is(t, http.StatusOK)
	if a, err := d.kinesis("ListStreams", "{}"); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %+v, %v; want a connection reset", a, err)
	}
	a, err := d.kinesis("ListStreams", "{}")
	if err != nil {
		t.Fatal(err)
	}
	a.is(t, http.StatusOK, "StreamNames")
	if a.header.Get("X-Amzn-Requestid") == "" {
		t.Error("the answer has no request id")
	}
}

func TestFaultText(t *testing.T) {
	d := inMemory(t)
	d.admin(http.MethodPut, "/faults", `[{"service":"sts","fault":"throttle","error":"too eager"}]`).is(t, http.StatusOK)
	a, err := d.send(http.MethodPost, "/", "Action=GetCallerIdentity&Version=2011-06-15", "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		t.Fatal(err)
	}
	a.is(t, http.StatusBadRequest, "<Code>Throttling</Code>", "too eager")
	d.admin(http.MethodDelete, "/faults", "").is(t, http.StatusNoContent)
	a, err = d.send(http.MethodPost, "/", "Action=GetCallerIdentity&Version=2011-06-15", "Content-Type", "application/x-www-form-urlencoded")
	if err != nil {
		t.Fatal(err)
	}
	a.is(t, http.StatusOK, "<Account>000000000000</Account>", a.header.Get("X-Amzn-Requestid"))
}

func TestBadFaultsAreRefusedWhole(t *testing.T) {
	d := inMemory(t)
	d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","fault":"reset","operation":"PutRecord"}]`).is(t, http.StatusOK)
	for _, test := range []struct {
		name, body string
		problems   []string
	}{
		{"no JSON", `{`, []string{"JSON array of faults"}},
		{"no array", `{"service":"kinesis"}`, []string{"JSON array of faults"}},
		{
			"everything at once", `[{"service":"kinesis","fault":"reset"},{"service":"sqs","fault":"melt","count":-1,"probability":2},{"service":"kinesis","fault":"delay","delay":"soon"},{"servcie":"s3"}]`,
			[]string{"fault 1: unknown service", "fault 1: unknown fault", "count must not be negative", "from 0 to 1", `fault 2: delay \"soon\"`, `fault 3: json: unknown field \"servcie\"`},
		},
		{"another service's fault", `[{"service":"s3","fault":"expired-iterator"}]`, []string{"fault 0: unknown fault"}},
		{"another operation's fault", `[{"service":"kinesis","operation":"PutRecords","fault":"no-iterator"}]`, []string{"GetRecords alone"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d.admin(http.MethodPut, "/faults", test.body).is(t, http.StatusBadRequest, append(test.problems, `"problems"`)...)
		})
	}
	d.admin(http.MethodGet, "/faults", "").is(t, http.StatusOK, `"operation": "PutRecord"`)
	d.admin(http.MethodPut, "/faults", "null").is(t, http.StatusOK)
	if left := d.admin(http.MethodGet, "/faults", ""); strings.Contains(left.body, "PutRecord") {
		t.Errorf("after an empty list: %s", left.body)
	}
}

func TestCallLog(t *testing.T) {
	d := inMemory(t)
	for _, call := range [][2]string{{"CreateStream", oneShard}, {"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"eA=="}`}, {"DescribeStream", `{"StreamName":"nope"}`}} {
		if _, err := d.kinesis(call[0], call[1]); err != nil {
			t.Fatal(err)
		}
		// The call is in the log as soon as its answer is there.
		if calls := d.calls("?limit=1"); len(calls) != 1 || calls[0].Operation != call[0] || calls[0].Service != "kinesis" || calls[0].RequestID == "" {
			t.Fatalf("after %s the log ends with %+v", call[0], calls)
		}
	}
	all := d.calls("")
	if len(all) != 3 || all[1].Summary != `s shardId-000000000000 "k"` || all[2].Status != 400 || !strings.Contains(all[2].Error, "Stream nope") {
		t.Fatalf("the log is %+v", all)
	}
	operations := func(query string) (out []string) {
		for _, c := range d.calls(query) {
			out = append(out, c.Operation)
		}
		return out
	}
	for query, want := range map[string][]string{
		"?operation=putrecord":                 {"PutRecord"},
		"?service=s3":                          nil,
		"?limit=2":                             {"PutRecord", "DescribeStream"},
		"?since=1&limit=1":                     {"PutRecord"},
		"?since=2":                             {"DescribeStream"},
		"?since=2026-01-01T00:00:00Z&limit=1":  {"DescribeStream"},
		"?since=" + "2999-01-01T00%3A00%3A00Z": nil,
	} {
		if got := operations(query); !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
	d.admin(http.MethodGet, "/calls?since=soon&limit=0", "").is(t, http.StatusBadRequest, `since \"soon\"`, `limit \"0\"`)
	d.admin(http.MethodDelete, "/calls", "").is(t, http.StatusNoContent)
	if _, err := d.kinesis("ListStreams", "{}"); err != nil {
		t.Fatal(err)
	}
	if calls := d.calls(""); len(calls) != 1 || calls[0].Seq != 4 {
		t.Errorf("after a clear the log is %+v, want one call, numbered on", calls)
	}
}

func TestAdminPaths(t *testing.T) {
	d := inMemory(t)
	d.admin(http.MethodGet, "/health", "").is(t, http.StatusOK, `"status": "ok"`)
	d.admin(http.MethodGet, "", "").is(t, http.StatusOK, "kinesis", "sts", "/_localaws/faults", "/_localaws/extra")
	d.admin(http.MethodGet, "/", "").is(t, http.StatusOK, "kinesis")
	d.admin(http.MethodPut, "/extra", "").is(t, http.StatusOK, "mounted")
	d.admin(http.MethodGet, "/nothing", "").is(t, http.StatusNotFound)
	d.admin(http.MethodPost, "/faults", "").is(t, http.StatusMethodNotAllowed)
}

func TestUnknownCalls(t *testing.T) {
	d := inMemory(t)
	for _, test := range []struct {
		name   string
		header []string
		text   string
	}{
		{"JSON", []string{"Content-Type", "application/x-amz-json-1.0", "X-Amz-Target", "AmazonSQS.SendMessage"}, `"__type":"UnknownOperationException"`},
		{"Query", []string{"Content-Type", "application/x-www-form-urlencoded"}, "<Code>InvalidAction</Code>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := d.send(http.MethodPost, "/", "Action=Nothing&Version=2012-11-05", test.header...)
			if err != nil {
				t.Fatal(err)
			}
			a.is(t, http.StatusBadRequest, test.text)
		})
	}
	if calls := d.calls("?service=unknown"); len(calls) != 2 || calls[0].Operation != "AmazonSQS.SendMessage" {
		t.Errorf("the log has %+v", calls)
	}
}

func TestGzip(t *testing.T) {
	d := inMemory(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	if _, err := io.WriteString(w, oneShard); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	header := []string{"Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "Kinesis_20131202.CreateStream", "Content-Encoding", "gzip"}
	a, err := d.send(http.MethodPost, "/", packed.String(), header...)
	if err != nil {
		t.Fatal(err)
	}
	a.is(t, http.StatusOK)
	a, err = d.send(http.MethodPost, "/", packed.String()[:20], header...)
	if err != nil {
		t.Fatal(err)
	}
	a.is(t, http.StatusBadRequest, "SerializationException", "gzip")
}

// The AWS SDK for Python waits to be told to go on even where it has no body to
// send, and an answer without that spoils its connection.
func TestEmptyBodyIsAskedForToo(t *testing.T) {
	d := overTCP(t)
	for body, length := range map[string]string{"": "0", "{}": "2"} {
		connection, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(connection, "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"+
			"X-Amz-Target: Kinesis_20131202.ListStreams\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: "+length+"\r\n\r\n"+body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(connection)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(text), "\r\n\r\n")
		if first != "HTTP/1.1 100 Continue" || !strings.HasPrefix(rest, "HTTP/1.1 200 OK\r\n") {
			t.Errorf("body %q: answered %q", body, text)
		}
		if err := connection.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestLargeBodyIsRefused(t *testing.T) {
	d := overTCP(t)
	const tooLarge = 64<<20 + 1
	for _, header := range []http.Header{
		{},                           // sent, and only then answered
		{"Expect": {"100-continue"}}, // announced, and not sent
		{"X-Amz-Target": {"Kinesis_20131202.PutRecords"}, "Content-Type": {"application/x-amz-json-1.1"}},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url, io.LimitReader(zeros{}, tooLarge))
		if err != nil {
			t.Fatal(err)
		}
		r.Header, r.ContentLength = header, tooLarge
		response, err := d.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(string(text), "64 MiB") {
			t.Errorf("%v: status %d: %s %v", header, response.StatusCode, text, err)
		}
	}
	if got := d.calls(""); len(got) != 3 || got[2].Service != "kinesis" || got[2].Operation != "PutRecords" || got[2].Status != http.StatusRequestEntityTooLarge {
		t.Errorf("logged %+v", got)
	}
	// A client that writes all before it reads sees the answer too.
	connection, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_, err = io.WriteString(connection, "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 67108865\r\n\r\n")
	if err == nil {
		_, err = io.CopyN(connection, zeros{}, tooLarge)
	}
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(connection); err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 413 ") {
		t.Errorf("%q, %v", text, err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// broken is a service with a mistake in it.
type broken struct{ *sts.Service }

func (broken) Name() string                               { return "broken" }
func (broken) Match(*http.Request, []byte) (string, bool) { return "Any", true }
func (broken) Serve(http.ResponseWriter, *http.Request, string, []byte) {
	var none []string
	_ = none[len(none)]
}

func TestMistakeInOneCallIsAnInternalError(t *testing.T) {
	d := inMemory(t, broken{})
	for range 2 {
		a, err := d.kinesis("ListStreams", "{}")
		if err != nil {
			t.Fatal(err)
		}
		a.is(t, http.StatusInternalServerError, "InternalFailure")
	}
	if calls := d.calls("?service=broken"); len(calls) != 2 || calls[0].Status != 500 {
		t.Errorf("the log has %+v", calls)
	}
}

// TestServeLetsCallsEnd stops the server while a call waits.
func TestServeLetsCallsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		streams, err := kinesis.New(kinesis.Options{})
		if err != nil {
			t.Fatal(err)
		}
		listener := memnet.Listen()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		served := make(chan error, 1)
		go func() {
			served <- endpoint.New(endpoint.Options{Services: []wire.Service{streams}, Hosts: []string{"memory"}}).Serve(ctx, listener)
		}()
		transport := &http.Transport{DialContext: listener.DialContext}
		defer transport.CloseIdleConnections()
		d := &door{t: t, client: &http.Client{Transport: transport}, url: "http://memory"}
		d.admin(http.MethodPut, "/faults", `[{"service":"kinesis","operation":"ListStreams","fault":"delay","delay":"2s"},{"service":"kinesis","operation":"DescribeLimits","fault":"delay","delay":"1h"}]`).is(t, http.StatusOK)
		short, long := make(chan error, 1), make(chan error, 1)
		go func() { _, err := d.kinesis("ListStreams", "{}"); short <- err }()
		go func() { _, err := d.kinesis("DescribeLimits", "{}"); long <- err }()
		synctest.Wait()
		start := time.Now()
		cancel()
		if err := <-short; err != nil {
			t.Errorf("a call that ends within the grace: %v", err)
		}
		if err := <-long; err == nil {
			t.Error("a call of an hour was answered")
		}
		if err := <-served; err != nil || time.Since(start) > 4*time.Second {
			t.Errorf("Serve returned %v after %v", err, time.Since(start))
		}
	})
}
