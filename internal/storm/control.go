package storm

import "time"

// Times and gains of the loop. A processor works and rests within a slice, so a
// change of its duty shows in the next measurement.
const (
	tick    = 100 * time.Millisecond // between measurements
	slice   = 20 * time.Millisecond  // of a processor: work for its duty of it, then rest
	payBack = 1.5                    // duty for a second of deviation that has added up
	// forget is after what time a deviation counts no more: to make good what is
	// older than the ten seconds that are looked at would be a deviation of its own.
	forget   = 10 * time.Second
	newest   = 0.5 // weight of the newest measurement of what others use
	newestOf = 0.1 // the same for what they use usually
	// queryShare is how much of the target others may use usually. Queries of a
	// warehouse on this machine come in bursts; the processors, which have the rest,
	// can give way to them only as far as they work.
	queryShare = 0.7
	gateDebt   = 0.06 // no query starts while more than this has been overdrawn
	gateRoom   = 0.1  // nor while others leave less than this share of the target
	firstPace  = 2.0  // queries a second
	leastPace  = 0.5
	mostFlight = 500.0
	// mostHeld is after what time one query starts all the same, where none is in
	// flight: others may use all of the CPU for good.
	mostHeld = 5 * time.Second
)

// control is the closed loop as a value: what was measured goes in, what to do
// comes out. The processors get what others leave of the target. Deviations are
// added up, so that what was too much in one second is made good in the next ones,
// and the mean is the target.
//
// Two things use the CPU: processors, which can do anything from nothing to all of
// it within a tick, and queries of a warehouse on the same machine, which cannot be
// held once they run. So few run at first, one starts at a time, and the pace and
// number of them grow only while others are below their share of the target. Where
// the warehouse is elsewhere, they are at the most within seconds.
type control struct {
	target float64 // 0 to 1
	power  float64 // share of the CPU that the processors take at a duty of 1
	debt   float64 // seconds by which the CPU was over the target; below 0: under it
	others float64 // share that is used by all but this process, smoothed over some ticks
	usual  float64 // the same over about a second
	pace   float64
	flight float64
	held   time.Duration // for which no query could start
}

// orders are what the loop wants done until the next measurement.
type orders struct {
	duty   float64 // of each processor, 0 to 1
	open   bool    // queries may start
	pace   float64 // queries that may start in a second
	flight int     // queries that may be in flight
}

// newControl returns the loop for a target from 0 to 1. power is how many processors
// there are for each CPU that is measured: in a container with a quota of half a CPU
// there are four, and without that number the loop would learn it from a deviation
// that stays.
func newControl(target, power float64) *control {
	return &control{target: target, power: power, pace: firstPace, flight: firstPace}
}

// step takes the share of the CPU that was busy over the time since the last step,
// the part of it that was this process's, and how many queries are in flight.
func (c *control) step(busy, own float64, over time.Duration, flying int) orders {
	if c.target >= 1 { // cannot be passed
		return orders{duty: 1, open: true, pace: submitRate, flight: mostFlight}
	}
	c.debt += (busy-c.target)*over.Seconds() - c.debt*over.Seconds()/forget.Seconds()
	others := max(0, busy-own)
	c.others += newest * (others - c.others)
	c.usual += newestOf * (others - c.usual)
	c.steer(flying)
	open := c.debt <= gateDebt && c.others <= (1-gateRoom)*c.target
	if open || flying > 0 || c.held > mostHeld {
		c.held = 0
		open = open || flying == 0
	}
	c.held += over
	return orders{duty: min(1, max(0, c.target-c.others-payBack*c.debt)/c.power), open: open, pace: c.pace, flight: int(c.flight)}
}

// steer changes pace and number of queries by what others leave of their share.
func (c *control) steer(flying int) {
	room := 1 - c.usual/(queryShare*c.target)
	if room < 0 || c.debt > gateDebt {
		c.pace = max(leastPace, 0.93*c.pace)
		c.flight = max(1, 0.97*min(c.flight, float64(flying)+1))
		return
	}
	c.pace = min(submitRate, c.pace*(1+0.06*room))
	if float64(flying)+1 >= c.flight { // it is what holds them back
		c.flight = min(mostFlight, c.flight*(1+0.06*room))
	}
}
