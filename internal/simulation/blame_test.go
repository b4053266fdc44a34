package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// badAt is the row of badBatch that every warehouse refuses.
const badAt = 3456

// badBatch is 5,000 rows, of which every third has texts of several lines. One
// has an order id or a customer that the decoder lets nobody have.
func badBatch(fill warehouse.Fill, order, customer string) warehouse.Batch {
	from := stream.Position{Sequence: stream.TrimHorizon}
	b := warehouse.Batch{Stream: "s", Moves: []warehouse.Move{{Shard: "shard", Term: 1, From: from, To: from}}}
	for i := range 5000 {
		o := event.Order{OrderID: fmt.Sprint("o-", i), CustomerID: "c", EventType: "order_made", AmountCents: 100, EventTime: time.Now().UnixMicro()}
		if i%3 == 0 {
			o.CustomerID, o.EventType = "of\ntwo\r\nlines\n", "\n"
		}
		if i == badAt {
			o.OrderID, o.CustomerID = order, customer
		}
		b.Rows = append(b.Rows, orderRow(fill, 0, o))
	}
	return b
}

// TestARefusalSaysWhatRowsItIsAbout: of COPY the very row, with the warehouse's
// words about it, and of INSERT the rows of a statement. Where the warehouse does
// not tell, the refusal is as it was.
func TestARefusalSaysWhatRowsItIsAbout(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		bucket, err := w.Account.Bucket(stagingBucket(t, w))
		if err != nil {
			t.Fatal(err)
		}
		fill := &warehouse.Copy{Staging: bucket, Log: w.Options.Log}
		defer fill.Close(deadline(t))
		house := warehouse.New(w.DB, fill)
		silent := func(view string) fault.Fault {
			return fault.Fault{
				Service: "redshift-data", Operation: "ExecuteStatement", Kind: fault.StatementFailed, Match: view,
				Error: "ERROR: permission denied for relation " + view,
			}
		}
		long := strings.Repeat("x", 101)
		for name, c := range map[string]struct {
			order, customer string
			faults          []fault.Fault
			reason          string // part of the warehouse's words; empty = it does not tell the row
		}{
			"an order id of 101 bytes": {long, "c", nil, "order_id: "},
			"a noncharacter":           {"o", "c\n\ufdd0", nil, "customer_id: "},
			"on a cluster of old":      {long, "c", []fault.Fault{silent("sys_load_error_detail")}, "order_id: "},
			"nothing tells":            {long, "c", []fault.Fault{silent("sys_load_error_detail"), silent("stl_load_errors")}, ""},
			"too late": {long, "c", []fault.Fault{{
				Service: "redshift-data", Operation: "ExecuteStatement", Kind: fault.StatementSlow, Delay: fault.Duration(time.Minute),
			}}, ""},
		} {
			setFaults(t, w, c.faults...)
			_, err := house.Load(deadline(t), badBatch(fill, c.order, c.customer))
			var refused *warehouse.StatementError
			if !errors.As(err, &refused) || refused.Kind != nil {
				t.Fatalf("%s: the load ended with %v", name, err)
			}
			var told *warehouse.RowsError
			switch {
			case errors.As(err, &told) != (c.reason != ""):
				t.Errorf("%s: the load ended with %v", name, err)
			case told != nil && (told.From != badAt || told.To != badAt+1 || !strings.HasPrefix(told.Reason, c.reason)):
				t.Errorf("%s: rows %d to %d, %q; want %d and %q", name, told.From, told.To, told.Reason, badAt, c.reason)
			}
		}
		setFaults(t, w)
		_, err = warehouse.New(w.DB, warehouse.Insert{}).Load(deadline(t), badBatch(warehouse.Insert{}, long, "c"))
		var told *warehouse.RowsError
		if !errors.As(err, &told) || told.From > badAt || told.To <= badAt || told.To-told.From > 2000 {
			t.Errorf("INSERT: the load ended with %.300v", err)
		}
	})
}

// refusable are n records of which those at the places are of a customer whose lines
// COPY refuses.
func refusable(n int, bad ...int) []aws.Entry {
	out := make([]aws.Entry, n)
	for i := range out {
		customer := "c\nof\nlines"
		for _, b := range bad {
			if b == i {
				customer = "poison\n"
			}
		}
		out[i] = order(fmt.Sprint("o-", i), customer, i%3600)
	}
	return out
}

// lineRefused is a warehouse that does so.
var lineRefused = fault.Fault{Service: "redshift-data", Kind: fault.LineRefused, Match: "poison", Error: "a value that nobody wants"}

// TestACopyIsAskedForTheRowThatItRefused: one row of 5,000 costs four loads: the
// refused one, what comes before the row, the row, and what comes behind it.
func TestACopyIsAskedForTheRowThatItRefused(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url, Shards: 1})
		put(t, w, refusable(5000, badAt))
		setFaults(t, w, lineRefused)
		r := start(t, w, Worker{Staging: stagingBucket(t, w), BatchSize: 5000, PollInterval: patience})
		if report := settle(t, w, 5000); report.Letters != 1 || report.Facts != 4999 {
			t.Errorf("%d letters and %d facts, want 1 and 4999", report.Letters, report.Facts)
		}
		refused, in := r.Metrics.WriteErrors.Value(), r.Metrics.WriteDuration.Count()
		t.Logf("%d loads were refused, %d went in", refused, in)
		if refused != 2 || in > 2 {
			t.Errorf("%d loads were refused and %d went in, want 2 and 2", refused, in)
		}
		for l, err := range w.Letters().All(deadline(t)) {
			if err != nil || !strings.HasSuffix(l.Detail, " customer_id: "+lineRefused.Error) {
				t.Errorf("the letter says %q, %v", l.Detail, err)
			}
		}
	})
}

// TestSeveralRowsThatCopyRefuses: at both ends, side by side and apart.
func TestSeveralRowsThatCopyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 2})
	bad := []int{0, 1, 2, 700, 701, 1400, 1999}
	put(t, w, refusable(2000, bad...))
	setFaults(t, w, lineRefused)
	r := start(t, w, Worker{Staging: stagingBucket(t, w), BatchSize: 2000, PollInterval: patience})
	if report := settle(t, w, 2000); report.Letters != int64(len(bad)) || report.Facts != int64(2000-len(bad)) {
		t.Errorf("%d letters and %d facts, want %d and %d", report.Letters, report.Facts, len(bad), 2000-len(bad))
	}
	t.Logf("%d loads were refused, %d went in", r.Metrics.WriteErrors.Value(), r.Metrics.WriteDuration.Count())
	if n := r.Metrics.WriteErrors.Value(); n > int64(2*len(bad)) {
		t.Errorf("%d refused loads for %d rows", n, len(bad))
	}
}

// astray makes a warehouse tell other lines than those that it refused.
type astray struct {
	next http.RoundTripper
	line string // the SQL of the number
}

func (a astray) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ExecuteStatement") {
		return a.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	body = bytes.ReplaceAll(body, []byte("SELECT line_number,"), []byte("SELECT "+a.line+","))
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Del("Content-Length")
	return a.next.RoundTrip(r)
}

// TestAWarehouseThatNamesOtherRowsIsNotBelieved: the row is found by halving, and
// none of those that were named is lettered.
func TestAWarehouseThatNamesOtherRowsIsNotBelieved(t *testing.T) {
	t.Parallel()
	lines := []string{"line_number / 3", "line_number + 7", "-line_number", "987654321", "'x'", "2"}
	for _, line := range ofEachKind(lines, func(l string) bool { return strings.Contains(l, "line_number") }) {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 1})
			put(t, w, refusable(600, 345))
			setFaults(t, w, lineRefused)
			r := start(t, w, Worker{
				Staging: stagingBucket(t, w), BatchSize: 600, PollInterval: patience,
				Client: w.Client(func(next http.RoundTripper) http.RoundTripper { return astray{next, line} }),
			})
			if report := settle(t, w, 600); report.Letters != 1 || report.Facts != 599 {
				t.Errorf("%d letters and %d facts, want 1 and 599", report.Letters, report.Facts)
			}
			refused, in := r.Metrics.WriteErrors.Value(), r.Metrics.WriteDuration.Count()
			t.Logf("%d loads were refused, %d went in", refused, in)
			if refused+in > 18 { // ten halvings, half of them refused twice as a rule
				t.Errorf("%d loads were refused and %d went in", refused, in)
			}
		})
	}
}
