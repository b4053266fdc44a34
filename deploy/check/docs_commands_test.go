package check

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
)

var (
	codeOfPage  = regexp.MustCompile("(?s)```.*?```|`[^`]+`")
	scriptFlag  = regexp.MustCompile(`deploy-ec2\.sh(?:\s+[^\s` + "`" + `]+)*`)
	longFlag    = regexp.MustCompile(`\s(--[a-z][a-z0-9-]*)`)
	override    = regexp.MustCompile(`(?m)(?:^|\s)([A-Z][A-Za-z0-9]+)=`)
	groupOfPage = regexp.MustCompile(`--auto-scaling-group-name (\S+)`)
	metricCall  = regexp.MustCompile(`(?s)get-metric-statistics (.*?)\n(?:aws|` + "```" + `)`)
	nameOfCall  = regexp.MustCompile(`--metric-name (\w+)`)
)

// strayNames are what the commands of a page name and nobody has: flags of
// the script, parameters of the template, the group of the stack that the page
// calls orders, metrics, and the dimension that they are sent with.
func strayNames(page, help string, parameters, published []string, group string) (stray []string) {
	code := strings.ReplaceAll(strings.Join(codeOfPage.FindAllString(page, -1), "\n"), "\\\n", " ")
	for _, call := range scriptFlag.FindAllString(code, -1) {
		for _, f := range longFlag.FindAllStringSubmatch(call, -1) {
			if !strings.Contains(help, "\n  "+f[1]+" ") && !strings.Contains(help, ", "+f[1]+" ") {
				stray = append(stray, f[1])
			}
		}
	}
	for _, line := range strings.Split(code, "\n") {
		_, overrides, _ := strings.Cut(line, "--parameter-overrides")
		for _, m := range override.FindAllStringSubmatch(overrides, -1) {
			if !slices.Contains(parameters, m[1]) {
				stray = append(stray, m[1])
			}
		}
	}
	for _, m := range groupOfPage.FindAllStringSubmatch(code, -1) {
		if name := strings.Trim(m[1], "`"); name != group {
			stray = append(stray, name)
		}
	}
	for _, m := range metricCall.FindAllStringSubmatch(code, -1) {
		if name := nameOfCall.FindStringSubmatch(m[1]); name == nil || !slices.Contains(published, name[1]) {
			stray = append(stray, m[1])
		}
		if !strings.Contains(m[1], "--dimensions Name=Environment,Value=") {
			stray = append(stray, "no dimension: "+m[1])
		}
	}
	return stray
}

func TestTheDeployPageCallsWhatIsThere(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/DEPLOY.md")
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.CommandContext(t.Context(), "bash", "../deploy-ec2.sh", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var parameters, published []string
	for name := range load(t).Parameters {
		parameters = append(parameters, name)
	}
	group := ""
	for _, r := range stack(t, onCluster).Of("AWS::AutoScaling::AutoScalingGroup") {
		group = str(r.Properties["AutoScalingGroupName"])
	}
	fields := reflect.TypeFor[metrics.Metrics]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Tag.Get("cloudwatch"); name != "" {
			published = append(published, name)
		}
	}
	for _, s := range strayNames(string(page), string(help), parameters, published, group) {
		t.Errorf("docs/DEPLOY.md names %q, which is not there", s)
	}
}

func TestTheDeployPageCanBeWrong(t *testing.T) {
	t.Parallel()
	const page = "`./deploy-ec2.sh --good --bad`\n```sh\naws cloudformation deploy \\\n  --parameter-overrides Size=1 Sise=2\n" +
		"aws autoscaling set-desired-capacity --auto-scaling-group-name analytics-worker-asg\n" +
		"aws cloudwatch get-metric-statistics --metric-name Made --dimensions Name=Environment,Value=dev\naws cloudwatch get-metric-statistics --metric-name Up\n```\n"
	got := strayNames(page, "\n  --good  it is\n", []string{"Size"}, []string{"Up"}, "orders-asg")
	want := []string{"--bad", "Sise", "analytics-worker-asg", "--metric-name Made --dimensions Name=Environment,Value=dev", "no dimension: --metric-name Up"}
	if !slices.Equal(got, want) {
		t.Errorf("stray names %q, want %q", got, want)
	}
}
