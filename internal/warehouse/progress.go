package warehouse

import (
	"context"
	"time"
)

// Progress is how far statements have got that Run waits for.
type Progress struct {
	// Started: they run. Else the warehouse has taken them and not started them: it is
	// paused, resizing, or has no room for another one.
	Started bool
	// Statement is the one that runs, from 0; -1 where that is not known. Loads and
	// claims begin with the lock (see LockTable), so that at 0 they wait for it.
	Statement int
	// Began is when the load began that is waited for; zero = with the call.
	Began time.Time
	// Err is why nothing is known; nil = the rest is.
	Err error
}

// Waits reports whether a load or claim does not work yet: it waits to be started, or
// for the lock. What it waits for says nothing of how fast the warehouse is.
func (p Progress) Waits() bool { return p.Err == nil && (!p.Started || p.Statement == 0) }

type progressKey struct{}

// Watched returns a context for Run under which report hears how far it gets, again
// and again while it waits. report must return at once.
func Watched(ctx context.Context, report func(Progress)) context.Context {
	return context.WithValue(ctx, progressKey{}, report)
}

// Report is for implementations of DB: it tells whoever watches.
func Report(ctx context.Context, p Progress) {
	if report, _ := ctx.Value(progressKey{}).(func(Progress)); report != nil {
		report(p)
	}
}
