package hcl

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/cloudcafe/analytics-worker/deploy/check"
)

// pairs are deployments, as the template's parameters and the module's variables
// say them.
var pairs = map[string]map[string]string{
	"a cluster":   {"RedshiftClusterId": "orders"},
	"as the role": {"RedshiftClusterId": "orders", "RedshiftDbUser": "", "Environment": "prod", "AlarmEmail": "on-call@example.com"},
	"a workgroup": {"RedshiftWorkgroup": "orders", "RedshiftWorkgroupId": "11111111-2222-3333-4444-555555555555", "SessionManager": "no"},
	"a secret, a key, amd64": {
		"RedshiftClusterId": "orders", "RedshiftSecretArn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf",
		"KmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1", "Architecture": "amd64", "InstanceSize": "large",
		"MinSize": "2", "MaxSize": "8", "ShardCount": "8", "HeadroomAlarmSeconds": "7200",
	},
	"a stream that is there": {"RedshiftClusterId": "orders", "NewStream": "no", "NewLogGroup": "no", "AmiId": "ami-12345678"},
}

func both(t *testing.T, values map[string]string) (*check.Stack, *module) {
	t.Helper()
	template, err := check.Load("../../cloudformation/analytics-worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	given := map[string]string{
		"ReleaseUrl":    "s3://releases/analytics-worker_1.2.3_linux_arm64.tar.gz",
		"ReleaseSha256": strings.Repeat("0", 64), "VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2",
	}
	maps.Copy(given, values)
	s, err := template.Fill(given, nil)
	if err != nil {
		t.Fatal(err)
	}
	vars := map[string]cty.Value{}
	for name, v := range given {
		vars[snake(name)] = converted(template.Parameters[name], name, v)
	}
	return s, fill(t, vars)
}

var capital = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// snake is the module's name of a parameter.
func snake(name string) string {
	return strings.ToLower(capital.ReplaceAllString(strings.ReplaceAll(name, "GiB", "Gib"), "${1}_$2"))
}

// converted is a parameter's value as the module's variable has it.
func converted(p check.Parameter, name, v string) cty.Value {
	switch {
	case slices.Equal(p.AllowedValues, []string{"yes", "no"}):
		return cty.BoolVal(v == "yes")
	case p.Type == "Number" || name == "ShardCount" || name == "MaxSize":
		return cty.MustParseNumberVal(v)
	case strings.HasPrefix(p.Type, "List<"):
		var out []cty.Value
		for part := range strings.SplitSeq(v, ",") {
			out = append(out, cty.StringVal(part))
		}
		return cty.ListVal(out)
	}
	return cty.StringVal(v)
}

// Every parameter has its variable with the same default, and every variable and
// output is described and named in the README.
func TestVariablesAndOutputs(t *testing.T) {
	template, err := check.Load("../../cloudformation/analytics-worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, m := both(t, pairs["a cluster"])
	defaults := m.context.Variables["var"].AsValueMap()
	variables, outputs := map[string]bool{}, map[string]bool{}
	readme := read(t, folder+"/README.md")
	for _, b := range m.blocks {
		if b.Type != "variable" && b.Type != "output" {
			continue
		}
		map[string]map[string]bool{"variable": variables, "output": outputs}[b.Type][b.Labels[0]] = true
		if d := b.Body.Attributes["description"]; d == nil || len(text(m.plain(m.value(d.Expr, m.context)))) < 10 {
			t.Errorf("%s %s is not described", b.Type, b.Labels[0])
		}
		if b.Type == "variable" && b.Body.Attributes["type"] == nil {
			t.Errorf("variable %s has no type", b.Labels[0])
		}
		if !strings.Contains(readme, "`"+b.Labels[0]+"`") {
			t.Errorf("the README of the module does not name the %s %s", b.Type, b.Labels[0])
		}
	}
	for name, p := range template.Parameters {
		v, ok := defaults[snake(name)]
		if !ok || !variables[snake(name)] {
			t.Errorf("parameter %s has no variable %s", name, snake(name))
			continue
		}
		delete(variables, snake(name))
		if !p.Required && name != "RedshiftClusterId" && !v.RawEquals(converted(p, name, p.Default)) {
			t.Errorf("%s is %q by default, %s is %#v", name, p.Default, snake(name), v)
		}
	}
	if len(variables) != 1 || !variables["name"] {
		t.Errorf("variables without a parameter: %q, want only name, which is the stack's", slices.Sorted(maps.Keys(variables)))
	}
	for name := range s.Outputs {
		if !outputs[snake(name)] {
			t.Errorf("output %s is not one of the module's", name)
		}
		delete(outputs, snake(name))
	}
	if len(outputs) > 0 {
		t.Errorf("outputs that the template has not: %v", outputs)
	}
}

func TestPoliciesAgree(t *testing.T) {
	for name, values := range pairs {
		s, m := both(t, values)
		for resource, want := range map[string]check.Policy{
			"aws_iam_policy.worker":        s.ManagedPolicy("WorkerPolicy"),
			"aws_iam_policy.operator":      s.ManagedPolicy("OperatorPolicy"),
			"aws_iam_role_policy.instance": s.InlinePolicy("WorkerRole", "instance"),
			"aws_iam_role_policy.copy":     s.InlinePolicy("CopyRole", "copy"),
		} {
			got, err := check.ParsePolicy([]byte(text(m.at(resource, "policy"))))
			if err != nil {
				t.Fatal(err)
			}
			if len(want.Statement) == 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s is\n%+v, the template's\n%+v", name, resource, got, want)
			}
		}
		for role, id := range map[string]string{"worker": "WorkerRole", "copy": "CopyRole"} {
			document := text(m.at("aws_iam_role."+role, "assume_role_policy"))
			for _, service := range s.Trust(id) {
				if !strings.Contains(document, `"`+service+`"`) {
					t.Errorf("%s: the role %s does not trust %s: %s", name, role, service, document)
				}
			}
			if n := strings.Count(document, ".amazonaws.com"); n != len(s.Trust(id)) {
				t.Errorf("%s: the role %s trusts %d services, the template's %d", name, role, n, len(s.Trust(id)))
			}
		}
		if a, b := len(m.resources["aws_iam_role_policy_attachment.sessions"]) == 1, strings.Contains(asJSON(t, s.Resources["WorkerRole"].Properties), "AmazonSSMManagedInstanceCore"); a != b {
			t.Errorf("%s: Session Manager: %v, the template %v", name, a, b)
		}
	}
}

func TestAlarmsAgree(t *testing.T) {
	for name, values := range pairs {
		s, m := both(t, values)
		want := map[string]check.Alarm{}
		for _, a := range s.Alarms() {
			a.ID = ""
			want[a.Name] = a
		}
		got := map[string]check.Alarm{}
		for _, resource := range []string{"worker", "scale_out_on_lag", "scale_in_when_idle", "stalled"} {
			for _, r := range m.resources["aws_cloudwatch_metric_alarm."+resource] {
				a := alarm(r)
				got[a.Name] = a
			}
		}
		if len(got) != len(want) {
			t.Errorf("%s: alarms %q, the template's %q", name, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		for id, w := range want {
			if g := got[id]; !reflect.DeepEqual(g, w) {
				t.Errorf("%s: alarm %s is\n%+v, the template's\n%+v", name, id, g, w)
			}
		}
		var a, b any
		if err := json.Unmarshal([]byte(text(m.at("aws_cloudwatch_dashboard.worker", "dashboard_body"))), &a); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(s.Resources["Dashboard"].Properties["DashboardBody"].(string)), &b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: the dashboards differ", name)
		}
		if n := len(m.resources["aws_sns_topic_subscription.email"]); (n == 1) != (values["AlarmEmail"] != "") {
			t.Errorf("%s: %d subscriptions", name, n)
		}
	}
}

func alarm(r map[string]any) check.Alarm {
	number := func(v any) float64 { n, _ := v.(float64); return n }
	a := check.Alarm{
		Name: text(r["alarm_name"]), Description: text(r["alarm_description"]), Namespace: text(r["namespace"]), Metric: text(r["metric_name"]),
		Statistic: text(r["statistic"]), Period: time.Duration(number(r["period"])) * time.Second, Periods: int(number(r["evaluation_periods"])),
		Threshold: number(r["threshold"]), Comparison: text(r["comparison_operator"]), Missing: text(r["treat_missing_data"]),
		Dimensions: map[string]string{},
	}
	for k, v := range mapping(r["dimensions"]) {
		a.Dimensions[k] = text(v)
	}
	for _, v := range sequence(r["alarm_actions"]) {
		a.Actions = append(a.Actions, text(v))
	}
	for _, q := range sequence(r["metric_query"]) {
		if e := text(below(q, "expression")); e != "" {
			a.Expression = e
			continue
		}
		if a.Of == nil {
			a.Of = map[string]check.Metric{}
		}
		m := check.Metric{
			Namespace: text(below(q, "metric", 0, "namespace")), Name: text(below(q, "metric", 0, "metric_name")), Dimensions: map[string]string{},
			Statistic: text(below(q, "metric", 0, "stat")), Period: time.Duration(number(below(q, "metric", 0, "period"))) * time.Second,
		}
		for k, v := range mapping(below(q, "metric", 0, "dimensions")) {
			m.Dimensions[k] = text(v)
		}
		a.Of[text(below(q, "id"))] = m
	}
	return a
}

func mapping(v any) map[string]any { m, _ := v.(map[string]any); return m }

func sequence(v any) []any { l, _ := v.([]any); return l }

func asJSON(t *testing.T, v any) string {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
