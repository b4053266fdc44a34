package aws

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/autoscaling"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/imds"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// logged is a log that can be waited for.
type logged struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) await(t *testing.T, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for !strings.Contains(l.String(), text) {
		if pause(ctx, 5*time.Millisecond) != nil {
			t.Fatalf("the log never says %q: %s", text, l)
		}
	}
}

// machine is a process on an instance of the local AWS.
type machine struct {
	t     *testing.T
	local *endpoint.Running
	log   *logged
	ends  time.Time // by the notice that ended the watch
	*Instance
}

func onMachine(t *testing.T) *machine {
	t.Helper()
	alone(t)
	instance := imds.New()
	local := endpoint.New(endpoint.Options{
		Services: []wire.Service{autoscaling.New(), instance}, Admin: map[string]http.Handler{"imds": instance.Admin()},
	}).Start(t)
	for name, value := range local.Env() {
		t.Setenv(name, value)
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	m := &machine{t: t, local: local, log: &logged{}}
	m.Instance = instanceOf(t, m.log)
	return m
}

func instanceOf(t *testing.T, log io.Writer) *Instance {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	a, err := Open(t.Context(), Options{Region: "us-east-1", Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	i := a.Instance()
	i.every = 10 * time.Millisecond
	return i
}

// watch watches until a notice comes or the returned function is called.
func (m *machine) watch() (seen <-chan Notice, stop func()) {
	ctx, stop := context.WithCancel(m.t.Context())
	m.t.Cleanup(stop)
	notices := make(chan Notice, 1)
	go func() {
		n, ends := m.Watch(ctx)
		m.ends = ends
		notices <- n
	}()
	return notices, stop
}

func (m *machine) tell(settings string) {
	m.t.Helper()
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodPut, m.local.URL+"/_localaws/imds", strings.NewReader(settings))
	if err != nil {
		m.t.Fatal(err)
	}
	response, err := m.local.Client().Do(request)
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode/100 != 2 {
		m.t.Fatalf("tell the instance %s: %s: %s, %v", settings, response.Status, text, err)
	}
}

// calls are the calls of an operation, as the local AWS's log sums them up.
func (m *machine) calls(operation string) (summaries []string) {
	for _, c := range m.local.Calls("", operation) {
		summaries = append(summaries, c.Summary)
	}
	return summaries
}

func TestNoticesEndTheWatch(t *testing.T) {
	const spot = `{"spot/instance-action":{"action":"terminate","time":"2026-11-23T08:00:00Z"}}`
	for _, c := range []struct {
		name, settings string
		want           Notice
	}{
		{"Spot", spot, SpotInterruption},
		{"Auto Scaling", `{"autoscaling/target-lifecycle-state":"Terminated"}`, Termination},
		{"both: one waits for an answer", strings.Replace(spot, "{", `{"autoscaling/target-lifecycle-state":"Terminated",`, 1), Termination},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := onMachine(t)
			m.tell(`{"autoscaling/target-lifecycle-state":"InService"}`)
			seen, _ := m.watch()
			m.log.await(t, "watching the instance's metadata")
			m.tell(c.settings)
			if got := <-seen; got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			ends := time.Time{} // a group does not tell
			if c.want == SpotInterruption {
				ends = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
			}
			if !m.ends.Equal(ends) {
				t.Errorf("the instance ends at %v by the notice, want %v", m.ends, ends)
			}
		})
	}
}

func TestARebalanceRecommendationIsToldOnce(t *testing.T) {
	m := onMachine(t)
	m.tell(`{"events/recommendations/rebalance":{"noticeTime":"2026-11-23T08:00:00Z"}}`)
	seen, stop := m.watch()
	const told = "recommends to rebalance"
	m.log.await(t, told)
	before := len(m.calls("GetMetadata"))
	for len(m.calls("GetMetadata")) < before+6 { // three more looks at the least
		if err := pause(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if got := <-seen; got != NoNotice {
		t.Errorf("got %v", got)
	}
	if n := strings.Count(m.log.String(), told); n != 1 {
		t.Errorf("told %d times: %s", n, m.log)
	}
}

func TestTheWatchGoesOnWhileTheMetadataFail(t *testing.T) {
	m := onMachine(t)
	seen, _ := m.watch()
	m.log.await(t, "watching the instance's metadata")
	m.local.SetFaults(fault.Fault{Service: "imds", Operation: "GetMetadata", Kind: fault.InternalError})
	m.log.await(t, "cannot read the instance metadata")
	m.local.SetFaults()
	m.tell(`{"autoscaling/target-lifecycle-state":"Terminated"}`)
	if got := <-seen; got != Termination {
		t.Errorf("got %v", got)
	}
}

func TestThereIsNoWatchWithoutMetadata(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := "http://" + closed.Addr().String()
	_ = closed.Close()
	for name, disabled := range map[string]string{"nothing answers": "false", "switched off": "true"} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			t.Setenv("AWS_EC2_METADATA_DISABLED", disabled)
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", nowhere)
			log := &logged{}
			if got, _ := instanceOf(t, log).Watch(t.Context()); got != NoNotice {
				t.Errorf("got %v", got)
			}
			if text := log.String(); !strings.Contains(text, "level=DEBUG") || strings.Contains(text, "level=WARN") {
				t.Errorf("the log says %s", text)
			}
		})
	}
}

func TestCompleteTerminationAnswersTheHook(t *testing.T) {
	m := onMachine(t)
	if err := m.CompleteTermination(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%s of %s: i-0123456789abcdef0 CONTINUE", autoscaling.Hook, autoscaling.Group)
	if calls := m.calls("CompleteLifecycleAction"); len(calls) != 1 || calls[0] != want {
		t.Errorf("calls %q, want %q", calls, want)
	}
}

// hooks answers as a group with these termination hooks, and one for launches.
func hooks(names ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		member := func(name, transition string) string {
			return "<member><LifecycleHookName>" + name + "</LifecycleHookName><LifecycleTransition>" + transition + "</LifecycleTransition></member>"
		}
		text := member("launch", "autoscaling:EC2_INSTANCE_LAUNCHING")
		for _, name := range names {
			text += member(name, terminating)
		}
		const reply = `<DescribeLifecycleHooksResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><DescribeLifecycleHooksResult><LifecycleHooks>%s</LifecycleHooks></DescribeLifecycleHooksResult></DescribeLifecycleHooksResponse>`
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, reply, text)
	}
}

func TestTheHookThatWaitsForUsIsTold(t *testing.T) {
	for _, c := range []struct {
		hooks   []string
		want    string
		refused bool
	}{
		{nil, "", false},
		{[]string{"drain"}, "drain", false},
		{[]string{"ship-logs", "analytics-worker-drain"}, "analytics-worker-drain", false},
		{[]string{"ship-logs", "drain"}, "", true},
	} {
		t.Run(strings.Join(c.hooks, "+"), func(t *testing.T) {
			alone(t)
			server := httptest.NewServer(hooks(c.hooks...))
			t.Cleanup(server.Close)
			t.Setenv("AWS_ENDPOINT_URL", server.URL)
			i := instanceOf(t, io.Discard)
			group := "workers"
			got, err := i.hook(t.Context(), i.groups(), &group)
			if got != c.want || (err != nil) != c.refused {
				t.Errorf("got %q, %v; want %q, refused %v", got, err, c.want, c.refused)
			}
			if err != nil && !strings.Contains(err.Error(), "ship-logs, drain") {
				t.Errorf("the error names no hooks: %v", err)
			}
		})
	}
}
