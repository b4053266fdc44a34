package aws

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// alone takes away everything that the SDK could find an account by.
func alone(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestOpenSaysWhatToSet(t *testing.T) {
	alone(t)
	_, err := Open(t.Context(), Options{Region: "us-east-1"})
	if err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || !strings.Contains(err.Error(), "IAM role") {
		t.Errorf("no credentials: got %v", err)
	}
}

// The SDK's own ways to a region come before ours, and who named it is known.
func TestOpenFindsARegion(t *testing.T) {
	alone(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[default]\nregion = eu-west-3\n[profile north]\nregion = eu-north-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ variable, value, given, region, found string }{
		{"", "", "", "us-east-1", "the default: nothing names one"},
		{"AWS_CONFIG_FILE", file, "", "eu-west-3", "profile default"},
		{"AWS_PROFILE", "north", "", "eu-north-1", "profile north"},
		{"AWS_DEFAULT_REGION", "eu-west-2", "", "eu-west-2", "AWS_DEFAULT_REGION"},
		{"AWS_REGION", "eu-west-1", "", "eu-west-1", "AWS_REGION"},
		{"", "", "ap-south-1", "ap-south-1", "AWS_REGION"},
	} {
		if step.variable != "" {
			t.Setenv(step.variable, step.value)
		}
		a, err := Open(t.Context(), Options{Region: step.given, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if region, found := a.Region(); region != step.region || found != step.found || a.kinesis.Options().Region != region {
			t.Errorf("%s=%s, given %q: %s (%s); Kinesis in %s", step.variable, step.value, step.given, region, found, a.kinesis.Options().Region)
		}
		a.Close()
	}
}

// A file that another program is just writing takes no keys away.
func TestKeysInAFileAreReadAgain(t *testing.T) {
	alone(t)
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[default]\naws_access_key_id = first\naws_secret_access_key = s\n")
	synctest.Test(t, func(t *testing.T) {
		a, err := Open(t.Context(), Options{Region: "us-east-1", HTTPClient: http.DefaultClient, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct{ text, want string }{
			{"", "first"},
			{"[default]\naws_access_key_id = sec", "first"}, // half of it
			{"[default\n", "first"},
			{"[default]\naws_access_key_id = second\naws_secret_access_key = s\naws_session_token = t\n", "second"},
		} {
			write(step.text)
			wait(t, keysLast+time.Second)
			got, err := a.cfg.Credentials.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != step.want {
				t.Errorf("with %q in the file: %s, %v; want %s", step.text, got.AccessKeyID, err, step.want)
			}
		}
	})
}

func TestBucketWantsAnS3URL(t *testing.T) {
	_, a := scripted(t)
	for _, location := range []string{"", "lake", "s3:", "s3://", "https://lake/x", "s3://lake?x=1", "file:///tmp", "s3://%zz"} {
		if _, err := a.Bucket(location); err == nil || !strings.Contains(err.Error(), "s3://bucket/prefix") {
			t.Errorf("%q: got %v", location, err)
		}
	}
	for location, want := range map[string]string{
		"s3://lake": "s3://lake/x", "s3://lake/": "s3://lake/x", "s3://lake/a/b": "s3://lake/a/b/x", "s3://lake/a/b/": "s3://lake/a/b/x",
	} {
		b, err := a.Bucket(location)
		if err != nil || b.URL("x") != want {
			t.Errorf("%q: got %v, %v", location, b, err)
		}
	}
}

// TestBucketsAreAddressedByPathAtForeignEndpoints: bucket.127.0.0.1 is no host.
func TestBucketsAreAddressedByPathAtForeignEndpoints(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"": false, "http://127.0.0.1:4566": true, "https://minio.example:9000": true,
		"https://bucket.vpce-1.s3.us-east-1.vpce.amazonaws.com": false,
	} {
		_, a := scripted(t)
		if endpoint != "" {
			a.cfg.BaseEndpoint = &endpoint
		}
		if got := newS3(a.cfg).Options().UsePathStyle; got != want {
			t.Errorf("%q: by path %v", endpoint, got)
		}
	}
}

// TestAServerThatAnswersAtOnce: the SDK closes a request's body when the reply
// begins. Without exactBodies, a connection breaks there now and then.
func TestAServerThatAnswersAtOnce(t *testing.T) {
	alone(t)
	var calls, connections atomic.Int64
	// One record, larger than what the client reads at once: the reply is still
	// on its way when the SDK closes the request.
	body := encoded(t, object{
		"Records",
		list{object{"SequenceNumber", "1", "Data", make([]byte, 150_000), "PartitionKey", "k", "ApproximateArrivalTimestamp", at(1763881689000)}},
		"NextShardIterator", "i", "MillisBehindLatest", 0,
	})
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength)
		w.Header().Set("Content-Type", contentCBOR)
		_, _ = w.Write(body)
	}))
	server.Config.ConnState = countNew(&connections)
	server.Start()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	a, err := Open(t.Context(), Options{Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	defer a.Close()
	const readers, pages = 4, 60
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			for range pages {
				if _, err := a.getRecords(t.Context(), stream.Shard{}, nil, anIterator); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got := calls.Load(); got != readers*pages {
		t.Errorf("%d calls for %d pages: some were made again", got, readers*pages)
	}
	if got := connections.Load(); got > 2*readers {
		t.Errorf("%d connections for %d readers", got, readers)
	}
}

func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
}

func TestBackoffStaysWithinBounds(t *testing.T) {
	broken, full := errLost, sdkError("Kinesis.ListShards", 400, "LimitExceededException", "")
	for attempt := range 80 {
		for err, bounds := range map[error][2]time.Duration{
			broken: {25 * time.Millisecond, 5 * time.Second}, full: {250 * time.Millisecond, 5 * time.Second},
		} {
			if got, _ := backoff(attempt, err); got < bounds[0] || got > bounds[1] {
				t.Errorf("attempt %d after %v: %s", attempt, err, got)
			}
		}
	}
}

func TestExactBodyEndsByItself(t *testing.T) {
	b := exactBody{rc: io.NopCloser(strings.NewReader("abcdef")), left: 6}
	got := make([]byte, 6)
	if _, err := io.ReadFull(&b, got); err != nil || string(got) != "abcdef" {
		t.Fatalf("got %q, %v", got, err)
	}
	b.rc = nil // what is behind it is not asked again
	if n, err := b.Read(got); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v", n, err)
	}
}

// lateLook keeps the body of a request: net/http may look for its end when the reply
// has begun.
type lateLook struct {
	*script
	body io.Reader
}

func (l *lateLook) RoundTrip(r *http.Request) (*http.Response, error) {
	l.body = r.Body
	sent := r.Clone(r.Context())
	sent.Body = io.NopCloser(io.LimitReader(r.Body, r.ContentLength))
	return l.script.RoundTrip(sent)
}

// TestABodyOfAGivenClientEndsByItself: what a client of the caller's own sends must not
// be found closed at its end, or what was put is put again.
func TestABodyOfAGivenClientEndsByItself(t *testing.T) {
	alone(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	wire := &lateLook{script: &script{answers: []answer{took(3, "")}}}
	given := &http.Client{Transport: wire}
	a, err := Open(t.Context(), Options{Region: "us-east-1", HTTPClient: given, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Stream("orders").PutOnce(t.Context(), entries(3, 10)); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, wire.body); n != 0 || err != nil {
		t.Errorf("behind the end of a body that is sent: %d bytes, %v", n, err)
	}
	if given.Transport != http.RoundTripper(wire) {
		t.Error("the caller's client was changed")
	}
}
