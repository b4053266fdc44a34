package simulation

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// narrow stands between a worker and a Data API that takes no batch above a
// size, which is a limit that no page of AWS's gives.
type narrow struct {
	next http.RoundTripper
	most int64 // bytes
}

func (n narrow) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".BatchExecuteStatement") || r.ContentLength <= n.most {
		return n.next.RoundTrip(r)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return nil, err
	}
	body := []byte(`{"__type":"ValidationException","Message":"the request is too large"}`)
	return &http.Response{
		StatusCode: http.StatusBadRequest, Status: "400 Bad Request", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amzn-Requestid": {"r"}},
		Body:   io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}, nil
}

// TestALoadThatIsTooLargeForTheAPIIsHalved: 3,000 records wait, and the API takes
// batches of some 250 rows. All go in, and none becomes a letter.
func TestALoadThatIsTooLargeForTheAPIIsHalved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	put(t, w, made(71, 3000, 0))
	r := start(t, w, Worker{Client: w.Client(func(next http.RoundTripper) http.RoundTripper { return narrow{next, 40 << 10} })})
	report := settle(t, w, 3000)
	t.Logf("%d loads failed, %d went in", r.Metrics.WriteErrors.Value(), r.Metrics.WriteDuration.Count())
	if report.Letters != 0 {
		t.Errorf("%d records are in the dead letters for the size of their load", report.Letters)
	}
	if n := r.Metrics.WriteErrors.Value(); n == 0 || n > 40 {
		t.Errorf("%d loads failed on the way", n)
	}
}

// TestALoadThatIsEndedIsHalved: a rule of the warehouse ends large loads, as a
// statement_timeout does.
func TestALoadThatIsEndedIsHalved(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	put(t, w, made(72, 2000, 0))
	setFaults(t, w, fault.Fault{
		Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed, Above: 60 << 10,
		Error: "ERROR: Query (150) canceled on user's request",
	})
	r := start(t, w, Worker{})
	report := settle(t, w, 2000)
	if report.Letters != 0 || r.Metrics.WriteErrors.Value() == 0 {
		t.Errorf("%d letters, %d loads failed; want none, and some", report.Letters, r.Metrics.WriteErrors.Value())
	}
	setFaults(t, w)
	put(t, w, made(73, 2000, 0))
	settle(t, w, 4000)
}
