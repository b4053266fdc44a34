package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Gauge is a value as it is now. It has none until From was called.
type Gauge struct {
	source atomic.Pointer[func() (float64, bool)]
}

// From names where the value comes from: source is called whenever somebody
// looks, from any goroutine, and reports false while there is no value.
func (g *Gauge) From(source func() (float64, bool)) { g.source.Store(&source) }

// Value is the present value, if there is one.
func (g *Gauge) Value() (float64, bool) {
	source := g.source.Load()
	if source == nil {
		return 0, false
	}
	return (*source)()
}

func (g *Gauge) cursor() cursor {
	return func() (values, counts []float64) {
		v, ok := g.Value()
		if !ok {
			return nil, nil
		}
		return []float64{v}, []float64{1}
	}
}

// GaugeBy is a Gauge for each value of a label.
type GaugeBy struct {
	source atomic.Pointer[func() map[string]float64]
}

// From names where the values come from; see Gauge.From.
func (g *GaugeBy) From(source func() map[string]float64) { g.source.Store(&source) }

// Values are the present values.
func (g *GaugeBy) Values() map[string]float64 {
	source := g.source.Load()
	if source == nil {
		return nil
	}
	return (*source)()
}

// maxLabels bounds the labels of a CounterBy, whoever makes them.
const maxLabels = 100

// otherLabel counts for the labels beyond the bound.
const otherLabel = "other"

// CounterBy is a Counter for each value of a label. It is safe for concurrent use.
type CounterBy struct {
	mu sync.Mutex // guards n
	n  map[string]int64
}

// Add adds n to the count of a label.
func (c *CounterBy) Add(label string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int64)
	}
	if _, known := c.n[label]; !known && len(c.n) >= maxLabels {
		label = otherLabel
	}
	c.n[label] += int64(n)
}

// Values are the counts so far.
func (c *CounterBy) Values() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}
