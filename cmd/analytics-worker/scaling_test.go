//go:build deploy

package main

import (
	"fmt"
	"maps"
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

// What Auto Scaling adds to a policy that tracks a target: the alarm that it makes
// itself. It looks at capacity once a minute.
const targetHighPeriods = 3

// What one instance is let do, so that one is too few on any machine and two are
// enough: 100 records a second at the most, of 130 that come.
const (
	scaledShards    = 4
	scaledMax       = 2
	recordsPerRead  = 10
	timePerRead     = 100 * time.Millisecond
	scaledRate      = 130
	scaledOrders    = scaledRate * 26
	scaledOn        = scaledRate * 45 // that come when the lag is gone
	scaledEasy      = 70              // records a second that an instance loads with ease
	notYetEvaluated = 2               // newest periods of which data may still come
	longestAlarm    = 20              // periods that are looked at
)

// group is what EC2 Auto Scaling and CloudWatch's alarms do with the template's
// policies, by hand.
type group struct {
	*fleet
	deploy.Group
	alarm, idle deploy.Alarm
	out, in     deploy.StepPolicy
	target      deploy.TargetPolicy

	instances []*instance // oldest first
	launched  int
	cpu       []float64 // of the group on average, a period each, in percent
	most      int       // instances that a policy asked for
	lagging   bool      // the alarm is on
	quiet     bool      // the alarm of an idle group is on

	past map[int64]groupAt // by the second: what CloudWatch gets from EC2 and Auto Scaling
	kept map[int64]bool    // seconds in which nothing but the records kept the second instance
}

// groupAt is the group in a period.
type groupAt struct{ cpu, n float64 }

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
		"ShardCount": strconv.Itoa(scaledShards), "MaxSize": strconv.Itoa(scaledMax), "RecordsPerInstance": strconv.Itoa(scaledEasy),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	steps, targets := stack.Policies()
	if len(steps) != 2 || len(targets) != 1 || targets[0].Metric != "ASGAverageCPUUtilization" || targets[0].ScaleIn {
		t.Fatalf("policies %+v and %+v: this test knows two that step, and one that tracks a target outwards", steps, targets)
	}
	g := &group{
		fleet: f, Group: stack.Group(), alarm: stack.Alarms()["LagScaleOutAlarm"], idle: stack.Alarms()["IdleAlarm"],
		out: steps["ScaleOutOnLag"], in: steps["ScaleInWhenIdle"], target: targets[0], past: map[int64]groupAt{}, kept: map[int64]bool{},
	}
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
		add := g.byIdling()
		if n := max(g.byCPU(), g.byLag()); n > 0 || g.lagging { // of policies that would act, the one that gives the group more does
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
	data := g.latest(g.alarm)
	g.lagging = len(data) >= g.alarm.Periods
	for _, lag := range data[max(0, len(data)-g.alarm.Periods):] {
		g.lagging = g.lagging && g.alarm.Breaches(lag)
	}
	if !g.lagging {
		return 0
	}
	newest := data[len(data)-1]
	add = max(0, g.out.Add(newest, g.alarm.Threshold)-g.warming())
	if add > 0 {
		g.t.Logf("%s: lag %.0f s for %d periods; %s adds %d to %d instances", g.alarm.Name, newest/1000, g.alarm.Periods, g.out.ID, add, len(g.instances))
	}
	return add
}

// byCPU is what tracking the target adds.
func (g *group) byCPU() int {
	if len(g.cpu) < targetHighPeriods || slices.ContainsFunc(g.cpu[len(g.cpu)-targetHighPeriods:], func(v float64) bool { return v <= g.target.Target }) {
		return 0
	}
	return max(0, 1-g.warming())
}

// byIdling is what the policy of an idle group takes away: nothing while an instance
// warms up.
func (g *group) byIdling() int {
	g.t.Helper()
	lag, records := g.series(g.idle.Of["lag"]), g.series(g.idle.Of["records"])
	var values []float64
	for _, second := range slices.Sorted(maps.Keys(lag)) {
		at, known := g.past[second]
		processed, told := records[second]
		if !known || !told {
			continue
		}
		of := map[string]float64{"cpu": at.cpu, "n": at.n, "lag": lag[second], "records": processed}
		values = append(values, g.value(of))
		of["records"] = 0
		if len(g.instances) > g.Min && at.n == float64(len(g.instances)) && !g.idle.Breaches(values[len(values)-1]) && g.idle.Breaches(g.value(of)) {
			g.kept[second] = true
		}
	}
	last := values[max(0, len(values)-g.idle.Periods):]
	g.quiet = len(last) == g.idle.Periods && !slices.ContainsFunc(last, func(v float64) bool { return !g.idle.Breaches(v) })
	if !g.quiet || g.warming() > 0 {
		return 0
	}
	return g.in.Add(last[len(last)-1], g.idle.Threshold)
}

func (g *group) value(of map[string]float64) float64 {
	g.t.Helper()
	v, has, err := g.idle.Value(of)
	if err != nil || !has {
		g.t.Fatalf("%s of %v: %v, %v", g.idle.Name, of, has, err)
	}
	return v
}

func (g *group) warming() (n int) {
	for _, i := range g.instances {
		if time.Since(i.launched) < g.out.Warmup/faster {
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
			g.t.Logf("%s for %d periods, CPU %.0f %% now; %s takes one of %d instances", g.idle.Name, g.idle.Periods, g.cpu[len(g.cpu)-1], g.in.ID, len(g.instances))
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
	// Neither CPU nor lag says that the load is more than one can have: the records do.
	flow = start(t, f.env, "analytics-worker", "publish", "--count", strconv.Itoa(scaledOn), "--rate", strconv.Itoa(scaledRate), "--bad", "0.01", "--seed", "32")
	g.kept = map[int64]bool{}
	g.evaluate("the load has kept what the lag added", func() bool { return len(g.kept) >= g.idle.Periods })
	if len(g.instances) != g.Max || g.lagging {
		t.Errorf("%d instances, lag alarm %v: the group flaps", len(g.instances), g.lagging)
	}
	t.Logf("%d periods with CPU %.0f %% and no lag, %s", len(g.kept), g.cpu[len(g.cpu)-1], flowing(flow))
	if status := flow.exit(patience); status != 0 {
		t.Fatalf("publish ended with status %d", status)
	}
	f.settled(scaledOrders + scaledOn)
	g.evaluate("the idle group has shrunk", func() bool { return len(g.instances) == g.Min })
	f.held(0, g.members()...)
	f.settled(scaledOrders + scaledOn)
}

func flowing(p *process) string {
	select {
	case <-p.done:
		return "the last order had come by then"
	default:
		return "and orders came as fast as before"
	}
}
