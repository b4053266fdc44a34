//go:build deploy

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	deploy "github.com/cloudcafe/analytics-worker/deploy/check"
)

// A minute of the template is a second here: of periods, warm-ups and lag alike.
// All else is as in the template, and as AWS does it.
const (
	faster = 60
	minute = time.Minute / faster
)

// What Auto Scaling adds to a policy that tracks a target: the alarms that it
// makes itself. It looks at capacity once a minute.
const (
	targetHighPeriods = 3
	targetLowPeriods  = 15
	targetLow         = 0.9 // of the target; above it nothing is taken away
)

// What one instance is let do, so that one is too few on any machine and two are
// enough: 100 records a second at the most, of 130 that come.
const (
	scaledShards    = 4
	scaledMax       = 2
	recordsPerRead  = 10
	timePerRead     = 100 * time.Millisecond
	scaledRate      = 130
	scaledOrders    = scaledRate * 26
	notYetEvaluated = 2 // newest periods of which data may still come
)

// group is what EC2 Auto Scaling and CloudWatch's alarms do with the template's
// policies, by hand.
type group struct {
	*fleet
	deploy.Group
	alarm  deploy.Alarm
	step   deploy.StepPolicy
	target deploy.TargetPolicy

	instances []*instance // oldest first
	launched  int
	cpu       []float64 // of the group on average, a period each, in percent
	most      int       // instances that a policy asked for
	lagging   bool      // the alarm is on
}

// newGroup reads the policies, and starts as many instances as the group has at
// the least.
func newGroup(t *testing.T, f *fleet) *group {
	t.Helper()
	template, err := deploy.Load("../../deploy/cloudformation/analytics-worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	stack, err := template.Fill(map[string]string{
		"ReleaseUrl": "s3://releases/analytics-worker_1.2.3_linux_arm64.tar.gz", "ReleaseSha256": strings.Repeat("0", 64),
		"VpcId": "vpc-1", "SubnetIds": "subnet-1", "RedshiftClusterId": "cloudcafe-redshift-dev",
		"ShardCount": strconv.Itoa(scaledShards), "MaxSize": strconv.Itoa(scaledMax),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	steps, targets := stack.Policies()
	if len(steps) != 1 || len(targets) != 1 || targets[0].Metric != "ASGAverageCPUUtilization" || !targets[0].ScaleIn {
		t.Fatalf("policies %+v and %+v: this test knows one of each", steps, targets)
	}
	g := &group{fleet: f, Group: stack.Group(), alarm: stack.Alarms()["LagScaleOutAlarm"], step: steps[0], target: targets[0]}
	if g.Max > len(f.open()) {
		t.Fatalf("up to %d instances for %d shards", g.Max, len(f.open()))
	}
	for range g.Min {
		g.launch()
	}
	return g
}

func (g *group) launch() {
	g.launched++
	g.instances = append(g.instances, g.newInstance(fmt.Sprintf("i-%017d", g.launched)))
}

// evaluate lets periods pass, and does what the policies say, until done.
func (g *group) evaluate(what string, done func() bool) {
	g.t.Helper()
	tick := time.NewTicker(minute)
	defer tick.Stop()
	for until := time.Now().Add(patience); !done(); {
		if time.Now().After(until) {
			g.t.Fatalf("waited in vain until %s: %d instances, CPU %.0f %%, lag alarm %v", what, len(g.instances), g.cpu, g.lagging)
		}
		<-tick.C
		g.measure()
		add := g.byCPU()
		if n := g.byLag(); g.lagging { // of two policies that would act, the one that gives the group more does
			add = max(add, n)
		}
		if done() {
			break
		}
		g.resize(add)
	}
	g.t.Logf("%s; %d instances", what, len(g.instances))
}

// byLag is what the step policy adds now. What warms up has been counted on
// already.
func (g *group) byLag() (add int) {
	data := g.data(g.alarm)
	g.lagging = len(data) >= g.alarm.Periods
	for _, lag := range data[max(0, len(data)-g.alarm.Periods):] {
		g.lagging = g.lagging && g.alarm.Breaches(lag)
	}
	if !g.lagging {
		return 0
	}
	newest := data[len(data)-1]
	add = max(0, g.step.Add(newest, g.alarm.Threshold)-g.warming(g.step.Warmup/faster))
	if add > 0 {
		g.t.Logf("%s: lag %.0f s for %d periods; %s adds %d to %d instances", g.alarm.Name, newest/1000, g.alarm.Periods, g.step.ID, add, len(g.instances))
	}
	return add
}

// byCPU is what tracking the target adds or, one at a time, takes.
func (g *group) byCPU() int {
	over := func(periods int, out func(float64) bool) bool {
		return len(g.cpu) >= periods && !slices.ContainsFunc(g.cpu[len(g.cpu)-periods:], func(v float64) bool { return !out(v) })
	}
	warming := g.warming(g.step.Warmup / faster)
	switch {
	case over(targetHighPeriods, func(v float64) bool { return v > g.target.Target }):
		return max(0, 1-warming)
	case warming == 0 && over(targetLowPeriods, func(v float64) bool { return v < targetLow*g.target.Target }):
		return -1
	}
	return 0
}

func (g *group) warming(long time.Duration) (n int) {
	for _, i := range g.instances {
		if time.Since(i.launched) < long {
			n++
		}
	}
	return n
}

// resize starts and ends instances, within the bounds of the group.
func (g *group) resize(add int) {
	g.t.Helper()
	wanted := len(g.instances) + add
	g.most = max(g.most, wanted)
	for size := min(max(wanted, g.Min), g.Max); size != len(g.instances); {
		if size > len(g.instances) {
			g.launch()
		} else {
			g.t.Logf("CPU %.0f %% for %d periods; %s takes one of %d instances", g.cpu[len(g.cpu)-1], targetLowPeriods, g.target.ID, len(g.instances))
			g.terminate(g.instances[0])
		}
	}
	if len(g.instances) > g.Max || len(g.instances) > scaledShards {
		g.t.Fatalf("%d instances, of at most %d, for %d shards", len(g.instances), g.Max, scaledShards)
	}
}

// The group of the template grows by the lag that real workers publish, and
// shrinks when their CPU idles; see docs/DEPLOY.md.
func TestTheGroupScales(t *testing.T) {
	f := newFleetOf(t, scaledShards)
	flow := start(t, f.env, "analytics-worker", "publish", "--count", strconv.Itoa(scaledOrders), "--rate", strconv.Itoa(scaledRate), "--bad", "0.01", "--seed", "31")
	g := newGroup(t, f)
	f.held(0, g.members()...)

	g.evaluate("the lag has added an instance", func() bool { return len(g.instances) > g.Min })
	if !g.lagging {
		t.Error("not the lag has added it, but the CPU")
	}
	began := time.Now()
	f.held(1, g.members()...)
	g.evaluate("the lag is gone", func() bool { return !g.lagging })
	t.Logf("%d instances caught up in %v, %s", len(g.instances), time.Since(began).Round(time.Millisecond), flowing(flow))
	if g.most <= g.Max {
		t.Errorf("the policies asked for %d instances at most: that the group stops at %d was not tried", g.most, g.Max)
	}

	if status := flow.exit(patience); status != 0 {
		t.Fatalf("publish ended with status %d", status)
	}
	f.settled(scaledOrders)
	g.cpu = nil // from here on it idles
	g.evaluate("the idle group has shrunk", func() bool { return len(g.instances) == g.Min })
	f.held(0, g.members()...)
	f.settled(scaledOrders)
}

func flowing(p *process) string {
	select {
	case <-p.done:
		return "the last order had come by then"
	default:
		return "and orders came as fast as before"
	}
}
