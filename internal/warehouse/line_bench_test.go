package warehouse

import (
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// BenchmarkLine writes the line of an order, as each record is between decoding and
// loading.
func BenchmarkLine(b *testing.B) {
	record := []byte(`{"order_id":"9f1c1b60-5a37-4a52-a1ad-0b6d4e1c0a01","customer_id":"cust-000017","store_id":12,"total_amount":12.50,"item_count":3,"event_type":"order_created","timestamp":"2026-11-20T08:15:31.250Z"}`)
	var e event.Event
	if rejected := event.Decode(record, time.Now(), &e); rejected != nil {
		b.Fatal(rejected)
	}
	for name, fill := range map[string]Fill{"copy": &Copy{}, "insert": Insert{}} {
		b.Run(name, func(b *testing.B) {
			encoder := fill.Encoder()
			var line []byte
			for b.Loop() {
				line = encoder.Append(line[:0], &e)
			}
			b.SetBytes(int64(len(line)))
		})
	}
}
