package check

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/storm"
)

const (
	templateFile = "../cloudformation/analytics-worker.yaml"
	namespace    = "CloudCafe/Analytics"
)

// filled is what must be given besides a warehouse.
func filled(more map[string]string) map[string]string {
	values := map[string]string{
		"ReleaseUrl":    "s3://releases/analytics-worker_1.2.3_linux_arm64.tar.gz",
		"ReleaseSha256": strings.Repeat("0", 64), "VpcId": "vpc-1", "SubnetIds": "subnet-1,subnet-2",
	}
	maps.Copy(values, more)
	return values
}

var onCluster = map[string]string{"RedshiftClusterId": "cloudcafe-redshift-dev"}

func load(t *testing.T) *Template {
	t.Helper()
	template, err := Load(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	return template
}

func stack(t *testing.T, values map[string]string) *Stack {
	t.Helper()
	s, err := load(t).Fill(filled(values), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A template that is handed over in the call may have 51,200 bytes; a larger one
// needs a bucket of its own, which the documented command does not name.
func TestTheTemplateIsDeployedWithoutABucket(t *testing.T) {
	text, err := os.ReadFile(templateFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 51200 {
		t.Errorf("the template has %d bytes", len(text))
	}
}

func TestRefusedParameters(t *testing.T) {
	template := load(t)
	for name, c := range map[string]struct {
		values map[string]string
		want   string // part of the refusal; empty = accepted
	}{
		"a cluster":            {onCluster, ""},
		"a workgroup":          {map[string]string{"RedshiftWorkgroup": "orders"}, ""},
		"no warehouse":         {nil, "Name a warehouse"},
		"both":                 {map[string]string{"RedshiftClusterId": "a", "RedshiftWorkgroup": "b"}, "not both"},
		"instances for shards": {map[string]string{"RedshiftClusterId": "a", "MaxSize": "8", "ShardCount": "8"}, ""},
		"more than shards":     {map[string]string{"RedshiftClusterId": "a", "MaxSize": "8", "ShardCount": "7"}, "above ShardCount"},
		"far more than shards": {map[string]string{"RedshiftClusterId": "a", "MaxSize": "32", "ShardCount": "31"}, "above ShardCount"},
		"two of one":           {map[string]string{"RedshiftClusterId": "a", "MaxSize": "2", "ShardCount": "1"}, "above ShardCount"},
		"a shard more":         {map[string]string{"RedshiftClusterId": "a", "MaxSize": "16", "ShardCount": "17"}, ""},
		"shards in disguise":   {map[string]string{"RedshiftClusterId": "a", "MaxSize": "4", "ShardCount": "03"}, "does not match"},
		"medium on amd64":      {map[string]string{"RedshiftClusterId": "a", "Architecture": "amd64"}, "medium is for arm64"},
		"a shell in a name":    {map[string]string{"RedshiftClusterId": "a", "RedshiftDatabase": "x'; reboot; '"}, "does not match"},
		"a drain too long":     {map[string]string{"RedshiftClusterId": "a", "DrainTimeout": "901"}, "within its bounds"},
	} {
		_, err := template.Fill(filled(c.values), nil)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: error %v, want one that says %q", name, err, c.want)
		}
	}
}

// MaxSize is held against the shards for every size that may be chosen: a size
// without a rule would be the way around it.
func TestNeverMoreInstancesThanShards(t *testing.T) {
	template := load(t)
	for _, size := range template.Parameters["MaxSize"].AllowedValues {
		for shards := 1; shards <= 40; shards++ {
			_, err := template.Fill(filled(map[string]string{"RedshiftClusterId": "a", "MaxSize": size, "ShardCount": str(shards)}), nil)
			if fits := number(size) <= float64(shards); fits != (err == nil) {
				t.Errorf("MaxSize %s, ShardCount %d: %v", size, shards, err)
			}
		}
	}
}

// What the report of Query Storm tells about alarms and scaling is what is deployed.
func TestAlarmsOfTheStormAreThoseOfTheTemplate(t *testing.T) {
	s := stack(t, onCluster)
	alarms := s.Alarms()
	_, targets := s.Policies()
	for _, want := range storm.Alarms() {
		if want.Metric == "CPUUtilization" {
			// Auto Scaling itself makes the alarm of a target: three periods of a minute.
			if len(targets) != 1 || targets[0].Target != want.Threshold || targets[0].Metric != "ASGAverageCPUUtilization" ||
				want.Period != time.Minute || want.Periods != 3 {
				t.Errorf("%s: above %v for %d × %v, and the template's policies are %+v", want.Name, want.Threshold, want.Periods, want.Period, targets)
			}
			continue
		}
		id := map[string]string{"scale-out-on-lag": "LagScaleOutAlarm", "lag": "LagAlarm"}[want.Name]
		a := alarms[id]
		if a.Metric != want.Metric || a.Statistic != string(want.Statistic) || a.Threshold != want.Threshold || a.Period != want.Period || a.Periods != want.Periods {
			t.Errorf("%s: %s above %v for %d × %v, and the template's %q is %+v", want.Name, want.Metric, want.Threshold, want.Periods, want.Period, id, a)
		}
	}
	if monitoring := object(object(s.Resources["LaunchTemplate"].Properties["LaunchTemplateData"])["Monitoring"]); str(monitoring["Enabled"]) != "true" {
		t.Error("without detailed monitoring the CPU comes every five minutes, and not every minute")
	}
}

func TestScaling(t *testing.T) {
	s := stack(t, onCluster)
	steps, _ := s.Policies()
	alarm := s.Alarms()["LagScaleOutAlarm"]
	if len(steps) != 2 || !slices.Contains(alarm.Actions, "analytics-worker-scaleoutonlag") {
		t.Fatalf("policies %+v, actions of the alarm %q", steps, alarm.Actions)
	}
	for lag, want := range map[float64]int{59_000: 0, 60_001: 1, 299_999: 1, 300_000: 2, 86_400_000: 2} {
		if got := steps["ScaleOutOnLag"].Add(lag, alarm.Threshold); got != want {
			t.Errorf("at %v ms behind: %d instances more, want %d", lag, got, want)
		}
	}
	if alarm.Missing != "notBreaching" {
		t.Errorf("missing data are %s: a silent fleet would grow to its largest", alarm.Missing)
	}
}

// What takes an instance away must never be what the next minute brings back.
func TestScalingInIsNotUndone(t *testing.T) {
	s := stack(t, map[string]string{"RedshiftClusterId": "a", "MinSize": "1", "MaxSize": "4"})
	steps, targets := s.Policies()
	alarms := s.Alarms()
	idle, lagging := alarms["IdleAlarm"], alarms["LagScaleOutAlarm"]
	if len(targets) != 1 || targets[0].ScaleIn {
		t.Errorf("%+v takes instances away too, whatever lags", targets)
	}
	if !slices.Contains(idle.Actions, "analytics-worker-scaleinwhenidle") || idle.Missing != "notBreaching" || idle.Periods != 15 {
		t.Fatalf("the alarm of an idle group: %+v", idle)
	}
	const each = 1800 * 60 // what an instance loads with ease, in a minute
	for name, c := range map[string]struct {
		n, cpu, lag, records float64
		want                 bool
	}{
		"nothing comes":                            {2, 1, 0, 0, true},
		"the least there may be":                   {1, 1, 0, 0, false},
		"one can have it":                          {2, 20, 0, each - 1, true},
		"one cannot load it, though its CPU could": {2, 2, 0, each, false},
		"two can load what three do":               {3, 20, 0, 2*each - 1, true},
		"two cannot":                               {3, 20, 0, 2 * each, false},
		"one could not compute it":                 {2, 30, 0, 0, false},
		"three could compute it":                   {4, 44, 0, 0, true},
		"three could not":                          {4, 45, 0, 0, false},
		"it lags, and a warehouse is in the way":   {4, 1, 3_600_000, 0, false},
		"it lags a little less than it may":        {4, 1, 30_000, 0, false},
	} {
		value, has, err := idle.Value(map[string]float64{"n": c.n, "cpu": c.cpu, "lag": c.lag, "records": c.records})
		if err != nil || !has || idle.Breaches(value) != c.want {
			t.Errorf("%s: %v, %v, %v; want %v", name, value, has, err, c.want)
		}
		if !c.want {
			continue
		}
		if add := steps["ScaleInWhenIdle"].Add(value, idle.Threshold); add != -1 {
			t.Errorf("%s: the group changes by %d", name, add)
		}
		if after := c.cpu * c.n / (c.n - 1); after > targets[0].Target || lagging.Breaches(c.lag) {
			t.Errorf("%s: with one less the CPU is %.0f %%, or the lag adds one again", name, after)
		}
	}
	for _, silent := range []string{"n", "cpu", "lag", "records"} {
		values := map[string]float64{"n": 2, "cpu": 1, "lag": 0, "records": 0}
		delete(values, silent)
		if _, has, err := idle.Value(values); has || err != nil {
			t.Errorf("without %s the group is idle all the same (%v)", silent, err)
		}
	}
	known := published(t, new(metrics.Metrics))
	for id, m := range idle.Of {
		switch m.Namespace {
		case namespace:
			if _, ok := known[m.Name]; !ok || !maps.Equal(m.Dimensions, map[string]string{"Environment": "dev"}) {
				t.Errorf("%s: nobody sends %+v", id, m)
			}
		default:
			if !maps.Equal(m.Dimensions, map[string]string{"AutoScalingGroupName": s.Group().Name}) {
				t.Errorf("%s: %+v is not of the group", id, m)
			}
		}
		if m.Period != time.Minute {
			t.Errorf("%s: %v", id, m.Period)
		}
	}
	if shown := texts(object(list(s.Resources["Workers"].Properties["MetricsCollection"])[0])["Metrics"]); !slices.Contains(shown, idle.Of["n"].Name) {
		t.Errorf("the group tells %q, and not %s", shown, idle.Of["n"].Name)
	}
}

func TestStalled(t *testing.T) {
	alarm := stack(t, onCluster).Alarms()["StalledAlarm"]
	for name, c := range map[string]struct {
		values map[string]float64
		want   bool
	}{
		"records come and go":               {map[string]float64{"incoming": 5, "processed": 5}, false},
		"none is loaded":                    {map[string]float64{"incoming": 5, "processed": 0}, true},
		"nobody says that any is loaded":    {map[string]float64{"incoming": 5}, true},
		"none comes":                        {map[string]float64{"processed": 0}, false},
		"nobody has anything to say at all": {nil, false},
	} {
		if value, has, err := alarm.Value(c.values); err != nil || !has || alarm.Breaches(value) != c.want {
			t.Errorf("%s: %v, %v, %v", name, value, has, err)
		}
	}
}

func TestMath(t *testing.T) {
	values := map[string]float64{"a": 2, "b": 3}
	for expression, want := range map[string]float64{
		"a + b * a": 8, "(a + b) * a": 10, "a - b - 1": -2, "a / b * 3": 2, "a < b AND b <= 3": 1, "a > b OR b != 3": 0, "a == 2": 1,
		"IF(a >= 2, b, 7.5)": 3, "IF(a > 2, b, 7.5)": 7.5, "FILL(c, 4) + a": 6, "FILL(b, 4)": 3,
	} {
		if got, has, err := Math(expression, values); err != nil || !has || got != want {
			t.Errorf("%s is %v, %v, %v; want %v", expression, got, has, err, want)
		}
	}
	for _, expression := range []string{"c", "a + c", "IF(c, 1, 2)", "IF(a, c, 2)"} {
		if got, has, err := Math(expression, values); err != nil || has {
			t.Errorf("%s is %v, %v; c has no value", expression, got, err)
		}
	}
	for _, expression := range []string{"", "a +", "(a", "a b", "IF(a, b)", "MAX(a)", "a & b", "FILL(a, b, 1)"} {
		if got, has, err := Math(expression, values); err == nil {
			t.Errorf("%q is %v, %v; want it refused", expression, got, has)
		}
	}
}

// published is the metrics that the program sends, with their units, by set.
func published(t *testing.T, set any) map[string]string {
	t.Helper()
	declared, err := metrics.Declared(set)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, d := range declared {
		if d.CloudWatch != "" {
			out[d.CloudWatch] = d.Unit
		}
	}
	return out
}

func TestAlarms(t *testing.T) {
	s := stack(t, onCluster)
	known := published(t, new(metrics.Metrics))
	watched := map[string]bool{}
	for id, a := range s.Alarms() {
		if len(a.Actions) == 0 {
			t.Errorf("%s tells nobody", id)
		}
		if len(a.Description) < 60 || len(a.Description) > 1024 {
			t.Errorf("%s: the description must say what to do, in at most 1,024 characters: %q", id, a.Description)
		}
		if !slices.Contains([]string{"breaching", "notBreaching", "ignore"}, a.Missing) {
			t.Errorf("%s does not say what missing data mean", id)
		}
		if !strings.HasPrefix(a.Name, StackName+"-") {
			t.Errorf("%s is named %q: two stacks would have the same", id, a.Name)
		}
		if a.Expression != "" {
			continue
		}
		watched[a.Metric] = true
		if _, ok := known[a.Metric]; !ok || a.Namespace != namespace {
			t.Errorf("%s watches %s in %s, which nobody sends", id, a.Metric, a.Namespace)
		}
		if !maps.Equal(a.Dimensions, map[string]string{"Environment": "dev"}) {
			t.Errorf("%s: dimensions %v are not those of what is sent", id, a.Dimensions)
		}
	}
	for _, m := range []string{"MillisBehindLatest", "RetentionHeadroom", "RecordsProcessed", "RecordsRejected", "WorkerError", "RedshiftWriteError", "ShardProcessingError", "RedshiftWriteDuration"} {
		if !watched[m] {
			t.Errorf("no alarm watches %s", m)
		}
	}
	if a := s.Alarms()["NoDataAlarm"]; a.Missing != "breaching" {
		t.Errorf("the alarm for no data takes missing data for %s", a.Missing)
	}
}

// The dashboard shows each metric that is sent, with the dimension that it is sent with, and none that is not.
func TestDashboard(t *testing.T) {
	s := stack(t, onCluster)
	var body struct {
		Widgets []struct {
			X, Y, Width int // a height that is not given is 6
			Properties  struct{ Metrics [][]any }
		}
	}
	text := str(s.Resources["Dashboard"].Properties["DashboardBody"])
	if err := json.Unmarshal([]byte(text), &body); err != nil {
		t.Fatalf("the dashboard is no JSON: %v", err)
	}
	shown := map[string]bool{}
	for _, w := range body.Widgets {
		if w.X+w.Width > 24 || w.Width == 0 {
			t.Errorf("a widget at %d,%d does not fit the 24 columns", w.X, w.Y)
		}
		var before []string
		for _, m := range w.Properties.Metrics {
			var row []string
			for i, v := range m {
				if field, ok := v.(string); ok {
					if field == "." {
						field = before[i]
					}
					row = append(row, field)
				}
			}
			before = row
			if row[0] == namespace {
				shown[strings.Join(row[1:], " ")] = true
			}
		}
	}
	want := map[string]bool{}
	for name := range published(t, new(metrics.Metrics)) {
		want[name+" Environment dev"] = true
	}
	for name := range published(t, new(metrics.Storm)) {
		want[name+" Scenario QueryStorm"] = true
	}
	if len(want) < 20 || !maps.Equal(shown, want) {
		t.Errorf("shown: %q\nsent: %q", slices.Sorted(maps.Keys(shown)), slices.Sorted(maps.Keys(want)))
	}
}

// What holds data outlives the stack.
func TestDataIsRetained(t *testing.T) {
	s := stack(t, onCluster)
	for _, kind := range []string{"AWS::Kinesis::Stream", "AWS::DynamoDB::Table", "AWS::S3::Bucket", "AWS::Logs::LogGroup"} {
		found := s.Of(kind)
		if len(found) == 0 {
			t.Errorf("no %s", kind)
		}
		for id, r := range found {
			policy := "RetainExceptOnCreate" // or a stack that failed leaves a name that the next attempt wants
			if kind == "AWS::S3::Bucket" {
				policy = "Retain" // it has no such name, and what is in it keeps it from being deleted
			}
			if str(r.Whole["DeletionPolicy"]) != policy || str(r.Whole["UpdateReplacePolicy"]) != "Retain" {
				t.Errorf("%s is deleted with the stack, when it is replaced, or left when it was made in vain", id)
			}
		}
	}
	if s := stack(t, map[string]string{"RedshiftClusterId": "a", "NewStream": "no"}); len(s.Of("AWS::Kinesis::Stream")) != 0 {
		t.Error("an existing stream would be made")
	}
}

func TestBuckets(t *testing.T) {
	s := stack(t, onCluster)
	for id, r := range s.Of("AWS::S3::Bucket") {
		for setting, v := range object(r.Properties["PublicAccessBlockConfiguration"]) {
			if v != true {
				t.Errorf("%s: %s is %v", id, setting, v)
			}
		}
		if r.Properties["BucketEncryption"] == nil || len(object(r.Properties["PublicAccessBlockConfiguration"])) != 4 {
			t.Errorf("%s is not private and encrypted", id)
		}
		p := s.ManagedPolicy(id + "Policy")
		if len(p.Statement) != 1 || p.Statement[0].Effect != "Deny" || p.Statement[0].Condition["Bool"]["aws:SecureTransport"] != "false" {
			t.Errorf("%s: its policy %+v lets in more than TLS", id, p)
		}
	}
	staging, letters := s.Resources["StagingBucket"].Properties, s.Resources["DeadLetterBucket"].Properties
	if !strings.Contains(str(staging["LifecycleConfiguration"]), "ExpirationInDays") {
		t.Error("staged files that a killed worker left would stay")
	}
	if strings.Contains(str(letters["LifecycleConfiguration"]), `"ExpirationInDays"`) {
		t.Error("letters expire: each is a record that is nowhere else")
	}
}

func TestInstances(t *testing.T) {
	s := stack(t, onCluster)
	data := object(s.Resources["LaunchTemplate"].Properties["LaunchTemplateData"])
	if m := object(data["MetadataOptions"]); str(m["HttpTokens"]) != "required" || str(m["HttpPutResponseHopLimit"]) != "1" {
		t.Errorf("metadata options %v: version 1 must be off", m)
	}
	ebs := object(object(list(data["BlockDeviceMappings"])[0])["Ebs"])
	if str(ebs["Encrypted"]) != "true" {
		t.Error("the disk is not encrypted")
	}
	if !strings.HasSuffix(str(data["ImageId"]), "al2023-ami-kernel-default-arm64}}") {
		t.Errorf("the default image is %v", data["ImageId"])
	}
	for _, size := range []string{"large", "xlarge"} {
		s := stack(t, map[string]string{"RedshiftClusterId": "a", "Architecture": "amd64", "InstanceSize": size})
		g := s.Group()
		if image := str(object(s.Resources["LaunchTemplate"].Properties["LaunchTemplateData"])["ImageId"]); !strings.HasSuffix(image, "-x86_64}}") {
			t.Errorf("amd64 gets the image %s", image)
		}
		for _, kind := range g.InstanceTypes {
			if !strings.HasSuffix(kind, "."+size) {
				t.Errorf("%s draws from %q", size, g.InstanceTypes)
			}
		}
	}
	group := s.Resources["Workers"].Properties
	if str(group["CapacityRebalance"]) != "true" || len(list(group["VPCZoneIdentifier"])) != 2 {
		t.Errorf("the group does not rebalance, or has one zone: %v", group)
	}
}

var hookPrefix = regexp.MustCompile(`const workerHook = "([^"]+)"`)

// The hook that holds an ending instance has a name that the worker heeds, and
// waits longer than the longest drain.
func TestTheHookWaitsForTheDrain(t *testing.T) {
	source, err := os.ReadFile("../../internal/aws/instance.go")
	if err != nil {
		t.Fatal(err)
	}
	m := hookPrefix.FindSubmatch(source)
	if m == nil {
		t.Fatal("internal/aws does not say any more which hook it heeds")
	}
	template := load(t)
	longest := time.Duration(*template.Parameters["DrainTimeout"].Max) * time.Second
	found := false
	for _, h := range stack(t, onCluster).Group().Hooks {
		if h.Transition != "autoscaling:EC2_INSTANCE_TERMINATING" {
			continue
		}
		found = true
		if !strings.HasPrefix(h.Name, string(m[1])) || h.Default != "CONTINUE" || h.Timeout < longest+time.Minute {
			t.Errorf("hook %+v: the longest drain is %v, and its name must begin with %s", h, longest, m[1])
		}
	}
	if !found {
		t.Error("no hook holds an ending instance")
	}
}
