package kinesis

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// nowhere takes a reply and keeps nothing, so that what is measured is ours.
type nowhere struct {
	header http.Header
	bytes  int
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(b []byte) (int, error) { n.bytes += len(b); return len(b), nil }

func jsonRequest() *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Content-Type", contentJSON)
	return r
}

// event is about what one order takes on the stream.
var event = []byte(strings.Repeat(`{"order_id":"0123456789","x":1}`, 7)[:213])

// full returns a service with one shard that holds n events, and its stream.
func full(tb testing.TB, n int) (*Service, *stream) {
	tb.Helper()
	s, err := New(Options{})
	if err != nil {
		tb.Fatal(err)
	}
	st := newStream("orders", "us-east-1", 1, time.Now())
	s.streams["orders"] = st
	for i := range n {
		st.put([]put{{key: fmt.Appendf(nil, "store-%d", i%500), data: event}}, time.Now(), false)
	}
	return s, st
}

func BenchmarkGetRecords(b *testing.B) {
	s, st := full(b, maxPageRecords)
	body := []byte(`{"Limit":10000,"ShardIterator":"` + s.seal.close(iteratorToken, iterator{
		Stream: st.name, Created: st.created, Issued: time.Now().UnixMilli(),
	}) + `"}`)
	r := jsonRequest()
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		s.Serve(w, r, "GetRecords", body)
		if w.status != http.StatusOK || w.bytes < maxPageRecords*len(event) {
			b.Fatalf("status %d, %d bytes", w.status, w.bytes)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxPageRecords, "ns/record")
}

func BenchmarkPutRecords(b *testing.B) {
	s, _ := full(b, 0)
	var text strings.Builder
	text.WriteString(`{"Records":[`)
	for i := range maxPutRecords {
		if i > 0 {
			text.WriteByte(',')
		}
		fmt.Fprintf(&text, `{"Data":"%s","PartitionKey":"store-%d"}`, base64.StdEncoding.EncodeToString(event), i)
	}
	text.WriteString(`],"StreamName":"orders"}`)
	body, r := []byte(text.String()), jsonRequest()
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		s.Serve(w, r, "PutRecords", body)
		if w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxPutRecords, "ns/record")
}
