// Package awstest tries package aws over the wire against the local AWS. It is
// a package of its own because the local warehouse needs cgo and is slow to link.
package awstest

import (
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/pgtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := pgtest.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// start runs a local AWS and opens an account there, by the environment alone,
// as any program does.
func start(t *testing.T, limits bool) (*localaws.Running, *aws.Account) {
	t.Helper()
	l := localaws.Start(t, func(c *localaws.Config) { c.Limits = limits })
	for name, value := range l.Env() {
		t.Setenv(name, value)
	}
	a, err := aws.Open(t.Context(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return l, a
}

// struck fails the test where a fault with a count is not used up.
func struck(t *testing.T, l *localaws.Running) {
	t.Helper()
	if left := l.Faults(); len(left) != 0 {
		t.Fatalf("faults that did not strike: %+v", left)
	}
}
