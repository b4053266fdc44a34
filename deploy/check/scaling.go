package check

import (
	"math"
	"time"
)

// Metric is one that an expression is made of.
type Metric struct {
	Namespace, Name string
	Dimensions      map[string]string
	Statistic       string
	Period          time.Duration
}

// Alarm is a CloudWatch alarm. One on an expression has no metric of its own; Of is
// those that the expression is made of, by their ids in it.
type Alarm struct {
	ID, Name, Description string
	Namespace, Metric     string
	Dimensions            map[string]string
	Statistic             string
	Period                time.Duration
	Periods               int // that must breach in a row
	Threshold             float64
	Comparison            string // GreaterThanThreshold, LessThanThreshold
	Missing               string // breaching, notBreaching, ignore
	Actions               []string
	Expression            string
	Of                    map[string]Metric
}

// Breaches reports whether one value is on the wrong side of the threshold.
func (a Alarm) Breaches(value float64) bool {
	if a.Comparison == "LessThanThreshold" {
		return value < a.Threshold
	}
	return value > a.Threshold
}

// Alarms is the alarms of a stack, by logical id.
func (s *Stack) Alarms() map[string]Alarm {
	out := map[string]Alarm{}
	for id, r := range s.Of("AWS::CloudWatch::Alarm") {
		p := r.Properties
		a := Alarm{
			ID: id, Name: str(p["AlarmName"]), Description: str(p["AlarmDescription"]),
			Namespace: str(p["Namespace"]), Metric: str(p["MetricName"]), Dimensions: dimensions(p["Dimensions"]), Statistic: str(p["Statistic"]),
			Period: seconds(p["Period"]), Periods: int(number(p["EvaluationPeriods"])),
			Threshold: number(p["Threshold"]), Comparison: str(p["ComparisonOperator"]), Missing: str(p["TreatMissingData"]),
			Actions: texts(p["AlarmActions"]),
		}
		for _, m := range list(p["Metrics"]) {
			if e := str(object(m)["Expression"]); e != "" {
				a.Expression = e
				continue
			}
			if a.Of == nil {
				a.Of = map[string]Metric{}
			}
			stat := object(object(m)["MetricStat"])
			metric := object(stat["Metric"])
			a.Of[str(object(m)["Id"])] = Metric{
				str(metric["Namespace"]), str(metric["MetricName"]), dimensions(metric["Dimensions"]), str(stat["Stat"]), seconds(stat["Period"]),
			}
		}
		out[id] = a
	}
	return out
}

func dimensions(v any) map[string]string {
	out := map[string]string{}
	for _, d := range list(v) {
		out[str(object(d)["Name"])] = str(object(d)["Value"])
	}
	return out
}

func seconds(v any) time.Duration { return time.Duration(number(v)) * time.Second }

// Step is one of a step policy: what is added to the capacity while the metric
// is within [Lower, Upper) above the alarm's threshold.
type Step struct {
	Lower, Upper float64 // infinite where not bounded
	Add          int
}

// StepPolicy changes the number of instances while an alarm is on, once a minute.
type StepPolicy struct {
	ID     string
	Steps  []Step
	Warmup time.Duration // for which a new instance is not counted on
}

// Add is by how many instances the policy changes the group, for a value of the
// metric and the threshold of its alarm.
func (p StepPolicy) Add(value, threshold float64) int {
	for _, s := range p.Steps {
		if over := value - threshold; over >= s.Lower && over < s.Upper {
			return s.Add
		}
	}
	return 0
}

// TargetPolicy keeps a metric of the group at a value.
type TargetPolicy struct {
	ID, Metric string // predefined, such as ASGAverageCPUUtilization
	Target     float64
	ScaleIn    bool
}

// Policies is the scaling policies of a stack, those by steps by their logical ids.
func (s *Stack) Policies() (steps map[string]StepPolicy, targets []TargetPolicy) {
	steps = map[string]StepPolicy{}
	for id, r := range s.Of("AWS::AutoScaling::ScalingPolicy") {
		p := r.Properties
		if t := object(p["TargetTrackingConfiguration"]); t != nil {
			targets = append(targets, TargetPolicy{
				id, str(object(t["PredefinedMetricSpecification"])["PredefinedMetricType"]), number(t["TargetValue"]), str(t["DisableScaleIn"]) != "true",
			})
			continue
		}
		policy := StepPolicy{ID: id, Warmup: seconds(p["EstimatedInstanceWarmup"])}
		for _, v := range list(p["StepAdjustments"]) {
			step := Step{math.Inf(-1), math.Inf(1), int(number(object(v)["ScalingAdjustment"]))}
			if lower, ok := object(v)["MetricIntervalLowerBound"]; ok {
				step.Lower = number(lower)
			}
			if upper, ok := object(v)["MetricIntervalUpperBound"]; ok {
				step.Upper = number(upper)
			}
			policy.Steps = append(policy.Steps, step)
		}
		steps[id] = policy
	}
	return steps, targets
}

// Hook is a lifecycle hook of a group.
type Hook struct {
	Name, Transition, Default string
	Timeout                   time.Duration
}

// Group is the Auto Scaling group.
type Group struct {
	Name          string
	Min, Max      int
	InstanceTypes []string
	Hooks         []Hook
	UserData      string // of its launch template, as text
}

// Group is the stack's only Auto Scaling group.
func (s *Stack) Group() Group {
	p := s.Resources["Workers"].Properties
	g := Group{Name: str(p["AutoScalingGroupName"]), Min: int(number(p["MinSize"])), Max: int(number(p["MaxSize"]))}
	for _, o := range list(object(object(p["MixedInstancesPolicy"])["LaunchTemplate"])["Overrides"]) {
		g.InstanceTypes = append(g.InstanceTypes, str(object(o)["InstanceType"]))
	}
	for _, v := range list(p["LifecycleHookSpecificationList"]) {
		h := object(v)
		g.Hooks = append(g.Hooks, Hook{str(h["LifecycleHookName"]), str(h["LifecycleTransition"]), str(h["DefaultResult"]), seconds(h["HeartbeatTimeout"])})
	}
	g.UserData = str(object(s.Resources["LaunchTemplate"].Properties["LaunchTemplateData"])["UserData"])
	return g
}
