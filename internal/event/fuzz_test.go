package event

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzDecode holds the decoder against encoding/json on any bytes: it accepts
// JSON only, calls "not JSON" nothing that is, and keeps every row within the
// bounds of its columns.
func FuzzDecode(f *testing.F) {
	for _, name := range []string{"documented.ndjson", "order-service.ndjson", "inventory.ndjson", "payments.ndjson"} {
		for _, record := range lines(f, name) {
			f.Add(record)
		}
	}
	for _, line := range append(lines(f, "invalid.ndjson"), lines(f, "unusual.ndjson")...) {
		var sample struct {
			Data []byte `json:"data_base64"`
		}
		if err := json.Unmarshal(line, &sample); err != nil {
			f.Fatal(err)
		}
		f.Add(sample.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := base64.StdEncoding.EncodeToString(data)
		var o, again Order
		rejected := decodeOrder(data, arrival, &o)
		repeated := decodeOrder(data, arrival, &again)
		if base64.StdEncoding.EncodeToString(data) != before {
			t.Fatal("the record was changed")
		}
		if o != again || (rejected == nil) != (repeated == nil) || rejected != nil && *rejected != *repeated {
			t.Fatalf("two answers: %+v %v, %+v %v", o, rejected, again, repeated)
		}
		if rejected != nil {
			refusedRightly(t, data, rejected)
			return
		}
		agrees(t, data, o)
		inBounds(t, o)
	})
}

func refusedRightly(t *testing.T, data []byte, rejected *Rejection) {
	t.Helper()
	safe(t, rejected.Detail)
	// encoding/json gives up at a depth of 10,000, where it no longer can tell.
	if strings.Count(string(data), "[")+strings.Count(string(data), "{") > 10_000 {
		return
	}
	broken := rejected.Reason == NotJSON || rejected.Reason == TextAfterObject
	if json.Valid(data) == broken {
		t.Errorf("%q is rejected as %v, but json.Valid says %v", data, rejected, !broken)
	}
}

func inBounds(t *testing.T, o Order) {
	t.Helper()
	for _, column := range []struct {
		text  string
		limit int
	}{{o.OrderID, 100}, {o.CustomerID, 100}, {o.EventType, 50}} {
		if column.text == "" || len(column.text) > column.limit {
			t.Errorf("%q does not fit its column of %d bytes", column.text, column.limit)
		}
		if !utf8.ValidString(column.text) || strings.Contains(column.text, "\x00") || strings.HasSuffix(column.text, " ") ||
			strings.ContainsFunc(column.text, refused) {
			t.Errorf("%q is no text for the warehouse", column.text)
		}
	}
	if o.AmountCents >= centsLimit || o.AmountCents <= -centsLimit || o.ItemCount < 0 {
		t.Errorf("%+v is out of bounds", o)
	}
	if when := time.UnixMicro(o.EventTime).UTC(); when.Year() < 2000 || when.After(arrival.Add(24*time.Hour)) {
		t.Errorf("event time %v", when)
	}
}
