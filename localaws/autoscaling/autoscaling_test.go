package autoscaling

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsasg "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
	"github.com/cloudcafe/analytics-worker/localaws/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a client of s, and the notes that the call log would have.
func client(t *testing.T, s *Service) (c *awsasg.Client, notes *[]string) {
	t.Helper()
	notes = new([]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		// An SDK that is answered before it has seen its own request out drops
		// the connection.
		<-time.After(300 * time.Microsecond)
		var note string
		r = wire.WithNote(r, &note)
		op, ok := s.Match(r, body)
		if !ok {
			http.Error(w, "no service takes this", http.StatusTeapot)
			return
		}
		s.Serve(w, r, op, body)
		*notes = append(*notes, note)
	}))
	t.Cleanup(srv.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return awsasg.New(awsasg.Options{
		Region: "us-east-1", BaseEndpoint: &srv.URL, HTTPClient: &http.Client{Transport: wiretest.Whole{Next: transport}},
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), Retryer: aws.NopRetryer{},
	}), notes
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestATerminationFromEndToEnd(t *testing.T) {
	c, notes := client(t, New())
	ctx, id := t.Context(), "i-0123456789abcdef0"
	state := func() (group, state string) {
		t.Helper()
		out, err := c.DescribeAutoScalingInstances(ctx, &awsasg.DescribeAutoScalingInstancesInput{InstanceIds: []string{id}})
		if err != nil || len(out.AutoScalingInstances) != 1 {
			t.Fatalf("describe: %+v, %v", out, err)
		}
		return *out.AutoScalingInstances[0].AutoScalingGroupName, *out.AutoScalingInstances[0].LifecycleState
	}
	group, now := state()
	if group != Group || now != "InService" {
		t.Errorf("in %s, %s", group, now)
	}
	hooks, err := c.DescribeLifecycleHooks(ctx, &awsasg.DescribeLifecycleHooksInput{AutoScalingGroupName: &group})
	if err != nil || len(hooks.LifecycleHooks) != 1 || *hooks.LifecycleHooks[0].LifecycleTransition != "autoscaling:EC2_INSTANCE_TERMINATING" {
		t.Fatalf("hooks: %+v, %v", hooks, err)
	}
	hook := hooks.LifecycleHooks[0].LifecycleHookName
	_, err = c.RecordLifecycleActionHeartbeat(ctx, &awsasg.RecordLifecycleActionHeartbeatInput{AutoScalingGroupName: &group, LifecycleHookName: hook, InstanceId: &id})
	if err != nil {
		t.Fatal(err)
	}
	if _, now := state(); now != "Terminating:Wait" {
		t.Errorf("after a heartbeat: %s", now)
	}
	_, err = c.CompleteLifecycleAction(ctx, &awsasg.CompleteLifecycleActionInput{
		AutoScalingGroupName: &group, LifecycleHookName: hook, InstanceId: &id, LifecycleActionResult: aws.String("CONTINUE"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, now := state(); now != "Terminating:Proceed" {
		t.Errorf("after the end: %s", now)
	}
	if got := (*notes)[len(*notes)-2]; got != "local-terminate of local: i-0123456789abcdef0 CONTINUE" {
		t.Errorf("the call log has %q", got)
	}
}

func TestMembersAreChecked(t *testing.T) {
	c, _ := client(t, New())
	for name, in := range map[string]awsasg.CompleteLifecycleActionInput{
		"no hook":     {LifecycleHookName: aws.String(""), AutoScalingGroupName: aws.String("g"), InstanceId: aws.String("i-1"), LifecycleActionResult: aws.String("CONTINUE")},
		"no group":    {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String(""), InstanceId: aws.String("i-1"), LifecycleActionResult: aws.String("CONTINUE")},
		"no instance": {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String("g"), LifecycleActionResult: aws.String("CONTINUE")},
		"no result":   {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String("g"), InstanceId: aws.String("i-1"), LifecycleActionResult: aws.String("")},
		"odd result":  {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String("g"), InstanceId: aws.String("i-1"), LifecycleActionResult: aws.String("DONE")},
		"odd id":      {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String("g"), InstanceId: aws.String("laptop"), LifecycleActionResult: aws.String("CONTINUE")},
		"odd token":   {LifecycleHookName: aws.String("h"), AutoScalingGroupName: aws.String("g"), LifecycleActionToken: aws.String("t"), LifecycleActionResult: aws.String("CONTINUE")},
	} {
		if _, err := c.CompleteLifecycleAction(t.Context(), &in); code(err) != "ValidationError" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.DescribeAutoScalingGroups(t.Context(), &awsasg.DescribeAutoScalingGroupsInput{}); code(err) != "InvalidAction" {
		t.Errorf("an operation that is not served: %v", err)
	}
}

func TestWhatIsKnownIsBounded(t *testing.T) {
	s := New()
	for i := range 3 * maxKnown {
		s.note(map[string][]string{"InstanceId": {fmt.Sprint("i-", i)}, "AutoScalingGroupName": {"g"}}, "Terminating:Wait")
	}
	out, err := s.instances(nil)
	if err != nil || len(s.known) != maxKnown || len(out.Instances.Members) != maxInstances {
		t.Errorf("%d are known and %d described, %v", len(s.known), len(out.Instances.Members), err)
	}
}
