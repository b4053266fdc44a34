//go:build deploy

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	deploy "github.com/cloudcafe/analytics-worker/deploy/check"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/imds"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// instance is a worker with metadata of its own, and a way to the stream that
// lets it read no more than a small instance could.
type instance struct {
	*member
	id       string
	metadata *httptest.Server
	launched time.Time
	used     time.Duration // CPU time of the process, as last looked at
	looked   time.Time
}

func (g *group) newInstance(id string) *instance {
	g.t.Helper()
	service := imds.New()
	metadata := serve(g.t, endpoint.New(endpoint.Options{
		Services: []wire.Service{service}, Admin: map[string]http.Handler{"imds": service.Admin()},
	}))
	i := &instance{id: id, metadata: metadata, launched: time.Now(), looked: time.Now()}
	g.tell(i, "instance-id", id)
	i.member = g.join(
		"AWS_EC2_METADATA_DISABLED=false", "AWS_EC2_METADATA_SERVICE_ENDPOINT="+metadata.URL,
		"AWS_ENDPOINT_URL_KINESIS="+serve(g.t, newNarrow(g.t, g.url)).URL,
		"METRICS_INTERVAL=1", "LOAD_INTERVAL=1",
	)
	return i
}

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// tell sets what the instance's metadata say.
func (g *group) tell(i *instance, path, text string) {
	g.t.Helper()
	body := fmt.Sprintf("{%q:%q}", path, text)
	request, err := http.NewRequest(http.MethodPut, i.metadata.URL+"/_localaws/imds", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	g.do(request)
}

// narrows lets reads through one after the other, each with a few records: so much
// can be done on the instance, whatever the machine is.
type narrows struct {
	t    testing.TB
	next *httputil.ReverseProxy
	turn chan struct{}
}

func newNarrow(t testing.TB, to string) *narrows {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	n := &narrows{t: t, next: httputil.NewSingleHostReverseProxy(target), turn: make(chan struct{}, 1)}
	n.next.Transport = transport
	n.next.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) } // the worker asks again, or has ended
	return n
}

func (n *narrows) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetRecords") {
		select {
		case n.turn <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		defer func() { <-n.turn }()
		if err := shorten(r); err != nil {
			n.t.Errorf("a read in another form: %v", err)
		}
		<-time.After(timePerRead)
	}
	n.next.ServeHTTP(w, r)
}

// shorten has a GetRecords ask for no more than a few records.
func shorten(r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil // the worker has ended
	}
	var members map[string]any
	if err := cbor.Unmarshal(body, &members); err != nil {
		return err
	}
	members["Limit"] = recordsPerRead
	if body, err = cbor.Marshal(members); err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return nil
}

func (g *group) members() (out []*member) {
	for _, i := range g.instances {
		out = append(out, i.member)
	}
	return out
}

// measure is CPUUtilization of the group, which on EC2 comes from the machines:
// here from the processes, as if each had one processor.
func (g *group) measure() {
	g.t.Helper()
	sum := 0.0
	for _, i := range g.instances {
		now, used := time.Now(), cpuTime(g.t, i.cmd.Process.Pid)
		sum += 100 * (used - i.used).Seconds() / now.Sub(i.looked).Seconds()
		i.used, i.looked = used, now
	}
	mean := sum / float64(len(g.instances))
	g.cpu = append(g.cpu, mean)
	g.past[time.Now().Unix()] = groupAt{mean, float64(len(g.instances))}
}

// clockTicks is how many a second /proc counts in, on every machine that Go runs on.
const clockTicks = 100

// cpuTime is what a process has used of processors so far.
func cpuTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte(") ")) // the name may hold blanks
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		t.Fatalf("/proc says %q", text)
	}
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / clockTicks
}

// latest is what the alarm looks at: its statistic of the latest periods of which
// there are data, oldest first.
func (g *group) latest(a deploy.Alarm) (out []float64) {
	g.t.Helper()
	data := g.series(deploy.Metric{Namespace: a.Namespace, Name: a.Metric, Dimensions: a.Dimensions, Statistic: a.Statistic, Period: a.Period})
	for _, second := range slices.Sorted(maps.Keys(data)) {
		out = append(out, data[second])
	}
	return out
}

// series is a metric of the workers in the latest periods of which all data have come,
// by the second in which each begins. As the periods are shorter, a lag is as much longer,
// and the records of one are as many more.
func (g *group) series(m deploy.Metric) map[int64]float64 {
	g.t.Helper()
	if m.Period != time.Minute || m.Name != "MillisBehindLatest" && m.Name != "RecordsProcessed" {
		g.t.Fatalf("the metric is another: %+v", m)
	}
	var dimensions []map[string]string
	for name, v := range m.Dimensions {
		dimensions = append(dimensions, map[string]string{"Name": name, "Value": v})
	}
	end := time.Now().Unix() - notYetEvaluated + 1
	body, err := json.Marshal(map[string]any{
		"Namespace": m.Namespace, "MetricName": m.Name, "Dimensions": dimensions, "Statistics": []string{m.Statistic},
		"Period": (m.Period / faster).Seconds(), "StartTime": end - longestAlarm, "EndTime": end,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	var answer struct{ Datapoints []map[string]any }
	if err := json.Unmarshal(g.post("application/x-amz-json-1.0", "GraniteServiceVersion20100801.GetMetricStatistics", string(body)), &answer); err != nil {
		g.t.Fatal(err)
	}
	out := map[int64]float64{}
	for _, p := range answer.Datapoints {
		v, ok := p[m.Statistic].(float64)
		at, dated := p["Timestamp"].(float64)
		if !ok || !dated {
			g.t.Fatalf("no %s or no time in %v", m.Statistic, p)
		}
		out[int64(at)] = v * faster
	}
	return out
}

// autoScaling makes a call of Auto Scaling's that the worker does not make.
func (g *group) autoScaling(form url.Values) string {
	g.t.Helper()
	form.Set("Version", "2011-01-01")
	return string(g.post("application/x-www-form-urlencoded", "", form.Encode()))
}

// terminate ends an instance as its group does: the hook holds it until the
// worker has drained and says so.
func (g *group) terminate(i *instance) {
	g.t.Helper()
	at := slices.IndexFunc(g.Hooks, func(h deploy.Hook) bool { return h.Transition == "autoscaling:EC2_INSTANCE_TERMINATING" })
	if at < 0 {
		g.t.Fatal("no hook holds an ending instance")
	}
	g.autoScaling(url.Values{
		"Action": {"RecordLifecycleActionHeartbeat"}, "LifecycleHookName": {g.Hooks[at].Name}, "AutoScalingGroupName": {g.Name}, "InstanceId": {i.id},
	})
	g.state(i, "Terminating:Wait")
	began := time.Now()
	g.tell(i, "autoscaling/target-lifecycle-state", "Terminated")
	i.leave() // with status 0
	g.state(i, "Terminating:Proceed")
	calls := g.lifecycleCalls()
	if want := " of " + g.Name + ": " + i.id + " CONTINUE"; !slices.ContainsFunc(calls, func(c string) bool { return strings.HasSuffix(c, want) }) {
		g.t.Errorf("the worker did not answer the hook: %q", calls)
	}
	if took := time.Since(began); took > g.Hooks[at].Timeout {
		g.t.Errorf("the hook waits %v, and the worker ended after %v", g.Hooks[at].Timeout, took)
	}
	g.t.Logf("%s has drained and answered the hook %v after its notice", i.id, time.Since(began).Round(time.Millisecond))
	g.instances = slices.DeleteFunc(g.instances, func(other *instance) bool { return other == i })
}

// state wants Auto Scaling to say so of the instance.
func (g *group) state(i *instance, want string) {
	g.t.Helper()
	answer := g.autoScaling(url.Values{"Action": {"DescribeAutoScalingInstances"}, "InstanceIds.member.1": {i.id}})
	if !strings.Contains(answer, "<LifecycleState>"+want+"</LifecycleState>") {
		g.t.Errorf("%s is not %s: %s", i.id, want, answer)
	}
}
