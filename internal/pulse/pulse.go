// Package pulse shows whether a goroutine gets on. Whoever does a piece of work
// carries a Pulse in its context, and the work beats it at each step: each call to
// AWS that begins or is asked for again, each wait that ends. As every one of these is
// bounded, a pulse that is silent for longer than the longest of them belongs to a
// goroutine that hangs: one that neither returns nor tries again. Waiting for a
// paused warehouse beats, as it means asking again and again.
package pulse

import (
	"context"
	"sync/atomic"
	"time"
)

// Pulse is when a piece of work last got on. The zero Pulse has never beaten. It is
// safe for concurrent use.
type Pulse struct{ last atomic.Pointer[time.Time] }

// Beat says that the work got on now.
func (p *Pulse) Beat() {
	now := time.Now()
	p.last.Store(&now)
}

// Silent is for how long the work has not got on at the time now: 0 before its first
// beat, as it has not begun.
func (p *Pulse) Silent(now time.Time) time.Duration {
	last := p.last.Load()
	if last == nil {
		return 0
	}
	return max(0, now.Sub(*last))
}

type key struct{}

// With returns a context for work that p shows.
func With(ctx context.Context, p *Pulse) context.Context { return context.WithValue(ctx, key{}, p) }

// Without returns a context for other work that is begun from ctx: it must not pass
// for the work that ctx is for.
func Without(ctx context.Context) context.Context { return With(ctx, nil) }

// Beat says that the work that ctx is for got on. Without a pulse it does nothing.
func Beat(ctx context.Context) {
	if p, _ := ctx.Value(key{}).(*Pulse); p != nil {
		p.Beat()
	}
}
