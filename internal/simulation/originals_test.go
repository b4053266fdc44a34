package simulation

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// refusedOnes are an order, a level and a payment that the warehouse refuses, written
// as no one else would write them, and their records: neighbours go in, in records
// of their own and in theirs.
func refusedOnes(n int) (events [][]byte, records []aws.Entry) {
	const at = `"2000-01-01 08:15:30.000001"`
	write := func(name, customer string) [][]byte {
		return [][]byte{
			fmt.Appendf(nil, "{\n \"note\": [1, {\"two\":\t2}], \"customer_id\":%q,\"order_id\" : \"%s-%d\\u0041\", \"store_id\":\"7\",\"total_amount\":\"3.005\", \"timestamp\":%s}", customer, name, n, at),
			fmt.Appendf(nil, `{"sku":"%s-%d", "quantity":"12", "store_id":7.0 ,"event_type":%q, "timestamp":%s}`, name, n, customer, at),
			fmt.Appendf(nil, `{"payment_id":"%s-%d","order_id":"o'\"\\","customer_id":%q, "payment_method":"card", "amount": 1e1, "fraud_score":null, "timestamp":%s}`, name, n, customer, at),
		}
	}
	good, bad := write("good", "c"), write("bad", poisonCustomer)
	for i := range bad {
		records = append(
			records,
			aws.Entry{PartitionKey: "k", Data: bytes.Join([][]byte{good[i], bad[i], good[(i+1)%3]}, []byte("\n"))},
			aws.Entry{PartitionKey: "k", Data: good[i]},
		)
	}
	return bad, records
}

// TestG8_ALetterOfARefusedRowHoldsItsRecord: the worker has given the bytes back
// when the warehouse refuses their row, so that they are read once more. That the
// stream is asked too often only delays that; when it has the record no longer, the
// letter holds an event that says the same.
func TestG8_ALetterOfARefusedRowHoldsItsRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := spoiledFleet(t, 1)
		phase := 0
		for _, staging := range []string{"", stagingURL} {
			for _, past := range []bool{false, true} {
				phase++
				events, records := refusedOnes(phase)
				if err := f.world.Put(t.Context(), records); err != nil {
					t.Fatal(err)
				}
				wait := time.Minute
				if past { // the stream keeps a day: it ends while the worker waits, which costs as much as it waits long
					wait = 10 * time.Minute
					if err := sleep(t.Context(), 24*time.Hour-wait/2); err != nil {
						t.Fatal(err)
					}
				}
				r, err := f.world.Start(t.Context(), Worker{
					TTL: 100 * time.Hour, Scan: wait, Sync: wait, Staging: staging, PollInterval: wait, BatchSize: 1000, RetryAfter: []time.Duration{time.Hour},
				})
				if err != nil {
					t.Fatal(err)
				}
				read := func() (bool, error) { return r.Worker.Status().Waiting == 4*len(events), nil }
				if err := Await(t.Context(), "all is read", read); err != nil {
					t.Fatal(err)
				}
				faults := []fault.Fault{forGood, {Service: "redshift-data", Kind: fault.LineRefused, Match: poisonCustomer, Error: "refused"}}
				if !past { // the next iterators are those of the records to be read once more
					faults = append(faults, fault.Fault{Service: "kinesis", Operation: "GetShardIterator", Kind: fault.Throttle, Count: 12})
				}
				if err := f.world.Local.Faults().Put(faults); err != nil {
					t.Fatal(err)
				}
				if err := sleep(t.Context(), wait); err != nil {
					t.Fatal(err)
				}
				settled := func() (bool, error) { return r.Metrics.RecordsProcessed.Value() == int64(4*len(events)), nil }
				if err := Await(t.Context(), "all is settled", settled); err != nil {
					t.Fatal(err)
				}
				if err := r.Drain(); err != nil {
					t.Error(err)
				}
				if left := f.world.Local.Faults().List(); len(left) != 2 {
					t.Errorf("phase %d: the throttle did not strike: %v", phase, left)
				}
				judgeOriginals(t, f, phase, events, past)
			}
		}
	})
}

// judgeOriginals looks for the events of a phase among the letters.
func judgeOriginals(t *testing.T, f *Fleet, phase int, events [][]byte, past bool) {
	t.Helper()
	var data [][]byte
	for l, err := range f.world.Letters().All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, l.Data)
	}
	if len(data) != phase*len(events) {
		t.Fatalf("phase %d: %d letters, want %d", phase, len(data), phase*len(events))
	}
	for _, e := range events {
		var want event.Event
		if rejected := event.Decode(e, time.Now(), &want); rejected != nil {
			t.Fatal(rejected)
		}
		same, equal := 0, 0
		for _, d := range data {
			var got event.Event
			if rejected := event.Decode(d, time.Now(), &got); rejected == nil && rowText(got) == rowText(want) {
				equal++
			}
			if bytes.Equal(d, e) {
				same++
			}
		}
		if bytesKept := map[bool]int{false: 1, true: 0}[past]; equal != 1 || same != bytesKept {
			t.Errorf("phase %d: %d letters say what %s says, and %d have its bytes; want 1 and %d", phase, equal, e, same, bytesKept)
		}
	}
}
