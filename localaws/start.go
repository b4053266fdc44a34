package localaws

import (
	"context"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
)

// What a client says of itself. Any region and any credentials do, but the AWS SDKs
// call nothing without some.
const (
	Region          = endpoint.Region
	AccessKeyID     = endpoint.AccessKeyID
	SecretAccessKey = endpoint.SecretAccessKey
)

// T is what Start needs of a test: *testing.T, *testing.B and *testing.F have it.
type T = endpoint.T

// Running is a local AWS that a test started: its URL, the Env in which the AWS SDKs
// call it, a Client, its faults (SetFaults, Faults) and the log of its Calls.
type Running = endpoint.Running

// Start runs a local AWS on a free port of 127.0.0.1 until the test and its subtests
// have ended. It is in memory, runs SQL on DuckDB and enforces the documented rates
// and quotas, unless edit changes that. Each call starts one of its own, so tests may
// run in parallel. What cannot be started ends the test, and what cannot be closed in
// the end fails it.
//
// Cleanups that are registered later run earlier, and so may still call it.
func Start(t T, edit ...func(*Config)) *Running {
	t.Helper()
	config := Config{Limits: true}
	for _, e := range edit {
		e(&config)
	}
	server, err := New(context.WithoutCancel(t.Context()), config)
	if err != nil {
		t.Fatalf("start the local AWS: %v", err)
	}
	t.Cleanup(func() { // which runs once nothing is served any more
		if err := server.Close(); err != nil {
			t.Errorf("close the local AWS: %v", err)
		}
	})
	return server.endpoint.Start(t)
}
