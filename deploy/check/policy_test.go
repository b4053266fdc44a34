package check

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the policies of deploy/iam anew from the template")

// every is the stack with every part of its policies that a parameter brings in.
func every(t *testing.T) *Stack {
	t.Helper()
	s, err := load(t).Fill(filled(map[string]string{
		"RedshiftClusterId":   "cloudcafe-redshift-dev",
		"RedshiftWorkgroupId": "11111111-2222-3333-4444-555555555555",
		"RedshiftSecretArn":   "arn:aws:secretsmanager:us-east-1:111122223333:secret:analytics-worker-AbCdEf",
		"KmsKeyArn":           "arn:aws:kms:us-east-1:111122223333:key/11111111-2222-3333-4444-555555555555",
	}), map[string]bool{"AsUser": true, "AsRole": true, "AsWorkgroup": true, "HasWorkgroup": true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// standalone is the policies that stand alone as JSON, and where the template has them.
func standalone(s *Stack) map[string]Policy {
	return map[string]Policy{
		"worker-policy.json":   s.ManagedPolicy("WorkerPolicy"),
		"operator-policy.json": s.ManagedPolicy("OperatorPolicy"),
		"instance-policy.json": s.InlinePolicy("WorkerRole", "instance"),
		"copy-policy.json":     s.InlinePolicy("CopyRole", "copy"),
	}
}

func TestPoliciesStandAlone(t *testing.T) {
	for name, want := range standalone(every(t)) {
		file := "../iam/" + name
		if *update {
			var text bytes.Buffer
			e := json.NewEncoder(&text)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(want); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := PolicyFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a, b := encoded(t, got), encoded(t, want)
		if a != b || len(got.Statement) == 0 {
			t.Errorf("%s differs from the template (go test ./deploy/check -run StandAlone -update writes it):\n%s\n%s", name, a, b)
		}
		// 6,144 characters are the most of a managed policy; white space does not count.
		if len(a) > 6144 {
			t.Errorf("%s has %d characters, more than a managed policy may", name, len(a))
		}
	}
}

func encoded(t *testing.T, p Policy) string {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Each way to log in brings its own statement and no other's.
func TestOneWayToLogIn(t *testing.T) {
	const secret = "arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf"
	for name, c := range map[string]struct {
		values map[string]string
		want   []string
	}{
		"a database user":     {map[string]string{"RedshiftClusterId": "c"}, []string{"LogInAsDatabaseUser", "SubmitToCluster"}},
		"the role":            {map[string]string{"RedshiftClusterId": "c", "RedshiftDbUser": ""}, []string{"LogInAsRole", "SubmitToCluster"}},
		"a secret":            {map[string]string{"RedshiftClusterId": "c", "RedshiftSecretArn": secret}, []string{"LogInWithSecret", "SubmitToCluster"}},
		"a workgroup":         {map[string]string{"RedshiftWorkgroup": "w"}, []string{"LogInToWorkgroup", "SubmitToWorkgroup"}},
		"a workgroup, secret": {map[string]string{"RedshiftWorkgroup": "w", "RedshiftSecretArn": secret}, []string{"LogInWithSecret", "SubmitToWorkgroup"}},
	} {
		var got []string
		for _, s := range stack(t, c.values).ManagedPolicy("WorkerPolicy").Statement {
			if strings.HasPrefix(s.Sid, "LogIn") || strings.HasPrefix(s.Sid, "Submit") {
				got = append(got, s.Sid)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestPoliciesAreNarrow(t *testing.T) {
	everywhere := map[string]bool{ // that has no resource of its own
		"FollowOwnStatements": true, "CancelOwnStatements": true, "PublishMetrics": true, "LookForHooks": true,
	}
	for name, p := range standalone(every(t)) {
		seen := map[string]bool{}
		for _, s := range p.Statement {
			if seen[s.Sid] || s.Sid == "" || s.Effect != "Allow" {
				t.Errorf("%s: %+v: a statement allows, and has a name of its own", name, s)
			}
			seen[s.Sid] = true
			if slices.Contains(s.Resource, "*") && !everywhere[s.Sid] {
				t.Errorf("%s: %s is for every resource", name, s.Sid)
			}
			for _, a := range s.Action {
				if strings.Contains(a, "*") {
					t.Errorf("%s: %s names no action: %s", name, s.Sid, a)
				}
			}
		}
	}
	s := every(t)
	if got := s.Trust("CopyRole"); !slices.Equal(got, []string{"redshift.amazonaws.com", "redshift-serverless.amazonaws.com"}) {
		t.Errorf("the role of COPY trusts %q", got)
	}
	if got := s.Trust("WorkerRole"); !slices.Equal(got, []string{"ec2.amazonaws.com"}) {
		t.Errorf("the worker's role trusts %q", got)
	}
}

var action = regexp.MustCompile(`^([a-z0-9-]+:)?[A-Z][A-Za-z0-9]+$`)

// The reference's table of what the role needs is the policies, action by action.
func TestTheReferenceListsThePolicies(t *testing.T) {
	text, err := os.ReadFile("../../docs/REFERENCE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "\n## Permissions\n")
	table, _, _ = strings.Cut(table, "\nRedshift reads the staged files")
	if !found {
		t.Fatal("the reference has no table of permissions any more")
	}
	want := map[string]bool{}
	for _, name := range []string{"worker-policy.json", "operator-policy.json"} {
		for _, a := range standalone(every(t))[name].Actions() {
			want[a] = true
		}
	}
	listed := map[string]bool{}
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		service := ""
		for i, a := range strings.Split(cells[2], "`") {
			if i%2 == 0 || !action.MatchString(a) {
				continue
			}
			if s, _, ok := strings.Cut(a, ":"); ok {
				service = s
			} else {
				a = service + ":" + a
			}
			listed[a] = true
		}
	}
	if !maps.Equal(want, listed) {
		t.Errorf("the reference lists %q\nthe policies hold %q", slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(want)))
	}
}
