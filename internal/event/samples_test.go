package event

import (
	"encoding/json"
	"testing"
	"time"
)

// at is the UTC microseconds of a time in RFC 3339.
func at(t testing.TB, text string) int64 {
	t.Helper()
	when, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return when.UnixMicro()
}

func TestSampleOrders(t *testing.T) {
	rows := map[string][]Order{
		"documented.ndjson": {
			{"ord-000001", "cust-17", "order_created", 1, 1, 495, at(t, "2026-11-20T08:15:30Z")},
			{"ord-000002", "cust-18", "order_created", 2, 3, 1250, at(t, "2026-11-20T08:15:31.25Z")},
			{"ord-000003", "cust-19", "order_created", 2, 2, 725, at(t, "2026-11-20T08:15:59.999999Z")},
			{"ord-000001", "cust-17", "order_completed", 1, 1, 495, at(t, "2026-11-20T08:21:02Z")},
			{"ord-000004", "cust-17", "order_created", 3, 0, 0, at(t, "2026-11-20T09:00:00Z")},
			{"ord-000002", "cust-18", "order_cancelled", 2, 3, 1250, at(t, "2026-11-20T08:16:00Z")},
			{"ord-000003", "cust-19", "order_created", 2, 2, 725, at(t, "2026-11-20T08:15:59.999999Z")},
		},
		"order-service.ndjson": {
			{"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a01", "user-12-881", "order_created", 1, 3, 1300, 1795163730e6},
			{"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a02", "user-3-17", "order_created", 5, 3, 1035, 1795163731e6},
			{"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a03", "test-1", "order_created", 1, 1, 495, 1795163732e6},
			{"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a04", "user-7-404", "order_created", 2, 0, 0, 1795163733e6},
			{"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a05", `名前-O'Brien\x`, "order_ready", 4, 2, 900, 1795163734e6},
		},
	}
	for name, want := range rows {
		records := lines(t, name)
		if len(records) != len(want) {
			t.Errorf("%s holds %d records, want %d", name, len(records), len(want))
			continue
		}
		for i, record := range records {
			var got Order
			if rejected := decodeOrder(record, arrival, &got); rejected != nil {
				t.Errorf("%s line %d: %v", name, i+1, rejected)
			} else if got != want[i] {
				t.Errorf("%s line %d:\n got %+v\nwant %+v", name, i+1, got, want[i])
			}
		}
	}
}

func TestSampleLevels(t *testing.T) {
	want := []Level{
		{"latte-beans", "inventory_updated", 1, 42, at(t, "2026-11-20T08:16:00Z")},
		{"oat-milk", "inventory_restocked", 2, 120, at(t, "2026-11-20T08:17:00Z")},
		{"latte-beans", "inventory_updated", 1, 41, at(t, "2026-11-20T08:18:30Z")},
	}
	for i, record := range lines(t, "inventory.ndjson") {
		var e Event
		if rejected := Decode(record, arrival, &e); rejected != nil || rowOf(e) != rowOf(Event{Row: &want[i]}) {
			t.Errorf("line %d: %v\n got %s\nwant %+v", i+1, rejected, rowOf(e), want[i])
		}
	}
}

func TestSamplePayments(t *testing.T) {
	want := []Payment{
		{"pay-1", "ord-000001", "cust-17", "txn-pay-1", "credit_card", "completed", "payment_completed", 495, at(t, "2026-11-20T08:15:33.12Z"), 12, true},
		{"pay-2", "ord-000002", "cust-18", "txn-pay-2", "gift_card", "flagged_for_review", "payment_flagged", 1250, at(t, "2026-11-20T08:15:34Z"), 91, true},
		{"pay-1", "ord-000001", "cust-17", "", "credit_card", "refunded", "payment_refunded", 495, at(t, "2026-11-20T10:00:00Z"), 0, false},
	}
	for i, record := range lines(t, "payments.ndjson") {
		var e Event
		if rejected := Decode(record, arrival, &e); rejected != nil || rowOf(e) != rowOf(Event{Row: &want[i]}) {
			t.Errorf("line %d: %v\n got %s\nwant %+v", i+1, rejected, rowOf(e), want[i])
		}
	}
}

// What producers other than CloudCafe's write is taken where it can mean one
// thing only.
func TestSampleUnusual(t *testing.T) {
	for i, line := range lines(t, "unusual.ndjson") {
		var s struct {
			Why   string
			Data  []byte `json:"data_base64"`
			Order struct {
				Order
				Time time.Time
			}
		}
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatal(err)
		}
		want := s.Order.Order
		want.EventTime = s.Order.Time.UnixMicro()
		if got, ok := decoded(t, s.Data); ok && got != want {
			t.Errorf("line %d, %s:\n got %+v\nwant %+v", i+1, s.Why, got, want)
		}
	}
}

func TestSampleInvalid(t *testing.T) {
	for i, line := range lines(t, "invalid.ndjson") {
		var bad struct {
			Why  Reason
			Data []byte `json:"data_base64"`
		}
		if err := json.Unmarshal(line, &bad); err != nil {
			t.Fatal(err)
		}
		wantRejected(t, bad.Data, bad.Why, "line %d", i+1)
	}
}

// wantRejected checks that the record is rejected for the reason, and that the
// row is left alone.
func wantRejected(t *testing.T, record []byte, want Reason, format string, args ...any) {
	t.Helper()
	o := Order{OrderID: "untouched"}
	rejected := decodeOrder(record, arrival, &o)
	switch {
	case rejected == nil:
		t.Errorf(format+": taken as %+v, want %q", append(args, o, want)...)
	case rejected.Reason != want:
		t.Errorf(format+": %v, want %q", append(args, rejected, want)...)
	case o != Order{OrderID: "untouched"}:
		t.Errorf(format+": rejected, but the row became %+v", append(args, o)...)
	}
}

// decodeOrder is Decode of a record that can be no event but an order.
func decodeOrder(data []byte, arrived time.Time, o *Order) *Rejection {
	e := Event{Row: o}
	rejected := Decode(data, arrived, &e)
	got, is := e.Row.(*Order)
	if !is {
		return &Rejection{Reason: UnknownFamily, Detail: "taken as " + e.Family().String()}
	}
	*o = *got
	return rejected
}
