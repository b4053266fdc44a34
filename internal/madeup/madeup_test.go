package madeup

import (
	"bytes"
	"encoding/json"
	"strings"
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
		if x.Key != y.Key || !bytes.Equal(x.Data, y.Data) {
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
		if v.OrderID != e.Key || v.TotalAmount == "" || len(v.StoreID) == 0 {
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

// Payments are of orders that were made, of their amounts, and levels follow what
// was sold.
func TestTheThreeKindsAgree(t *testing.T) {
	g := New(5)
	g.Mixed = true
	amounts, customers := map[string]string{}, map[string]string{}
	kinds, statuses := map[string]int{}, map[string]int{}
	newest, paid := map[string]string{}, map[string]string{} // of orders, and of their payments
	const events = 20_000
	for i := range events {
		e := g.Next(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC).Add(time.Duration(i) * time.Millisecond))
		var v struct {
			OrderID     string      `json:"order_id"`
			CustomerID  string      `json:"customer_id"`
			PaymentID   string      `json:"payment_id"`
			Status      string      `json:"status"`
			EventType   string      `json:"event_type"`
			TotalAmount json.Number `json:"total_amount"`
			Amount      json.Number `json:"amount"`
			SKU         string      `json:"sku"`
			Quantity    *int        `json:"quantity"`
			StoreID     any         `json:"store_id"`
		}
		if err := json.Unmarshal(e.Data, &v); err != nil {
			t.Fatalf("event %d: %v: %s", i, err, e.Data)
		}
		switch {
		case v.PaymentID != "":
			kinds["payments"]++
			statuses[v.Status]++
			paid[v.OrderID] = v.Status
			if e.Key != v.PaymentID || amounts[v.OrderID] != v.Amount.String() || customers[v.OrderID] != v.CustomerID {
				t.Fatalf("payment %s, of an order of %s by %s", e.Data, amounts[v.OrderID], customers[v.OrderID])
			}
		case v.SKU != "":
			kinds["inventory"]++
			if v.Quantity == nil || *v.Quantity < 0 || *v.Quantity > fullShelf || v.StoreID == nil {
				t.Fatalf("level %s", e.Data)
			}
		default:
			kinds["orders"]++
			amounts[v.OrderID], customers[v.OrderID] = v.TotalAmount.String(), v.CustomerID
			newest[v.OrderID] = strings.TrimPrefix(v.EventType, "order_") + v.Status
		}
	}
	for kind, share := range map[string]float64{"orders": 0.6, "payments": 0.25, "inventory": 0.15} {
		if n := float64(kinds[kind]) / events; n < share-0.05 || n > share+0.05 {
			t.Errorf("%.2f of the events are %s, want about %.2f", n, kind, share)
		}
	}
	unpaid, atOdds := 0, 0
	for order, status := range newest {
		switch {
		case status != "cancelled" && paid[order] != "completed":
			unpaid++
		case status == "cancelled" && paid[order] == "completed":
			atOdds++ // not given back yet
		}
		if status != "cancelled" && paid[order] == "refunded" {
			t.Errorf("order %s is %s, and its payment was given back", order, status)
		}
	}
	if share := float64(unpaid) / float64(len(newest)); share > 0.12 || unpaid == 0 || atOdds > 20 {
		t.Errorf("%d of %d orders are not paid, and %d are cancelled and paid", unpaid, len(newest), atOdds)
	}
	for _, status := range []string{"pending", "completed", "failed", "refunded", "flagged_for_review"} {
		if statuses[status] == 0 {
			t.Errorf("no payment is %s", status)
		}
	}
}
