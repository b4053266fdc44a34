package aws

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
)

// TestEndlessRepliesAreCutOff answers every call with a body that does not end,
// over TCP, in pieces whose number nobody tells, in the language of the service.
func TestEndlessRepliesAreCutOff(t *testing.T) {
	alone(t)
	inXML := map[string]bool{"GetObject": true, "ListObjects": true, "DeleteObjects": true, "Caller": true}
	// MiB that are allocated in all, while memory grows by doubling; twice with -race.
	most := map[string]uint64{"GetRecords": 320, "GetObject": 320}
	for _, head := range []struct{ content, body string }{
		{contentJSON, `{"x":"`},
		{contentCBOR, "\xbf\x61x\x7f"},
		{"text/xml", "<a>"},
	} {
		server := httptest.NewServer(endless(head.content, head.body))
		t.Setenv("AWS_ENDPOINT_URL", server.URL)
		t.Setenv("AWS_ACCESS_KEY_ID", "test")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
		a, err := Open(t.Context(), Options{Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for name, call := range everyCall() {
			if name == "PutObject" || name == "PutIfAbsent" { // no body of theirs is read
				continue
			}
			if inXML[name] != (head.content == "text/xml") || head.content == contentCBOR && name != "GetRecords" {
				continue
			}
			t.Run(name+" "+head.content, func(t *testing.T) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := call(a, t)
				runtime.ReadMemStats(&after)
				if err == nil {
					t.Fatal("no error")
				}
				grown := (after.TotalAlloc - before.TotalAlloc) >> 20
				t.Logf("%d MiB allocated: %v", grown, err)
				if grown > max(most[name], 80) {
					t.Errorf("%d MiB were allocated", grown)
				}
			})
		}
		a.Close()
		server.CloseClientConnections()
		server.Close()
	}
}

// endless writes for as long as somebody reads.
func endless(content, head string) http.Handler {
	more := bytes.Repeat([]byte("x"), 64<<10)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", content)
		w.Header().Set("ETag", `"x"`)
		_, err := io.WriteString(w, head)
		for err == nil {
			_, err = w.Write(more)
		}
	})
}

func TestAnEndlessHeaderIsCutOff(t *testing.T) {
	alone(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeader))
	}))
	defer server.Close()
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	a, err := Open(t.Context(), Options{Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Stream("orders").Shards(t.Context()); err == nil || !strings.Contains(err.Error(), "header") {
		t.Errorf("got %v", err)
	}
}

// TestAReplyMayBeAsLongAsItsBound: the bound itself is not over it.
func TestAReplyMayBeAsLongAsItsBound(t *testing.T) {
	for _, c := range []struct {
		size, bound int
		fails       bool
	}{{10, 10, false}, {11, 10, true}, {0, 10, false}} {
		b := &boundedBody{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", c.size))), left: int64(c.bound), tooLong: errors.New("too long")}
		got, err := io.ReadAll(b)
		if (err != nil) != c.fails || len(got) != min(c.size, c.bound) {
			t.Errorf("%d of %d bytes: read %d, %v", c.size, c.bound, len(got), err)
		}
	}
}
