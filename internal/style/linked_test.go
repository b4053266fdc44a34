package style

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// linked is the packages that Go links into one of ours, its own included. Without cgo,
// as the worker is built; DuckDB is among them all the same, where it is.
func linked(t *testing.T, pkg string) []string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-e", "./"+pkg)
	list.Dir, list.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
	out, err := list.CombinedOutput()
	if err != nil {
		t.Fatalf("go list -deps ./%s: %v\n%s", pkg, err, out)
	}
	return strings.Fields(string(out))
}

// among is the packages that are one of those named, or below it.
func among(packages []string, named ...string) (out []string) {
	for _, p := range packages {
		if slices.ContainsFunc(named, func(n string) bool { return within(p, n) }) {
			out = append(out, p)
		}
	}
	return out
}

const (
	duckdb   = "github.com/duckdb"
	postgres = "github.com/jackc"
	sdk      = "github.com/aws"
	local    = module + "/localaws"
)

// The worker is one static binary, and its module names what only the local AWS and the
// tests need: none of that may get in.
func TestTheWorkerLinksNoEngine(t *testing.T) {
	for _, command := range []string{"cmd/analytics-worker", "cmd/demo"} {
		if bad := among(linked(t, command), duckdb, postgres, "testing", local); len(bad) > 0 {
			t.Errorf("%s links %q", command, bad)
		}
	}
	if len(among(linked(t, "cmd/localaws"), duckdb, postgres)) < 2 {
		t.Error("DuckDB and pgx are not found where they are: this test would find them nowhere")
	}
}

// Whoever imports the local AWS for a test gets no second AWS SDK, nothing of the
// worker, and DuckDB only with SQL.
func TestTheLocalAWSBringsLittle(t *testing.T) {
	for _, pkg := range []string{"localaws", "cmd/localaws"} {
		packages := linked(t, pkg)
		if bad := among(packages, sdk, "testing", module+"/internal"); len(bad) > 0 {
			t.Errorf("%s links %q", pkg, bad)
		}
	}
	for _, pkg := range []string{"endpoint", "kinesis", "dynamodb", "s3", "cloudwatch", "autoscaling", "sts", "imds", "memnet"} {
		if bad := among(linked(t, "localaws/"+pkg), duckdb, postgres, "database/sql", sdk, "testing"); len(bad) > 0 {
			t.Errorf("localaws/%s links %q", pkg, bad)
		}
	}
}
