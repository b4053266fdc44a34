package check

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
)

var metricName = regexp.MustCompile(`\banalytics_worker_[a-z_]+`)

// named is what a file names of the worker's metrics, each once.
func named(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	names := metricName.FindAllString(string(text), -1)
	for i, n := range names {
		names[i] = strings.TrimSuffix(n, "_bucket")
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// What the rules, their test and the dashboard name is told by a worker, and the
// dashboard shows all that one tells.
func TestPrometheusAndGrafanaNameMetricsThatAreThere(t *testing.T) {
	declared, err := metrics.Declared(new(metrics.Metrics))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, d := range declared {
		if d.Prometheus != "" {
			told = append(told, d.Prometheus)
		}
	}
	slices.Sort(told)
	for _, file := range []string{"../prometheus/rules.yml", "../prometheus/rules_test.yml", "../grafana/dashboard.json"} {
		names := named(t, file)
		if len(names) < 6 {
			t.Errorf("%s names %q only", file, names)
		}
		for _, n := range names {
			if !slices.Contains(told, n) {
				t.Errorf("%s names %s, which no worker tells", file, n)
			}
		}
	}
	if shown := named(t, "../grafana/dashboard.json"); !slices.Equal(shown, told) {
		t.Errorf("the dashboard shows\n%q, a worker tells\n%q", shown, told)
	}
	text, err := os.ReadFile("../grafana/dashboard.json")
	if err != nil || !json.Valid(text) {
		t.Errorf("the dashboard is no JSON: %v", err)
	}
}

// The rules fire when they should, and else not, by Prometheus's own tool.
func TestPrometheusRules(t *testing.T) {
	if out, err := exec.CommandContext(t.Context(), "../../scripts/need-promtool").CombinedOutput(); err != nil {
		t.Fatalf("promtool is not there: %v\n%s", err, out)
	}
	tool, err := exec.LookPath("promtool")
	if err != nil {
		if tool, err = filepath.Abs("../../.tools/promtool"); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = "../prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	rules, err := os.ReadFile("../prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		if !strings.Contains(string(page), "`"+m[1]+"`") {
			t.Errorf("OPERATIONS.md does not tell of the alert %s", m[1])
		}
	}
}
