package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Paths of the instance metadata that announce an end. The system is not told
// otherwise: no SIGTERM comes while a lifecycle hook waits, nor before a Spot
// instance is taken back.
const (
	instanceIDPath = "instance-id"
	spotPath       = "spot/instance-action"
	lifecyclePath  = "autoscaling/target-lifecycle-state"
	rebalancePath  = "events/recommendations/rebalance"
)

const (
	noticeEvery  = 5 * time.Second // AWS's advice: a Spot notice comes two minutes ahead, at best
	longestText  = 4 << 10         // bytes of a metadata text that are read
	metadataDial = 250 * time.Millisecond
)

// workerHook is how the name of a lifecycle hook begins that waits for the
// worker, where a group has several hooks.
const workerHook = "analytics-worker"

// terminating is the transition whose hooks hold an instance that is to end.
const terminating = "autoscaling:EC2_INSTANCE_TERMINATING"

// Notice is the reason why the instance is about to end.
type Notice int

// The notices.
const (
	NoNotice         Notice = iota // none came, or this is no EC2 instance
	SpotInterruption               // EC2 takes the instance back, whatever we do
	Termination                    // its Auto Scaling group ends it, and waits for CompleteTermination
)

func (n Notice) String() string {
	return [...]string{"none", "Spot interruption", "Auto Scaling termination"}[n]
}

// Instance is the EC2 instance that this process runs on, if it is on one.
type Instance struct {
	account  *Account
	http     *http.Client
	metadata *imds.Client
	every    time.Duration
}

// Instance makes no call; see Watch. Like the SDK, it heeds
// AWS_EC2_METADATA_DISABLED and AWS_EC2_METADATA_SERVICE_ENDPOINT.
func (a *Account) Instance() *Instance {
	transport := awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = metadataDial }).
		GetTransport()
	transport.Proxy = nil // the service answers this instance alone, and refuses what was forwarded
	transport.ResponseHeaderTimeout = time.Second
	transport.MaxResponseHeaderBytes = maxHeader
	i := &Instance{account: a, http: &http.Client{Transport: transport}, every: noticeEvery}
	i.metadata = imds.NewFromConfig(a.cfg, func(o *imds.Options) {
		o.HTTPClient = i.http
		o.EnableFallback = sdk.FalseTernary // version 1 needs no token, and is off on a well-kept instance
	})
	return i
}

// Watch waits until the instance is about to end, and says why, and when where
// the notice tells: a Spot notice does, two minutes ahead at best. It returns
// NoNotice when ctx ends, and at once where there is no metadata service.
func (i *Instance) Watch(ctx context.Context) (n Notice, ends time.Time) {
	defer i.http.CloseIdleConnections()
	id, err := i.read(ctx, instanceIDPath)
	if err != nil || id == "" {
		i.account.log.Debug("no instance metadata here: no notices of Spot or Auto Scaling are looked for", "error", err)
		return NoNotice, time.Time{}
	}
	i.account.log.Debug("watching the instance's metadata for notices", "instance", id)
	failing, advised := false, false
	for {
		notice, ends, err := i.look(ctx, &advised)
		switch {
		case ctx.Err() != nil:
			return NoNotice, time.Time{}
		case notice != NoNotice:
			return notice, ends
		case err != nil && !failing:
			i.account.log.Warn("cannot read the instance metadata: a notice of Spot or Auto Scaling would be missed; reading goes on", "error", err)
		}
		failing = err != nil
		if pause(ctx, i.every) != nil {
			return NoNotice, time.Time{}
		}
	}
}

// look asks once. A termination comes first: it is the notice that waits for an answer.
func (i *Instance) look(ctx context.Context, advised *bool) (n Notice, ends time.Time, err error) {
	var errs []error
	read := func(path string) string {
		text, err := i.read(ctx, path)
		errs = append(errs, err)
		return text
	}
	if read(lifecyclePath) == "Terminated" {
		i.account.log.Info("the Auto Scaling group is ending this instance")
		return Termination, time.Time{}, nil
	}
	if text := read(spotPath); text != "" {
		if read(lifecyclePath) == "Terminated" { // both came since the first question
			i.account.log.Info("the Auto Scaling group is ending this instance")
			return Termination, time.Time{}, nil
		}
		i.account.log.Info("EC2 is taking this Spot instance back", "notice", text)
		return SpotInterruption, spotTime(text), nil
	}
	if !*advised {
		if text := read(rebalancePath); text != "" {
			*advised = true
			i.account.log.Info("EC2 recommends to rebalance: this Spot instance is at risk; the worker goes on", "notice", text)
		}
	}
	return NoNotice, time.Time{}, errors.Join(errs...)
}

// spotTime is when EC2 takes the instance, by its notice:
// {"action":"terminate","time":"2026-11-23T08:22:00Z"}. Zero where it does not say.
func spotTime(notice string) time.Time {
	var n struct {
		Time time.Time `json:"time"`
	}
	if json.Unmarshal([]byte(notice), &n) != nil {
		return time.Time{}
	}
	return n.Time
}

// read is the text at a path of the metadata, or "" where nothing is there.
func (i *Instance) read(ctx context.Context, path string) (string, error) {
	out, err := i.metadata.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		var response *smithyhttp.ResponseError
		if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound {
			return "", nil
		}
		return "", fmt.Errorf("read the instance metadata %s: %w", path, ended(ctx, err))
	}
	defer out.Content.Close()
	text, err := io.ReadAll(io.LimitReader(out.Content, longestText))
	if err != nil {
		return "", fmt.Errorf("read the instance metadata %s: %w", path, ended(ctx, err))
	}
	return strings.TrimSpace(string(text)), nil
}

// CompleteTermination tells the Auto Scaling group that the instance has
// nothing left to do. Without it the instance idles until the hook times out,
// by default an hour later.
func (i *Instance) CompleteTermination(ctx context.Context) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	defer i.http.CloseIdleConnections()
	id, err := i.read(ctx, instanceIDPath)
	if err != nil {
		return err
	}
	groups := i.groups()
	found, err := groups.DescribeAutoScalingInstances(ctx, &autoscaling.DescribeAutoScalingInstancesInput{InstanceIds: []string{id}})
	if err != nil {
		return failed(ctx, "find the Auto Scaling group of "+id, err)
	}
	if len(found.AutoScalingInstances) == 0 {
		return fmt.Errorf("find the Auto Scaling group of %s: it is in none", id)
	}
	group := found.AutoScalingInstances[0].AutoScalingGroupName
	if sdk.ToString(group) == "" {
		return incomplete("find the Auto Scaling group of "+id, "it does not name the group")
	}
	hook, err := i.hook(ctx, groups, group)
	if err != nil || hook == "" {
		return err
	}
	_, err = groups.CompleteLifecycleAction(ctx, &autoscaling.CompleteLifecycleActionInput{
		AutoScalingGroupName: group, LifecycleHookName: &hook, InstanceId: &id, LifecycleActionResult: sdk.String("CONTINUE"),
	})
	if err != nil {
		return failed(ctx, fmt.Sprintf("complete the lifecycle action %s of %s", hook, id), err)
	}
	i.account.log.Info("told the Auto Scaling group that the instance may end", "group", *group, "hook", hook, "instance", id)
	return nil
}

func (i *Instance) groups() *autoscaling.Client { return autoscaling.NewFromConfig(i.account.cfg) }

// hook is the group's hook that waits for us, or "" where none holds an ending
// instance. Other people's hooks wait for other things and are left alone.
func (i *Instance) hook(ctx context.Context, groups *autoscaling.Client, group *string) (string, error) {
	out, err := groups.DescribeLifecycleHooks(ctx, &autoscaling.DescribeLifecycleHooksInput{AutoScalingGroupName: group})
	if err != nil {
		return "", failed(ctx, "find the lifecycle hooks of "+sdk.ToString(group), err)
	}
	var names []string
	for _, h := range out.LifecycleHooks {
		if sdk.ToString(h.LifecycleHookName) == "" || sdk.ToString(h.LifecycleTransition) == "" {
			return "", incomplete("find the lifecycle hooks of "+sdk.ToString(group), "a hook lacks its name or its transition")
		}
		if sdk.ToString(h.LifecycleTransition) == terminating {
			names = append(names, sdk.ToString(h.LifecycleHookName))
		}
	}
	for _, name := range names {
		if strings.HasPrefix(name, workerHook) {
			return name, nil
		}
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("the Auto Scaling group %s has the termination hooks %s: let the name of the one that waits for the worker begin with %q",
		sdk.ToString(group), strings.Join(names, ", "), workerHook)
}
