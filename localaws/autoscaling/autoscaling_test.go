package autoscaling

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsasg "github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a client of s, which local serves.
func client(t *testing.T, s *Service) (c *awsasg.Client, local *endpoint.Running) {
	t.Helper()
	local = endpoint.New(endpoint.Options{Services: []wire.Service{s}}).Start(t)
	return awsasg.New(awsasg.Options{
		Region: endpoint.Region, BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), Retryer: aws.NopRetryer{},
	}), local
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestATerminationFromEndToEnd(t *testing.T) {
	c, local := client(t, New())
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
	calls := local.Calls("autoscaling", "")
	if got := calls[len(calls)-2].Summary; got != "local-terminate of local: i-0123456789abcdef0 CONTINUE" {
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
