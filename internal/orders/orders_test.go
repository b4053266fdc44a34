package orders

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestSameSeedSameOrders(t *testing.T) {
	at := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	a, b, other := New(7), New(7), New(8)
	different := false
	for i := range 2000 {
		now := at.Add(time.Duration(i) * time.Millisecond)
		x, y, z := a.Next(now), b.Next(now), other.Next(now)
		if x.OrderID != y.OrderID || !bytes.Equal(x.Data, y.Data) {
			t.Fatalf("event %d: %s and %s from the same seed", i, x.Data, y.Data)
		}
		different = different || !bytes.Equal(x.Data, z.Data)
	}
	if !different {
		t.Error("another seed made the same events")
	}
}

func TestEventsAreWhole(t *testing.T) {
	g := New(1)
	seen := map[string]bool{}
	types := map[string]int{}
	for i := range 20_000 {
		e := g.Next(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Millisecond))
		var v struct {
			OrderID     string          `json:"order_id"`
			EventType   string          `json:"event_type"`
			Status      string          `json:"status"`
			TotalAmount json.Number     `json:"total_amount"`
			StoreID     json.RawMessage `json:"store_id"`
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatalf("event %d: %v: %s", i, err, e.Data)
		}
		if v.OrderID != e.OrderID || v.TotalAmount == "" || len(v.StoreID) == 0 {
			t.Fatalf("event %d lacks something: %s", i, e.Data)
		}
		seen[v.OrderID] = true
		types[v.EventType+v.Status]++
	}
	if n := len(seen); n < 4000 || n > 16_000 {
		t.Errorf("%d orders in 20000 events; a part of them is to be new", n)
	}
	for _, want := range []string{"order_created", "order_completed", "order_cancelled", "pending", "ready"} {
		if types[want] == 0 {
			t.Errorf("no event of type or status %s", want)
		}
	}
}

func TestBadShare(t *testing.T) {
	g := New(3)
	g.Bad = 0.1
	bad := 0
	for range 10_000 {
		e := g.Next(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC))
		var v struct {
			OrderID     string      `json:"order_id"`
			TotalAmount json.Number `json:"total_amount"`
		}
		whole := json.Unmarshal(e.Data, &v) == nil && v.OrderID != "" && v.TotalAmount != "n/a"
		if whole == e.Bad {
			t.Fatalf("Bad = %v: %s", e.Bad, e.Data)
		}
		if e.Bad {
			bad++
		}
	}
	if bad < 800 || bad > 1200 {
		t.Errorf("%d of 10000 events are bad, want about 1000", bad)
	}
}
