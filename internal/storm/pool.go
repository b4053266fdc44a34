package storm

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// pool is the processors, one per core. Each works for its duty of every slice
// and rests for the remainder: on pages of results while there are some, else on
// pages that it makes up.
type pool struct {
	pages chan page
	duty  atomic.Uint64 // float64 bits

	real, made work
}

// work is what processors did. Its fields are counts since the start.
type work struct {
	pages, rows, bytes atomic.Int64
	nanos              atomic.Int64
}

// queuedPages bounds the pages that wait for a processor. A page has up to a
// megabyte.
const queuedPages = 8

func newPool() *pool { return &pool{pages: make(chan page, queuedPages)} }

func (p *pool) setDuty(duty float64) { p.duty.Store(math.Float64bits(duty)) }

// run works until ctx ends. Pages that wait then, or come until fed is closed, are
// given back undone: whoever sent one waits for it.
func (p *pool) run(ctx context.Context, seed uint64, fed <-chan struct{}) {
	var all sync.WaitGroup
	for n := range runtime.GOMAXPROCS(0) {
		all.Go(func() { p.processor(ctx, newMaker(seed, n)) })
	}
	all.Wait()
	for {
		select {
		case g := <-p.pages:
			g.done(processed{}, context.Cause(ctx))
		case <-fed:
			return
		}
	}
}

func (p *pool) processor(ctx context.Context, made *maker) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	owed := 0.0 // seconds of work that the duty has granted and that were not done
	last := time.Now()
	for ctx.Err() == nil {
		now := time.Now()
		duty := math.Float64frombits(p.duty.Load())
		owed += now.Sub(last).Seconds() * max(duty, leastDuty)
		last = now
		owed = min(owed, 2*slice.Seconds())
		for owed > 0 && ctx.Err() == nil {
			began := time.Now()
			if !p.one(made, duty >= leastDuty) {
				break
			}
			owed -= time.Since(began).Seconds()
		}
		// What is left of the slice: a fixed rest would bound the duty.
		rest.Reset(max(time.Millisecond/2, time.Duration(float64(slice)*(1-max(duty, leastDuty)))))
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
	}
}

// leastDuty is what results get even while others keep the machine above the
// target: a query whose result nobody takes would be in flight for ever.
const leastDuty = 0.03

// one processes one page, and reports whether there was one. Made-up pages are
// allowed or not.
func (p *pool) one(made *maker, allowed bool) bool {
	began := time.Now()
	select {
	case g := <-p.pages:
		out, err := process(g)
		p.real.add(g, began)
		g.done(out, err)
	default:
		if !allowed {
			return false
		}
		g := made.page()
		_, _ = process(g) // what is made up is for the work's sake
		p.made.add(g, began)
	}
	return true
}

func (w *work) add(g page, began time.Time) {
	w.pages.Add(1)
	w.rows.Add(int64(len(g.rows)))
	w.bytes.Add(int64(g.bytes))
	w.nanos.Add(int64(time.Since(began)))
}
