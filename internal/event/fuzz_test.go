package event

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
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
		var e, primed Event
		rejected := Decode(data, arrival, &e)
		Decode(with(), arrival, &primed)
		again := Event{scanner: primed.scanner} // which knows an order of keys
		repeated := Decode(data, arrival, &again)
		if base64.StdEncoding.EncodeToString(data) != before {
			t.Fatal("the record was changed")
		}
		if rowOf(e) != rowOf(again) || (rejected == nil) != (repeated == nil) || rejected != nil && *rejected != *repeated {
			t.Fatalf("two answers: %s %v, %s %v", rowOf(e), rejected, rowOf(again), repeated)
		}
		if rejected != nil {
			refusedRightly(t, data, rejected)
			if e.Row != nil {
				t.Errorf("%q is rejected, and became %s", data, rowOf(e))
			}
			return
		}
		agrees(t, data, &e)
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
