package madeup

import (
	"fmt"
	"strconv"
	"time"
)

type order struct {
	id, customer string
	store        int
	items        []item
	service      bool // written in the Order Service's shape
	stage        int
	last         time.Time
}

type item struct {
	id       string
	cents    int64
	quantity int
}

// menu is what CloudCafe sells, in cents.
var menu = []item{
	{id: "latte", cents: 495},
	{id: "espresso", cents: 345},
	{id: "cappuccino", cents: 450},
	{id: "mocha", cents: 550},
	{id: "cold-brew", cents: 475},
	{id: "green-tea", cents: 325},
	{id: "croissant", cents: 350},
	{id: "muffin", cents: 300},
	{id: "bagel", cents: 425},
	{id: "cookie", cents: 225},
}

var stages = []string{"order_created", "order_preparing", "order_ready", "order_completed"}

const (
	stores    = 40
	customers = 5000
	openMost  = 400 // orders under way at a time
)

// order makes an order, or takes one a step on.
func (g *Generator) order(at time.Time) Event {
	if len(g.open) > 0 && (len(g.open) >= openMost || g.rng.IntN(2) == 0) {
		return g.advance(at)
	}
	return g.create(at)
}

func (g *Generator) create(at time.Time) Event {
	o := order{
		id:       fmt.Sprintf("ord-%x-%08d", g.seed, g.n),
		customer: "cust-" + strconv.Itoa(g.skewed(customers)),
		store:    1 + g.skewed(stores),
		service:  g.rng.IntN(5) == 0,
		last:     at,
	}
	for range 1 + g.skewed(4) {
		it := menu[g.rng.IntN(len(menu))]
		it.quantity = 1 + g.skewed(3)
		o.items = append(o.items, it)
	}
	g.n++
	g.open = append(g.open, o)
	if g.Mixed {
		g.sell(&o)
	}
	return o.event()
}

func (g *Generator) advance(at time.Time) Event {
	i := g.skewed(len(g.open))
	o := &g.open[i]
	if at.After(o.last) {
		o.last = at
	}
	o.stage++
	cancelled := o.stage == 1 && g.rng.IntN(25) == 0
	if cancelled {
		o.stage = len(stages)
	}
	e := o.event()
	if cancelled || o.stage == len(stages)-1 {
		g.close(o, cancelled)
		g.open = append(g.open[:i], g.open[i+1:]...)
	}
	return e
}

func (o *order) event() Event {
	if o.service {
		return o.serviceEvent()
	}
	cents, count := o.total()
	b := make([]byte, 0, 200)
	b = append(b, `{"order_id":"`...)
	b = append(b, o.id...)
	b = append(b, `","customer_id":"`...)
	b = append(b, o.customer...)
	b = append(b, `","store_id":`...)
	b = strconv.AppendInt(b, int64(o.store), 10)
	b = append(b, `,"total_amount":`...)
	b = appendAmount(b, cents)
	b = append(b, `,"item_count":`...)
	b = strconv.AppendInt(b, int64(count), 10)
	b = append(b, `,"event_type":"`...)
	b = append(b, o.eventType()...)
	b = append(b, `","timestamp":"`...)
	b = o.last.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000")
	b = append(b, `"}`...)
	return Event{Key: o.id, Data: b}
}

// serviceEvent writes the order as the Order Service does: store as a string,
// items in full, a status in place of the event type, epoch times.
func (o *order) serviceEvent() Event {
	b := make([]byte, 0, 400)
	b = append(b, `{"order_id":"`...)
	b = append(b, o.id...)
	b = append(b, `","customer_id":"`...)
	b = append(b, o.customer...)
	b = append(b, `","store_id":"`...)
	b = strconv.AppendInt(b, int64(o.store), 10)
	b = append(b, `","items":[`...)
	for i, it := range o.items {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"item_id":"`...)
		b = append(b, it.id...)
		b = append(b, `","quantity":`...)
		b = strconv.AppendInt(b, int64(it.quantity), 10)
		b = append(b, `,"price":`...)
		b = appendAmount(b, it.cents)
		b = append(b, '}')
	}
	b = append(b, `],"total_amount":`...)
	cents, _ := o.total()
	b = appendAmount(b, cents)
	b = append(b, `,"status":"`...)
	b = append(b, o.status()...)
	b = append(b, `","created_at":`...)
	b = strconv.AppendInt(b, o.last.UnixMilli(), 10)
	b = append(b, '}')
	return Event{Key: o.id, Data: b}
}

func (o *order) total() (cents int64, count int) {
	for _, it := range o.items {
		cents += it.cents * int64(it.quantity)
		count += it.quantity
	}
	return cents, count
}

func (o *order) eventType() string {
	if o.stage >= len(stages) {
		return "order_cancelled"
	}
	return stages[o.stage]
}

func (o *order) status() string {
	if o.stage == 0 {
		return "pending"
	}
	return o.eventType()[len("order_"):]
}

func appendAmount(b []byte, cents int64) []byte {
	b = strconv.AppendInt(b, cents/100, 10)
	return append(b, '.', byte('0'+cents%100/10), byte('0'+cents%10))
}
