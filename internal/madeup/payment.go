package madeup

import (
	"slices"
	"strconv"
	"time"
)

// payment is one payment of an order.
type payment struct {
	order, customer string
	cents           int64
	method          string
	status          string
	score           int
	tried           bool // it has been told of once
	last            time.Time
}

var methods = []string{"credit_card", "debit_card", "gift_card", "mobile_wallet", "cash"}

const (
	// dueMost bounds the payments that wait to be told of; orders beyond it stay unpaid.
	dueMost = 2000
	// dueMany is from how many on payments are completed without being pending first:
	// what is sold is paid soon after.
	dueMany = 60
)

// sell notes what an order brings about: a payment, and less in stock.
func (g *Generator) sell(o *order) {
	if cents, _ := o.total(); len(g.due) < dueMost && g.rng.IntN(50) > 0 {
		g.due = append(g.due, payment{
			order: o.id, customer: o.customer, cents: cents, method: methods[g.skewed(len(methods))], score: g.skewed(100), last: o.last,
		})
	}
	for _, it := range o.items {
		at := shelf{o.store, it.id}
		left, known := g.stock[at]
		if !known {
			left = fullShelf
		}
		g.stock[at] = max(0, left-it.quantity)
		if !g.queue[at] {
			g.queue[at] = true
			g.moved = append(g.moved, at)
		}
	}
}

// pay makes the next event of a payment: it is pending, and then most are completed.
// Some fail and are tried again, and some are looked at. What was paid of an order
// that is cancelled is given back, and what was not paid fails.
func (g *Generator) pay(at time.Time) Event {
	p := g.due[0]
	g.due = g.due[1:]
	cancelled := g.cancelled[p.order]
	delete(g.cancelled, p.order)
	if at.After(p.last) {
		p.last = at
	}
	again := false
	switch draw := g.rng.IntN(100); {
	case p.status == "completed":
		p.status = "refunded"
	case cancelled:
		p.status = "failed"
	case p.status == "" && len(g.due) < dueMany:
		p.status, again = "pending", true
	case p.score > 90 && !p.tried:
		p.status, again = "flagged_for_review", true
	case draw < 5 && !p.tried:
		p.status, again = "failed", true
	default:
		p.status = "completed"
		if g.isOpen(p.order) {
			g.paid[p.order] = p
		}
	}
	p.tried = p.tried || p.status != "pending"
	e := p.event()
	if again {
		g.due = append(g.due, p)
	}
	return e
}

// close notes that nothing more comes of an order.
func (g *Generator) close(o *order, cancelled bool) {
	p, paid := g.paid[o.id]
	delete(g.paid, o.id)
	switch {
	case cancelled && paid:
		g.due = append(g.due, p)
	case cancelled && slices.ContainsFunc(g.due, func(p payment) bool { return p.order == o.id }):
		g.cancelled[o.id] = true
	}
}

func (g *Generator) isOpen(id string) bool {
	return slices.ContainsFunc(g.open, func(o order) bool { return o.id == id })
}

// event writes the payment as the Payment Processor does.
func (p *payment) event() Event {
	id := "pay-" + p.order
	kind := p.status
	if kind == "flagged_for_review" {
		kind = "flagged"
	}
	b := make([]byte, 0, 400)
	b = append(b, `{"event_type":"payment_`...)
	b = append(b, kind...)
	b = append(b, `","payment_id":"`...)
	b = append(b, id...)
	b = append(b, `","transaction_id":"txn-`...)
	b = append(b, id...)
	b = append(b, `","order_id":"`...)
	b = append(b, p.order...)
	b = append(b, `","customer_id":"`...)
	b = append(b, p.customer...)
	b = append(b, `","amount":`...)
	b = appendAmount(b, p.cents)
	b = append(b, `,"payment_method":"`...)
	b = append(b, p.method...)
	b = append(b, `","status":"`...)
	b = append(b, p.status...)
	b = append(b, `","fraud_score":`...)
	b = strconv.AppendInt(b, int64(p.score), 10)
	b = append(b, `,"processed_at":"`...)
	b = p.last.UTC().AppendFormat(b, "2006-01-02T15:04:05.000000")
	b = append(b, `"}`...)
	return Event{Key: id, Data: b}
}
