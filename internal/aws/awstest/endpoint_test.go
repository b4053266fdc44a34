// Package awstest tries package aws over the wire against the local AWS. It is
// a package of its own because the local warehouse needs cgo and is slow to link.
package awstest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// local is a local AWS of the test's own.
type local struct {
	*localaws.Server
	url string
}

// start runs a local AWS and opens an account there, by the environment alone,
// as any program does.
func start(t *testing.T, limits bool) (*local, *aws.Account) {
	t.Helper()
	service, err := localaws.New(context.Background(), localaws.Config{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(service.Handler())
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	a, err := aws.Open(context.Background(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		server.Close()
		if err := service.Close(); err != nil {
			t.Errorf("close the local AWS: %v", err)
		}
	})
	return &local{service, server.URL}, a
}

// strike puts faults in place of those that stand.
func (l *local) strike(t *testing.T, faults ...fault.Fault) {
	t.Helper()
	if err := l.Faults().Put(faults); err != nil {
		t.Fatal(err)
	}
}

// struck fails the test where a fault with a count is not used up.
func (l *local) struck(t *testing.T) {
	t.Helper()
	if left := l.Faults().List(); len(left) != 0 {
		t.Fatalf("faults that did not strike: %+v", left)
	}
}

// calls is how often an operation was called, by the local AWS's own log.
func (l *local) calls(t *testing.T, operation string) int {
	t.Helper()
	response, err := http.Get(l.url + "/_localaws/calls?operation=" + operation)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var calls []struct {
		Operation string `json:"operation"`
	}
	if err := json.NewDecoder(response.Body).Decode(&calls); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		if c.Operation != operation {
			t.Fatalf("the log of %s holds %s", operation, c.Operation)
		}
	}
	return len(calls)
}
