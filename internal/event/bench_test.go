package event

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// arrival is when the sample events arrived.
var arrival = time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)

// lines reads the records of a sample file.
func lines(t testing.TB, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		all = append(all, bytes.Clone(sc.Bytes()))
	}
	if len(all) == 0 {
		t.Fatalf("%s holds no records", name)
	}
	return all
}

// shapes are the records to measure. The record of 200 bytes is the one that
// the figure in the docs speaks of.
func shapes(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"documented":    lines(t, "documented.ndjson")[1],
		"200bytes":      []byte(`{"order_id":"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a01","customer_id":"cust-000017","store_id":12,"total_amount":12.50,"item_count":3,"event_type":"order_created","timestamp":"2026-11-20T08:15:31.250Z"}`),
		"order-service": lines(t, "order-service.ndjson")[0],
		"escapes":       []byte(`{"order_id":"ord-1","customer_id":"O\u0027Brien \ud83d\ude00","store_id":2,"total_amount":"12.50","item_count":3,"event_type":"order_created","timestamp":"2026-11-20T17:15:31.250+09:00"}`),
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, record := range shapes(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			var e Event
			for b.Loop() {
				if rejected := Decode(record, arrival, &e); rejected != nil {
					b.Fatal(rejected)
				}
			}
		})
	}
}

// BenchmarkEncodingJSON is what the standard library needs to read the same
// records into a struct, without judging any field: the ratio to
// BenchmarkDecode says more than either figure, as machines differ.
func BenchmarkEncodingJSON(b *testing.B) {
	type line struct {
		Quantity *int32 `json:"quantity"`
	}
	type wire struct {
		OrderID     string          `json:"order_id"`
		CustomerID  string          `json:"customer_id"`
		StoreID     json.RawMessage `json:"store_id"`
		TotalAmount json.Number     `json:"total_amount"`
		ItemCount   *int32          `json:"item_count"`
		Items       []line          `json:"items"`
		EventType   string          `json:"event_type"`
		Status      string          `json:"status"`
		Timestamp   string          `json:"timestamp"`
		CreatedAt   json.Number     `json:"created_at"`
	}
	for name, record := range shapes(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(record)))
			b.ReportAllocs()
			for b.Loop() {
				var w wire
				if err := json.Unmarshal(record, &w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
