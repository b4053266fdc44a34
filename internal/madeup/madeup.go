// Package madeup makes up events that look like those of CloudCafe's services:
// for demonstrations, load tests and benchmarks. The same seed makes the same
// events.
package madeup

import (
	"bytes"
	"math/rand/v2"
	"time"
)

// Generator makes events one after another. It is not safe for concurrent use.
type Generator struct {
	Bad float64 // share of events that are broken on purpose, 0 to 1
	// Mixed makes payments of the orders and levels of what they sell beside the
	// orders themselves: 60 % orders, 25 % payments, 15 % inventory.
	Mixed bool

	rng  *rand.Rand
	seed uint64
	n    int
	open []order // orders that are not finished yet, oldest first

	due       []payment          // payments that will be told of, oldest first
	paid      map[string]payment // completed ones of orders that are open
	cancelled map[string]bool    // orders that were, and may have a payment due

	stock map[shelf]int  // as last told, or sold from since
	moved []shelf        // levels that have changed and were not told, oldest first
	queue map[shelf]bool // what moved holds
}

// New returns a Generator for a seed.
func New(seed uint64) *Generator {
	return &Generator{
		rng: rand.New(rand.NewPCG(seed, 0x0ca7e)), seed: seed,
		stock: make(map[shelf]int), queue: make(map[shelf]bool),
		paid: make(map[string]payment), cancelled: make(map[string]bool),
	}
}

// Event is one event on its way to the stream.
type Event struct {
	Key  string // partition key, which keeps the events of one row in one shard
	Data []byte // JSON
	Bad  bool   // broken on purpose
}

// Next makes the next event, which happens at the given time. About half of the
// events of orders are new orders, the rest are steps in the life of earlier ones;
// event times of one row never go back.
func (g *Generator) Next(at time.Time) Event {
	e := g.whole(at)
	if g.Bad > 0 && g.rng.Float64() < g.Bad {
		e.Data = g.spoil(e.Data)
		e.Bad = true
	}
	return e
}

func (g *Generator) whole(at time.Time) Event {
	if g.Mixed {
		switch share := g.rng.Float64(); {
		case share < 0.25 && len(g.due) > 0:
			return g.pay(at)
		case share >= 0.25 && share < 0.4 && len(g.moved) > 0:
			return g.count(at)
		}
	}
	return g.order(at)
}

// spoil breaks an event in one of the ways that are seen in practice.
func (g *Generator) spoil(data []byte) []byte {
	switch g.rng.IntN(3) {
	case 0:
		return data[:len(data)/2]
	case 1:
		return bytes.Replace(data, []byte(`_id"`), []byte(`Id"`), 1)
	default:
		for _, number := range []string{`"total_amount":`, `"amount":`, `"quantity":`} {
			if bytes.Contains(data, []byte(number)) {
				return bytes.Replace(data, []byte(number), []byte(number+`"n/a","was":`), 1)
			}
		}
		return data[:1]
	}
}

// skewed draws from 0 to n-1, small numbers more often: a few stores and
// customers make most of the orders.
func (g *Generator) skewed(n int) int {
	f := g.rng.Float64()
	return int(f * f * float64(n))
}
