package endpoint

import (
	"context"
	"net"
	"net/http"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire/wiretest"
)

// What a client says of itself. Any region and any credentials do, but the AWS SDKs
// call nothing without some.
const (
	Region          = "us-east-1"
	AccessKeyID     = "local"
	SecretAccessKey = "local"
)

// T is what Start needs of a test: *testing.T, *testing.B and *testing.F have it. It
// is an interface so that a program with an Endpoint in it does not link package
// testing.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Running is an Endpoint that a test has started. It is safe for concurrent use.
type Running struct {
	URL string // of every service: http://127.0.0.1 and a free port

	t        T
	endpoint *Endpoint
	client   *http.Client
}

// Start serves on a free port of 127.0.0.1 until the test and its subtests have ended.
// What cannot be started ends the test, and what cannot be closed in the end fails it.
// Cleanups that are registered later run earlier, and so may still call it.
func (e *Endpoint) Start(t T) *Running {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start the local AWS: %v", err)
	}
	// The test's context ends before its cleanups run.
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- e.Serve(ctx, listener) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 100}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-served; err != nil {
			t.Errorf("close the local AWS: %v", err)
		}
	})
	return &Running{URL: "http://" + listener.Addr().String(), t: t, endpoint: e, client: &http.Client{Transport: wiretest.Whole{Next: transport}}}
}

// Env is the environment in which the AWS SDKs of any language and the AWS CLI call
// this local AWS, instance metadata included: for t.Setenv, or for a process that the
// test starts. AWS_PROFILE and the files of the AWS configuration count as ever.
func (r *Running) Env() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL":                  r.URL,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": r.URL,
		"AWS_REGION":                        Region,
		"AWS_DEFAULT_REGION":                Region, // as older SDKs call it
		"AWS_ACCESS_KEY_ID":                 AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":             SecretAccessKey,
		"AWS_SESSION_TOKEN":                 "", // one of the user's does not belong to this key
	}
}

// Client is an HTTP client for an SDK or the admin API. Its connections end with the
// test, and none is lost between a request's end and its answer, as the AWS SDK for Go
// has it (see [wiretest.Whole]). Any other client does as well, with an SDK that repeats
// calls.
func (r *Running) Client() *http.Client { return r.client }

// SetFaults puts faults in place of those that stand, and ends the test where one of
// them is wrong. Without any it takes all away.
func (r *Running) SetFaults(faults ...fault.Fault) {
	r.t.Helper()
	if err := r.endpoint.faults.Put(faults); err != nil {
		r.t.Fatalf("set the faults: %v", err)
	}
}

// Faults are the faults that stand, each with the strikes that it has left.
func (r *Running) Faults() []fault.Fault { return r.endpoint.faults.List() }

// Calls are the calls of a service and an operation, "" for any, oldest first: those
// among the newest 100,000 of all. A call is among them before its answer leaves, and
// also where a fault took it.
func (r *Running) Calls(service, operation string) []Call {
	return r.endpoint.calls.list(callFilter{service: service, operation: operation})
}
