package madeup

import (
	"strconv"
	"time"
)

// shelf is where a store keeps an article.
type shelf struct {
	store int
	sku   string
}

const (
	fullShelf = 120
	lowShelf  = 10 // at which it is filled up
)

// count tells a level that has changed; one that is low is filled up first.
func (g *Generator) count(at time.Time) Event {
	s := g.moved[0]
	g.moved = g.moved[1:]
	delete(g.queue, s)
	kind := "inventory_updated"
	if g.stock[s] < lowShelf && g.rng.IntN(2) == 0 {
		kind, g.stock[s] = "inventory_restocked", fullShelf
	}
	b := make([]byte, 0, 160)
	b = append(b, `{"event_type":"`...)
	b = append(b, kind...)
	b = append(b, `","store_id":"`...) // a string, as the Inventory Service writes it
	b = strconv.AppendInt(b, int64(s.store), 10)
	b = append(b, `","sku":"`...)
	b = append(b, s.sku...)
	b = append(b, `","quantity":`...)
	b = strconv.AppendInt(b, int64(g.stock[s]), 10)
	b = append(b, `,"updated_at":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000")
	b = append(b, `"}`...)
	return Event{Key: strconv.Itoa(s.store) + "/" + s.sku, Data: b}
}
