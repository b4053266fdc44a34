// Package autoscaling is the little of EC2 Auto Scaling that an instance calls
// about itself: which group it is in, which hook waits for it, and that it is
// done. It speaks the Query protocol.
//
// A laptop has no groups: every instance is taken to be in the group "local",
// which has one hook for terminations. What the calls say is remembered, and is
// in the call log.
package autoscaling

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	version   = "2011-01-01"
	namespace = "http://autoscaling.amazonaws.com/doc/2011-01-01/"

	// Group is the group that an instance is in until a call names another.
	Group = "local"
	// Hook is the hook that every group has here, for terminations.
	Hook = "local-terminate"

	maxInstances = 50   // that one DescribeAutoScalingInstances names or returns
	maxKnown     = 1000 // instances that are remembered; the oldest go first
)

// instance is what is known of an instance.
type instance struct{ id, group, state string }

// Service is the Auto Scaling service. It is safe for concurrent use.
type Service struct {
	mu    sync.Mutex  // guards what follows
	known []*instance // in the order in which they were first heard of
}

var _ wire.Service = (*Service)(nil)

// New makes a service that knows of no instances.
func New() *Service { return &Service{} }

// Name returns "autoscaling".
func (s *Service) Name() string { return "autoscaling" }

// Operations are those that are served.
func (s *Service) Operations() []string {
	return []string{"CompleteLifecycleAction", "RecordLifecycleActionHeartbeat", "DescribeAutoScalingInstances", "DescribeLifecycleHooks"}
}

// Match takes the forms that carry the API version of Auto Scaling.
func (s *Service) Match(r *http.Request, body []byte) (string, bool) {
	form := wire.QueryForm(r, body, version)
	if form == nil {
		return "", false
	}
	return form.Get("Action"), true
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	form := wire.QueryForm(r, body, version)
	var out any = struct{}{} // the lifecycle calls have an empty result
	var err *wire.Error
	switch operation {
	case "CompleteLifecycleAction":
		err = s.complete(r, form)
	case "RecordLifecycleActionHeartbeat":
		err = s.heartbeat(r, form)
	case "DescribeAutoScalingInstances":
		out, err = s.instances(form)
	case "DescribeLifecycleHooks":
		out, err = hooks(form)
	default:
		err = wire.UnknownAction(operation, version)
	}
	if err != nil {
		s.Refuse(w, r, err)
		return
	}
	wire.WriteQueryResult(w, namespace, operation, out)
}

// required refuses an absent or overlong parameter.
func required(form url.Values, name string, longest int) *wire.Error {
	member := strings.ToLower(name[:1]) + name[1:]
	switch v := form.Get(name); {
	case v == "":
		return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
	case len(v) > longest:
		return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", v, member, longest)
	}
	return nil
}

func invalid(format string, args ...any) *wire.Error {
	return wire.Errorf("ValidationError", format, args...)
}

// lifecycle checks what the two calls about a lifecycle action have in common.
func lifecycle(form url.Values) *wire.Error {
	if err := required(form, "LifecycleHookName", 255); err != nil {
		return err
	}
	if err := required(form, "AutoScalingGroupName", 1600); err != nil {
		return err
	}
	switch token, id := form.Get("LifecycleActionToken"), form.Get("InstanceId"); {
	case token == "" && id == "":
		return invalid("Either LifecycleActionToken or InstanceId must be specified.")
	case token != "" && len(token) != 36:
		return invalid("1 validation error detected: Value '%s' at 'lifecycleActionToken' failed to satisfy constraint: Member must have length equal to 36", token)
	case id != "" && (!strings.HasPrefix(id, "i-") || len(id) > 19):
		return invalid("Invalid instance id: %q", id)
	}
	return nil
}

func (s *Service) complete(r *http.Request, form url.Values) *wire.Error {
	if err := lifecycle(form); err != nil {
		return err
	}
	result := form.Get("LifecycleActionResult")
	if err := required(form, "LifecycleActionResult", 255); err != nil {
		return err
	}
	if result != "CONTINUE" && result != "ABANDON" {
		return invalid("Invalid LifecycleActionResult %q: it must be CONTINUE or ABANDON.", result)
	}
	wire.Note(r, fmt.Sprintf("%s of %s: %s %s", form.Get("LifecycleHookName"), form.Get("AutoScalingGroupName"), form.Get("InstanceId"), result))
	s.note(form, "Terminating:Proceed")
	return nil
}

func (s *Service) heartbeat(r *http.Request, form url.Values) *wire.Error {
	if err := lifecycle(form); err != nil {
		return err
	}
	wire.Note(r, fmt.Sprintf("%s of %s: %s", form.Get("LifecycleHookName"), form.Get("AutoScalingGroupName"), form.Get("InstanceId")))
	s.note(form, "Terminating:Wait")
	return nil
}

// note remembers the state that a call tells of. A call with a token alone tells
// of no instance that could be known.
func (s *Service) note(form url.Values, state string) {
	id := form.Get("InstanceId")
	if id == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.find(id)
	if one == nil {
		one = &instance{id: id}
		s.known = append(s.known, one)
		s.known = s.known[max(0, len(s.known)-maxKnown):]
	}
	one.group, one.state = form.Get("AutoScalingGroupName"), state
}

// find is the instance, if it is known. The caller holds mu.
func (s *Service) find(id string) *instance {
	i := slices.IndexFunc(s.known, func(one *instance) bool { return one.id == id })
	if i < 0 {
		return nil
	}
	return s.known[i]
}

// members are the values of a list in a form.
func members(form url.Values, name string) []string {
	var out []string
	for i := 1; ; i++ {
		v := form.Get(name + ".member." + strconv.Itoa(i))
		if v == "" {
			return out
		}
		out = append(out, v)
	}
}

type instanceDetails struct {
	InstanceID           string `xml:"InstanceId"`
	AutoScalingGroupName string
	AvailabilityZone     string
	LifecycleState       string
	HealthStatus         string
	ProtectedFromScaleIn bool
}

type instancesResult struct {
	Instances struct {
		Members []instanceDetails `xml:"member"`
	} `xml:"AutoScalingInstances"`
}

// instances describes those that are asked for, or all that are known.
func (s *Service) instances(form url.Values) (*instancesResult, *wire.Error) {
	ids := members(form, "InstanceIds")
	if len(ids) > maxInstances {
		return nil, invalid("The number of instance ids that may be passed in is limited to %d", maxInstances)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ids) == 0 {
		for _, one := range s.known[max(0, len(s.known)-maxInstances):] {
			ids = append(ids, one.id)
		}
	}
	out := &instancesResult{}
	for _, id := range ids {
		one := instance{id, Group, "InService"}
		if known := s.find(id); known != nil {
			one = *known
		}
		out.Instances.Members = append(out.Instances.Members, instanceDetails{
			InstanceID: one.id, AutoScalingGroupName: one.group, AvailabilityZone: "us-east-1a",
			LifecycleState: one.state, HealthStatus: "HEALTHY",
		})
	}
	return out, nil
}

type hook struct {
	LifecycleHookName    string
	AutoScalingGroupName string
	LifecycleTransition  string
	HeartbeatTimeout     int // seconds
	GlobalTimeout        int // seconds
	DefaultResult        string
}

type hooksResult struct {
	Hooks struct {
		Members []hook `xml:"member"`
	} `xml:"LifecycleHooks"`
}

// hooks describes the one hook that a group has here.
func hooks(form url.Values) (*hooksResult, *wire.Error) {
	if err := required(form, "AutoScalingGroupName", 1600); err != nil {
		return nil, err
	}
	out := &hooksResult{}
	if names := members(form, "LifecycleHookNames"); len(names) == 0 || slices.Contains(names, Hook) {
		out.Hooks.Members = []hook{{
			LifecycleHookName: Hook, AutoScalingGroupName: form.Get("AutoScalingGroupName"),
			LifecycleTransition: "autoscaling:EC2_INSTANCE_TERMINATING",
			HeartbeatTimeout:    3600, GlobalTimeout: 172800, DefaultResult: "ABANDON",
		}}
	}
	return out, nil
}

// Refuse writes e as the Query protocol does.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *wire.Error) {
	wire.WriteQueryError(w, w.Header().Get("X-Amzn-Requestid"), e)
}

// Throttled is the error of a call over its rate.
func (s *Service) Throttled() *wire.Error { return wire.Errorf("Throttling", "Rate exceeded") }
