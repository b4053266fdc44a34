package fleet

import "time"

// Status is what a worker knows of its fleet's loads.
type Status struct {
	Together bool      // there are others to load with
	Loader   string    // who loads, by the leases and by the signs that were missed
	Heard    time.Time // when its word was last another one; zero = never
	Loads    int64     // of the fleet that went in, as far as that word tells
	Waiting  int       // batches that are staged and not in
	Oldest   time.Time // when the oldest of them was staged; zero = none waits
}

// Status returns the present status.
func (f *Fleet) Status() Status {
	p := f.place()
	f.mu.Lock()
	defer f.mu.Unlock()
	out := Status{Together: p.shared(), Loader: p.loader, Heard: f.heard}
	if p.ours() {
		out.Loads, out.Waiting, out.Oldest = f.loader.loads, len(f.loader.waiting), f.loader.oldest
		return out
	}
	out.Loads, out.Waiting, out.Oldest = f.word.Loads, len(f.word.Waiting), f.word.Oldest
	for _, b := range f.mine { // it may have been staged since
		if out.Oldest.IsZero() || b.At.Before(out.Oldest) {
			out.Oldest = b.At
		}
		out.Waiting = max(out.Waiting, 1)
	}
	return out
}
