package storm

import (
	"math"
	"time"
)

// Times and gains of the loop. A processor works and rests within a slice, so a
// change of its duty shows in the next measurement.
const (
	tick       = 200 * time.Millisecond // between measurements
	slice      = 20 * time.Millisecond  // of a processor: work for its duty of it, then rest
	payBack    = 1.5                    // duty for a second of deviation that has added up
	newest     = 0.5                    // weight of the newest measurement of what others use
	mostDebt   = 1.0                    // seconds of the target's CPU; what is beyond is forgiven
	gateDebt   = 0.06                   // queries wait while more than this has been overdrawn
	gateRoom   = 0.04                   // and while others leave less than this of the target
	idleDuty   = 0.02                   // below it the processors are not what uses the CPU
	mostStarts = 8                      // queries that may start in one tick
	heldTicks  = 5                      // after which a hold that goes on counts again
)

// control is the closed loop as a value: what was measured goes in, what to do
// comes out. What others use is what was busy without the processors' share; the
// processors get the rest of the target. Deviations are added up, so that what was
// too much in one second is made good in the next ones, and the mean is the target.
//
// Two things use the CPU: processors, which can do anything from nothing to all of
// it within a tick, and queries of a warehouse on the same machine, which cannot be
// held once they run. So processors give way first. Where the CPU is above the
// target without them, it is the queries: fewer may be in flight, and they start
// one by one.
type control struct {
	target float64 // 0 to 1
	debt   float64 // seconds by which the CPU was over the target; below 0: under it
	duty   float64 // of each processor, 0 to 1
	others float64 // share that is used by all but the processors, smoothed
	starts float64 // queries that may start in the next tick
	flight float64 // queries that may be in flight; 0 = as many as there is room for
	held   int     // ticks of the hold under way
}

// orders are what the loop wants done until the next measurement.
type orders struct {
	duty   float64 // of each processor
	starts int     // queries that may start
	flight int     // queries that may be in flight
}

// open reports whether queries may start.
func (o orders) open() bool { return o.starts > 0 }

// step takes the share of the CPU that was busy over the time since the last
// step, and how many queries are in flight.
func (c *control) step(busy float64, over time.Duration, flying int) orders {
	c.debt = min(mostDebt, max(-mostDebt, c.debt+(busy-c.target)*over.Seconds()))
	c.others += newest * (max(0, busy-c.duty) - c.others)
	c.duty = min(1, max(0, c.target-c.others-payBack*c.debt))
	if c.target >= 1 { // cannot be passed
		c.duty, c.debt = 1, 0
	}
	c.hold(flying)
	o := orders{duty: c.duty, starts: int(c.starts), flight: math.MaxInt}
	if c.flight > 0 {
		o.flight = int(c.flight)
	}
	return o
}

func (c *control) hold(flying int) {
	if c.target >= 1 || c.debt <= gateDebt && c.target-c.others >= gateRoom {
		c.held = 0
		c.starts = min(mostStarts, max(1, c.starts*1.3))
		if c.flight > 0 { // they are known to cost this machine's CPU
			c.starts = 1
			c.flight += 0.05
		}
		return
	}
	c.starts = 0
	if c.held%heldTicks == 0 && c.duty <= idleDuty && flying > 0 {
		c.flight = max(1, 0.6*float64(flying))
	}
	c.held++
}
