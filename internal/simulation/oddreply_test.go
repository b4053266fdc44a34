package simulation

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// oddly answers calls of one operation with a reply of its own while it has one.
type oddly struct {
	next      http.RoundTripper
	operation string

	mu      sync.Mutex // guards what follows
	content string
	status  int
	body    string
	left    int
	same    bool   // only calls that ask for the same as the first
	asked   string // what that asked for
}

func (o *oddly) answerWith(content string, status int, body string, times int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.content, o.status, o.body, o.left = content, status, body, times
}

func (o *oddly) done() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.left == 0
}

func (o *oddly) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+o.operation) {
		return o.next.RoundTrip(r)
	}
	text, err := io.ReadAll(r.Body)
	if err = errors.Join(err, r.Body.Close()); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(string(text)))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.left == 0 || o.same && o.asked != "" && o.asked != string(text) {
		return o.next.RoundTrip(r)
	}
	o.left--
	o.asked = string(text)
	header := http.Header{}
	if o.content != "" {
		header.Set("Content-Type", o.content)
	}
	return &http.Response{
		StatusCode: o.status, ProtoMajor: 1, ProtoMinor: 1, Header: header, Request: r,
		ContentLength: int64(len(o.body)), Body: io.NopCloser(strings.NewReader(o.body)),
	}, nil
}

func (o *oddly) CloseIdleConnections() {
	if t, ok := o.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// TestG1_OneOddReplyEndsNoOpenShard: a good reply without a next iterator, when all
// that was there is loaded. What is put after it is loaded too, and
// no open shard is said to have ended.
func TestG1_OneOddReplyEndsNoOpenShard(t *testing.T) {
	t.Parallel()
	const inCBOR, inJSON = "application/x-amz-cbor-1.1", "application/x-amz-json-1.1"
	type odd struct {
		name, content, body string
		times               int
	}
	for _, c := range ofEachKind([]odd{
		{"empty body", inJSON, "", 1},
		{"empty body, often", inJSON, "", 8},
		{"empty body, CBOR", inCBOR, "", 8},
		{"empty body, HTML", "text/html", "", 8},
		{"empty body, none", "", "", 8},
		{"braces", inJSON, "{}", 2},
		{"empty map", inCBOR, "\xa0", 2},
		{"no iterator", inCBOR, "\xa2gRecords\x80rMillisBehindLatest\x00", 2},
		{"null iterator", inCBOR, "\xa3gRecords\x80rMillisBehindLatest\x00qNextShardIterator\xf6", 2},
		{"no iterator, JSON", inJSON, `{"Records":[],"MillisBehindLatest":0}`, 2},
		{"another's children", inJSON, `{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"shardId-000000000009","ParentShards":["shardId-000000000008"]}]}`, 2},
	}, func(c odd) [2]bool { return [2]bool{c.body == "", c.content == inCBOR} }) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 2})
			var odd *oddly
			client := w.Client(func(next http.RoundTripper) http.RoundTripper {
				odd = &oddly{next: next, operation: "GetRecords"}
				return odd
			})
			put(t, w, made(61, 200, 0))
			r := start(t, w, Worker{Client: client})
			ctx := deadline(t)
			loaded := func(n int64) func() (bool, error) {
				return func() (bool, error) { return r.Metrics.RecordsProcessed.Value() >= n, nil }
			}
			if err := Await(ctx, "the first records are loaded", loaded(200)); err != nil {
				t.Fatal(err)
			}
			odd.answerWith(c.content, http.StatusOK, c.body, c.times)
			if err := Await(ctx, "the odd reply was given", func() (bool, error) { return odd.done(), nil }); err != nil {
				t.Fatal(err)
			}
			put(t, w, made(62, 400, 0))
			if err := Await(ctx, "the records put after it are loaded", loaded(600)); err != nil {
				t.Fatalf("%v: %d are", err, r.Metrics.RecordsProcessed.Value())
			}
			for _, s := range r.Worker.Status().Shards {
				if s.Ended || s.Position.Sequence == stream.ShardEnd {
					t.Errorf("the open shard %s has ended", s.ID)
				}
			}
			settle(t, w, 600)
		})
	}
}

// TestALoadIsRepeatedWhenItsStatementIsForgotten: what DescribeStatement says of a
// statement that is past its day, of one whose load has long been committed.
func TestALoadIsRepeatedWhenItsStatementIsForgotten(t *testing.T) {
	t.Parallel()
	expired, err := os.ReadFile("testdata/describe-expired.json")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, Options{Shards: 2})
	var odd *oddly
	client := w.Client(func(next http.RoundTripper) http.RoundTripper {
		odd = &oddly{next: next, operation: "DescribeStatement", same: true}
		return odd
	})
	put(t, w, made(63, 100, 0))
	r := start(t, w, Worker{Client: client})
	settle(t, w, 100)
	odd.answerWith("application/x-amz-json-1.1", http.StatusBadRequest, string(expired), 1_000_000)
	put(t, w, made(64, 100, 0))
	settle(t, w, 200)
	if odd.asked == "" {
		t.Error("nobody asked for a statement")
	}
	if err := Await(deadline(t), "the worker knows that its load went in", func() (bool, error) {
		return r.Metrics.RecordsProcessed.Value() == 200, nil
	}); err != nil {
		t.Errorf("%v: %d records are counted as settled", err, r.Metrics.RecordsProcessed.Value())
	}
}

// lines keeps what is logged.
type lines struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) hold(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// TestShardsOfAStreamMadeAnewHaveNotEnded: the new stream has fewer shards than the
// old one, under a worker that runs. Those that it lacks are not past the retention,
// and shards of their names are still to come.
func TestShardsOfAStreamMadeAnewHaveNotEnded(t *testing.T) {
	t.Parallel()
	var log lines
	w := newWorld(t, Options{Shards: 3, Log: slog.New(slog.NewTextHandler(&log, nil))})
	put(t, w, made(65, 90, 0))
	start(t, w, Worker{Sync: time.Hour, TTL: time.Minute}) // the lease holder, which would end the work too, looks late
	settle(t, w, 90)
	ctx := deadline(t)
	before, err := w.Stream.Identity(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Stream.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	// The time of creation is known to the second.
	if err := Await(ctx, "a stream of another identity is there", func() (bool, error) {
		if err := w.Stream.Create(ctx, 1); err != nil {
			return false, err
		}
		now, err := w.Stream.Identity(ctx)
		if err != nil || now != before {
			return err == nil, err
		}
		return false, w.Stream.Delete(ctx)
	}); err != nil {
		t.Fatal(err)
	}
	if err := Await(ctx, "the worker knows", func() (bool, error) { return log.hold("deleted and made anew"), nil }); err != nil {
		t.Fatal(err)
	}
	got, err := w.DB.Run(ctx, warehouse.Token(), []string{"SELECT COUNT(*) FROM worker_checkpoints WHERE sequence_number = 'SHARD_END'"})
	if err != nil || got[0].Rows[0][0].Text != "0" || log.hold("has expired") {
		t.Errorf("%+v, %v; said to have expired: %v", got, err, log.hold("has expired"))
	}
}
