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
	_, err := Open(t.Context(), Options{})
	if err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("no region: got %v", err)
	}
	_, err = Open(t.Context(), Options{Region: "us-east-1"})
	if err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") || !strings.Contains(err.Error(), "IAM role") {
		t.Errorf("no credentials: got %v", err)
	}
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
	body := encoded(t, object{"Records", list{object{"SequenceNumber", "1", "Data", make([]byte, 150_000), "PartitionKey", "k"}}, "NextShardIterator", "i"})
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
