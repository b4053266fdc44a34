package fleet

import (
	"slices"
	"time"
)

// Status is what a worker knows of its fleet's loads.
type Status struct {
	Together bool      // there are others to load with
	Apart    error     // why it loads for itself though there are others: what the bucket does not let it do; nil = no such thing
	Loader   string    // who loads, by the leases and by the signs that were missed
	Heard    time.Time // when its word was last another one; zero = never
	Loads    int64     // of the fleet that went in, as far as that word tells
	Waiting  int       // batches that are staged and not in
	// Oldest is for how long the oldest of them has been staged, by AWS's clock, which
	// all workers have; 0 = none waits.
	Oldest time.Duration
}

// Status returns the present status.
func (f *Fleet) Status() Status {
	p := f.place()
	out := Status{Together: p.shared(), Apart: f.apart(), Loader: p.loader}
	f.mu.Lock()
	defer f.mu.Unlock()
	out.Heard = f.heard
	var oldest time.Time
	if p.ours() {
		out.Loads, out.Waiting, oldest = f.loader.loads, len(f.loader.waiting), f.loader.oldest
	} else {
		out.Loads, out.Waiting, oldest = f.word.Loads, len(f.word.Waiting), f.word.Oldest
		for _, b := range f.mine { // it may have been staged since
			if oldest.IsZero() || b.At.Before(oldest) {
				oldest = b.At
			}
			out.Waiting = max(out.Waiting, 1)
		}
	}
	if !oldest.IsZero() {
		out.Oldest = max(f.c.Time(time.Now()).Sub(oldest), time.Millisecond)
	}
	return out
}

// apart is why the worker loads for itself though there are others. What was refused is
// tried again when askAgain has passed and there is something to load.
func (f *Fleet) apart() error {
	owners, _ := f.c.Owners()
	if !slices.ContainsFunc(owners, func(o string) bool { return o != f.c.Self }) {
		return nil
	}
	if stays := f.c.Copy.MayNotRemove(); stays != nil {
		return stays
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.denied.IsZero() && time.Since(f.denied) < 2*askAgain {
		return f.denial
	}
	return nil
}
