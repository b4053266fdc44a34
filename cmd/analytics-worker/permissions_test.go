package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	deploy "github.com/cloudcafe/analytics-worker/deploy/check"
)

// awsCall is a line of the local AWS's log of calls.
type awsCall struct {
	Seq                         int64
	Service, Operation, Summary string
}

// policies are the worker's and the operator's, as they stand alone. What the
// operator's holds comes on top of the worker's.
func policies(t *testing.T) map[deploy.By]deploy.Policy {
	t.Helper()
	out := map[deploy.By]deploy.Policy{}
	for by, name := range map[deploy.By]string{deploy.Worker: "worker-policy.json", deploy.Operator: "operator-policy.json"} {
		p, err := deploy.PolicyFile("../../deploy/iam/" + name)
		if err != nil {
			t.Fatal(err)
		}
		out[by] = p
	}
	return out
}

// Each policy allows what its calls need, and no action more.
func TestThePoliciesAllowWhatTheCallsNeed(t *testing.T) {
	need := map[deploy.By][]string{}
	for _, n := range deploy.Needs {
		need[n.By] = append(need[n.By], n.Actions...)
	}
	if len(need[deploy.Nobody]) > 0 {
		t.Errorf("calls that nobody makes need %q", need[deploy.Nobody])
	}
	for by, p := range policies(t) {
		want := slices.Clone(need[by])
		if by == deploy.Operator { // whose policy goes on top
			want = slices.DeleteFunc(want, func(a string) bool { return slices.Contains(need[deploy.Worker], a) })
		}
		slices.Sort(want)
		if want = slices.Compact(want); !slices.Equal(want, p.Actions()) {
			t.Errorf("the policy of the %s allows\n%q, its calls need\n%q", by, p.Actions(), want)
		}
	}
}

// The table of needs has every call of internal/aws, and no other: a call has an
// input of the SDK's, which is named after the operation.
func TestEveryCallOfTheSDKHasItsPermission(t *testing.T) {
	services := map[string]string{"redshiftdata": "redshift-data"} // where the package has another name
	files, err := filepath.Glob("../../internal/aws/*.go")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	found := map[string]bool{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			typ, ok := literal.Type.(*ast.SelectorExpr)
			if !ok || !strings.HasSuffix(typ.Sel.Name, "Input") {
				return true
			}
			service := typ.X.(*ast.Ident).Name
			if service == "imds" { // no service of IAM's
				return true
			}
			if other, ok := services[service]; ok {
				service = other
			}
			found[service+" "+strings.TrimSuffix(typ.Sel.Name, "Input")] = true
			return true
		})
	}
	for _, n := range deploy.Needs {
		call := n.Service + " " + n.Operation
		if !found[call] {
			t.Errorf("internal/aws does not make the call %s any more", call)
		}
		delete(found, call)
	}
	for call := range found {
		t.Errorf("internal/aws makes the call %s: give it a row in deploy/check, and the policies what it needs", call)
	}
}

// The whole life of a worker and all verbs, with the names of the policies that
// stand alone: whatever is called is allowed, on what it is called for.
func TestPermissionsAreThoseOfTheCalls(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 2)
	f.admin(http.MethodPut, "/analytics-worker-staging", "")
	f.admin(http.MethodPut, "/analytics-worker-deadletter", "")
	f.env = append(f.env,
		"STAGING_URL=s3://analytics-worker-staging/staging", "DEAD_LETTER_URL=s3://analytics-worker-deadletter/dead-letters",
		"METRICS_INTERVAL=1")
	seen := map[deploy.By]map[string]bool{deploy.Worker: {}, deploy.Operator: {}}
	p := policies(t)
	var last int64
	record := func(by deploy.By) {
		t.Helper()
		for _, c := range f.callsSince(last) {
			last = c.Seq
			f.judge(p, by, c)
			seen[by][c.Service+" "+c.Operation] = true
		}
	}
	record(deploy.Operator) // what made the stream and the tables

	f.must("publish", "--count", "400", "--bad", "0.01", "--seed", "5")
	record(deploy.Operator)
	a := f.join(f.onEC2()...)
	f.settled(400)
	f.must("status")
	f.must("doctor")
	f.must("verify")
	a.await("lease taken")
	f.admin(http.MethodPut, "/_localaws/imds", `{"autoscaling/target-lifecycle-state":"Terminated"}`)
	a.leave()
	f.admin(http.MethodDelete, "/_localaws/imds", "")
	record(deploy.Worker)

	f.must("positions")
	f.must("positions", "--start-over", "--dry-run")
	f.must("schema", "--apply")
	f.must("report", "top-stores")
	f.must("query", "SELECT COUNT(*) FROM fact_orders")
	record(deploy.Operator)
	// A question that is given up is cancelled.
	f.faults(`[{"service":"redshift-data","fault":"statement-slow","delay":"1h","match":"fact_orders"}]`)
	f.await("a question that was given up is cancelled", func() (bool, error) { // a loaded machine may not even ask within a second
		if _, code := f.run("query", "--timeout", "1s", "SELECT COUNT(*) FROM fact_orders"); code != exitError {
			return false, fmt.Errorf("a question without an answer ended with status %d", code)
		}
		return slices.ContainsFunc(f.callsSince(last), func(c awsCall) bool { return c.Operation == "CancelStatement" }), nil
	})
	f.faults(`[]`)
	f.must("letters", "--last", "2", "--decode")
	f.must("replay", "--from", "1h", "--dry-run")
	f.must("replay", "--from", "1h")
	f.must("redrive", "--dry-run")
	f.must("redrive")
	f.must("stress", "2", "100", "--concurrency", "4")
	record(deploy.Operator)
	// A storm that is cut short cancels what is in flight.
	f.faults(`[{"service":"redshift-data","fault":"statement-slow","delay":"1h","match":"event_timestamp >="},{"service":"redshift-data","fault":"statement-slow","delay":"1h","match":"minute >="}]`)
	storm := start(t, append(f.env, onOneProcessor), "analytics-worker", "stress", "600", "100", "--concurrency", "4")
	storm.await("in flight 4 of 4")
	storm.signal(syscall.SIGINT)
	storm.exit(patience)
	record(deploy.Operator)

	for _, n := range deploy.Needs {
		call := n.Service + " " + n.Operation
		switch n.By {
		case deploy.Worker:
			if !seen[deploy.Worker][call] && !n.Rare {
				t.Errorf("the worker did not make the call %s: is it needed?", call)
			}
		case deploy.Operator:
			if !seen[deploy.Operator][call] {
				t.Errorf("no verb made the call %s: is it needed?", call)
			}
		}
	}
}

// judge fails the test unless the policies allow the call to whoever made it.
func (f *fleet) judge(policies map[deploy.By]deploy.Policy, by deploy.By, c awsCall) {
	f.t.Helper()
	if c.Service == "imds" || c.Service == "s3" && c.Operation == "CreateBucket" { // the latter is this test's
		return
	}
	n, known := deploy.NeedOf(c.Service, c.Operation)
	if !known || n.By == deploy.Nobody || n.By == deploy.Operator && by == deploy.Worker {
		f.t.Errorf("the %s called %s %s, which is not among its needs: %+v", by, c.Service, c.Operation, c)
		return
	}
	resource, has := resourceOf(c)
	if !has {
		return
	}
	for _, action := range n.Actions {
		if strings.HasPrefix(action, "kms:") || slices.Contains(deploy.LogIn, action) {
			continue // not this call's own resource
		}
		on := resource
		if action == "s3:ListBucket" {
			on, _, _ = strings.Cut(resource, "/")
		}
		if !policies[deploy.Worker].Allows(action, on) && !(by == deploy.Operator && policies[deploy.Operator].Allows(action, on)) {
			f.t.Errorf("the %s called %s %s, and its policy does not allow %s on %s", by, c.Service, c.Operation, action, on)
		}
	}
}

// resourceOf is the ARN that the policies name the call's resource by, where the
// log tells it.
func resourceOf(c awsCall) (arn string, known bool) {
	first, _, _ := strings.Cut(c.Summary, " ")
	switch c.Service {
	case "s3":
		if c.Operation == "DeleteObjects" { // it names the objects in its body
			return "", false
		}
		return "arn:aws:s3:::" + strings.TrimPrefix(first, "/"), first != ""
	case "kinesis":
		return "arn:aws:kinesis:us-east-1:111122223333:stream/" + first, first == "order-events"
	case "dynamodb":
		return "arn:aws:dynamodb:us-east-1:111122223333:table/" + first, strings.HasPrefix(first, "analytics-worker-")
	}
	return "", false
}

func (f *fleet) callsSince(seq int64) (calls []awsCall) {
	f.t.Helper()
	if err := json.Unmarshal(f.admin(http.MethodGet, fmt.Sprintf("/_localaws/calls?since=%d", seq), ""), &calls); err != nil {
		f.t.Fatal(err)
	}
	return calls
}
