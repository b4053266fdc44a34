package simulation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// lined is an order as a logger writes it, with its end of line.
func lined(id string) string {
	return fmt.Sprintf(`{"order_id": %q, "customer_id": "c1", "store_id": 1, "total_amount": 4.5, "item_count": 1, "event_type": "order_created", "timestamp": "2026-11-20T08:15:30Z"}`, id) + "\n"
}

// orderIDs is what fact_orders holds, in order.
func orderIDs(t *testing.T, w *World) (ids []string) {
	t.Helper()
	r, err := w.DB.Run(deadline(t), warehouse.Token(), []string{"SELECT order_id FROM fact_orders ORDER BY order_id"})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r[0].Rows {
		ids = append(ids, row[0].Text)
	}
	return ids
}

// TestG8_EachEventOfARecordIsJudgedByItself puts records of several events: the
// good ones are loaded, each bad one is a letter of its own that can be put
// back, and what is not all objects is one letter.
func TestG8_EachEventOfARecordIsJudgedByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Shards: 1})
	tail := lined("t-1") + "and more"
	put(t, w, []aws.Entry{
		{PartitionKey: "k", Data: []byte(lined("a-1") + lined("a-2"))},
		{PartitionKey: "k", Data: []byte(lined("b-1") + `{"order_id": 17}` + lined("b-2") + `{"order_id": oops}` + lined("b-3"))},
		{PartitionKey: "k", Data: aggregated("k", []byte(lined("c-1")), []byte(lined("c-2")+"{}"+lined("c-3")), []byte(lined("c-4")))},
		{PartitionKey: "k", Data: []byte(tail)},
		{PartitionKey: "k", Data: []byte("\ufeff" + lined("u-1") + lined("u-2"))},
	})
	r := start(t, w, Worker{})
	report := settle(t, w, 2+5+5+1+1)
	if err := r.Drain(); err != nil {
		t.Error(err)
	}
	if got, want := orderIDs(t, w), []string{"a-1", "a-2", "b-1", "b-2", "b-3", "c-1", "c-2", "c-3", "c-4"}; !slices.Equal(got, want) {
		t.Errorf("loaded are %v, want %v", got, want)
	}
	if n := r.Metrics.RecordsProcessed.Value(); n != report.Records || r.Metrics.RecordsRejected.Value() != report.Rejected || report.Rejected != 5 {
		t.Errorf("%d records counted, %d rejected; the checker says %d and %d", n, r.Metrics.RecordsRejected.Value(), report.Records, report.Rejected)
	}
	var got []string
	var again []aws.Entry
	for l, err := range w.Letters().All(deadline(t)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d %s: %s", l.SubSequenceNumber, l.Reason, l.Data))
		again = append(again, aws.Entry{PartitionKey: l.PartitionKey, Data: l.Data})
	}
	want := []string{
		`1 order_id not a string: {"order_id": 17}`, `3 not JSON: {"order_id": oops}`, "2 unknown family: {}",
		"0 text after the object: " + tail, "0 not JSON: \ufeff" + lined("u-1") + lined("u-2"),
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Errorf("the letters are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// What a letter holds is judged as before, and nothing else comes of it.
	put(t, w, again)
	start(t, w, Worker{Name: "second"})
	if report := settle(t, w, 14+len(again)); report.Rejected != 10 || report.Letters != 10 || report.Facts != 9 {
		t.Errorf("with the letters put back: %+v", report)
	}
}

// TestG1_ALoadMayEndWithinARecord loads a record of several events piece by
// piece, a new worker for each piece: every position between two of its events
// is one to go on from.
func TestG1_ALoadMayEndWithinARecord(t *testing.T) {
	t.Parallel()
	lines := []byte(lined("o-1") + lined("o-2") + "{}" + lined("o-4") + lined("o-5"))
	for name, data := range map[string][]byte{
		"lines":     lines,
		"aggregate": aggregated("k", []byte(lined("o-1")), []byte(lined("o-2")+"{}"+lined("o-4")), []byte(lined("o-5"))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, Options{Shards: 1})
			put(t, w, []aws.Entry{{PartitionKey: "k", Data: data}, {PartitionKey: "k", Data: []byte(lined("o-6"))}})
			done := int64(0)
			for i, events := range []int64{1, 2, 1, 1, 1} { // the bad one goes with the one before it
				// The next load is due long after the test.
				r := start(t, w, Worker{Name: fmt.Sprint("worker-", i), LoadRows: 1, LoadInterval: time.Hour})
				if err := Await(deadline(t), fmt.Sprint("piece ", i), func() (bool, error) { return r.Metrics.RecordsProcessed.Value() > 0, nil }); err != nil {
					t.Fatal(err)
				}
				r.Kill()
				if n := r.Metrics.RecordsProcessed.Value(); n != events {
					t.Fatalf("piece %d was of %d events, want %d", i, n, events)
				}
				done += events
				if report := checkOK(t, w); report.Records != done {
					t.Fatalf("after piece %d the checker counts %d events, want %d", i, report.Records, done)
				}
			}
			if got := orderIDs(t, w); !slices.Equal(got, []string{"o-1", "o-2", "o-4", "o-5", "o-6"}) {
				t.Errorf("loaded are %v", got)
			}
		})
	}
}
