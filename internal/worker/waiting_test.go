package worker

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/madeup"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// heldMost is what an order may take of the memory while it waits for its load.
const heldMost = 200

// waiting decodes pages of orders of about 200 bytes, as Kinesis numbers them, and
// returns what each of them takes: by the heap, and as the worker counts it.
func waiting(tb testing.TB, e warehouse.Encoder, mixed bool) (heap, counted float64) {
	tb.Helper()
	const pages, records = 40, 2500
	g := madeup.New(3)
	g.Mixed = mixed
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	d, s := newDecoder(e, func(event.Family) bool { return true }), named("shardId-000000000000")
	page := pageOf(g, records, at)
	chunks := make([]*chunk, 0, pages)
	d.decode(s, page) // the first page finds out how long lines are
	before := liveBytes()
	for range pages {
		c := d.decode(s, page)
		chunks = append(chunks, c)
		counted += float64(c.bytes)
	}
	heap = float64(liveBytes() - before)
	runtime.KeepAlive(chunks)
	runtime.KeepAlive(page)
	return heap / (pages * records), counted / (pages * records)
}

// pageOf is a page of made up records, as Kinesis numbers them.
func pageOf(g *madeup.Generator, records int, at time.Time) (page stream.Page) {
	for i := range records {
		page.Records = append(page.Records, stream.Record{
			SequenceNumber: fmt.Sprintf("%056d", i), ArrivedAt: at, Data: g.Next(at).Data, PartitionKey: "key",
		})
	}
	return page
}

// liveBytes is the heap that is in use.
func liveBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestG9_AWaitingOrderTakesFewBytes: the page is given back once it is decoded, and
// what stays is the line that its load wants, and its place.
func TestG9_AWaitingOrderTakesFewBytes(t *testing.T) {
	for name, e := range map[string]warehouse.Encoder{"INSERT": warehouse.Insert{}.Encoder(), "COPY": (&warehouse.Copy{}).Encoder()} {
		for _, mixed := range []bool{false, true} {
			heap, counted := waiting(t, e, mixed)
			t.Logf("%s, of all families %t: %.0f bytes of the heap, %.0f counted", name, mixed, heap, counted)
			if heap > heldMost {
				t.Errorf("%s, of all families %t: %.0f bytes a record that waits, want at most %d", name, mixed, heap, heldMost)
			}
			if counted < heap*0.9 || counted > heap*1.2 {
				t.Errorf("%s, of all families %t: %.0f bytes are counted of %.0f", name, mixed, counted, heap)
			}
		}
	}
}

// BenchmarkWaiting reports what an order takes while it waits.
func BenchmarkWaiting(b *testing.B) {
	for name, mixed := range map[string]bool{"orders": false, "mixed": true} {
		b.Run(name, func(b *testing.B) {
			var heap float64
			for b.Loop() {
				heap, _ = waiting(b, warehouse.Insert{}.Encoder(), mixed)
			}
			b.ReportMetric(heap, "bytes-held/record")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkPage turns pages of orders, none like another, into what waits for a load.
func BenchmarkPage(b *testing.B) {
	const records = 2500
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	g := madeup.New(3)
	pages := make([]stream.Page, 20)
	for i := range pages {
		pages[i] = pageOf(g, records, at.Add(time.Duration(i)*time.Second))
	}
	d, s := newDecoder((&warehouse.Copy{}).Encoder(), func(event.Family) bool { return true }), named("shardId-000000000000")
	n := 0
	for b.Loop() {
		d.decode(s, pages[n%len(pages)])
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*records), "ns/record")
}
