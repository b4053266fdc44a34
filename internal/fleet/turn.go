package fleet

import (
	"context"
	"time"
)

const (
	// worthHolding is how long a load takes at least for which a batch that would miss
	// it is held back. A shorter one is over before the wait for its end is.
	worthHolding = 2 * time.Second
	// longestHeld bounds for how long a batch is held back: what waits for a load that
	// takes unusually long is told by who has staged it.
	longestHeld = 30 * time.Second
	// freshLook is how old at most what was last seen of the word is for a worker that
	// is about to stage.
	freshLook = 200 * time.Millisecond
	// longestLook is how long a batch is held back until that is known.
	longestLook = time.Second
)

// Turn tells when the worker's next batch is to be taken. While a load is under way
// that the batch would miss, it is better not taken yet: all that arrives until it is
// loaded would wait for one more load, and for a second one that the next batch is in.
// Then held is a channel that is closed when that may have changed. After such a load
// whatever there is belongs into the next one, for which it is now that the batches
// are gathered.
func (f *Fleet) Turn() (held <-chan struct{}, now bool) {
	p, at := f.place(), time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	together := p.shared() && !f.leaving
	gathers := f.gathers(p)
	if together && at.Before(gathers) {
		f.held = time.Time{}
		if !gathers.Equal(f.rings) {
			f.rings = gathers
			time.AfterFunc(gathers.Sub(at), f.ring)
		}
		return f.changed, false
	}
	if together && f.misses(p, at) {
		if f.held.IsZero() {
			f.held = at
			f.wake() // Run looks at the word for as long as it is so
		}
		return f.changed, false
	}
	f.held = time.Time{}
	gathered := at.Sub(gathers) < gatherLast && f.c.LoadInterval >= max(f.c.PollInterval, gatherLast)
	return nil, together && (at.Sub(f.over) < gatherLast || gathered)
}

// gathers is when batches are to be staged for the next load, where that may not begin
// for a while, as the last one began a short while ago: who stages earlier waits for no
// less, and what arrives meanwhile waits for the load after it. The caller holds mu.
func (f *Fleet) gathers(p place) time.Time {
	if p.ours() {
		return f.loader.gathers
	}
	if w := f.word; w.Loader == p.loader {
		return f.heard.Add(min(w.Rest, max(f.c.LoadInterval, longestHeld))) // the other's interval may be another one
	}
	return time.Time{}
}

// ring wakes those who hold a batch back.
func (f *Fleet) ring() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broadcast()
}

// misses reports whether a batch that is staged now would miss the load under way, or
// it is not known yet whether. The caller holds mu.
func (f *Fleet) misses(p place, now time.Time) bool {
	since := now
	if !f.held.IsZero() {
		since = f.held
	}
	if p.ours() {
		return f.loader.loading != nil && f.loader.took >= worthHolding && now.Sub(f.loader.since) < min(2*f.loader.took, longestHeld)
	}
	w := f.word
	if w.Loader != p.loader || w.Took < worthHolding || now.Sub(f.heard) >= f.c.Patience {
		return false
	}
	if f.looked.Before(since.Add(-freshLook)) {
		return now.Sub(since) < longestLook
	}
	return w.Shut || len(w.Loading) > 0 && f.runs(now) < min(2*w.Took, longestHeld)
}

// runs is for how long the load of the word has been under way. The caller holds mu.
func (f *Fleet) runs(now time.Time) time.Duration {
	return now.Sub(f.heard) + f.word.At.Sub(f.word.Since) // both times of the word are of one clock
}

// lookForHeld looks at the word for a batch that is held back. It returns when to look
// again, and false where none is.
func (f *Fleet) lookForHeld(ctx context.Context, p place) (time.Duration, bool) {
	f.mu.Lock()
	held := !f.held.IsZero()
	f.mu.Unlock()
	if !held {
		return 0, false
	}
	f.look(ctx, p.folder)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leaving || !f.misses(p, time.Now()) {
		f.held = time.Time{} // the batch may be gone, with its shards, and nobody ask again
	}
	f.broadcast()
	return max(150*time.Millisecond, min(500*time.Millisecond, f.word.Took-f.runs(time.Now()), f.c.Patience/4)), true
}
