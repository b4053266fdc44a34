package metrics

import "sync"

// Percent keeps all that was seen of a share, in percent: a Gauge would publish what
// it happens to be at the end of an interval, which of a share that moves says little
// of the interval. It is safe for concurrent use; its memory does not grow with use.
type Percent struct {
	mu   sync.Mutex // guards seen
	seen [101]struct {
		n   int
		sum float64
	}
}

// Observe notes a share. One outside of 0 to 100 counts as the nearest of these.
func (p *Percent) Observe(v float64) {
	if !(v >= 0) { // NaN too
		v = 0
	}
	v = min(100, v)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.seen[int(v)]
	s.n++
	s.sum += v
}

// cursor tells what was observed since it was last asked: a value for each whole
// percent, the mean of what was seen from there to the next, so that mean and count are
// exact and the values fit one datum.
func (p *Percent) cursor() cursor {
	return func() (values, counts []float64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i, s := range p.seen {
			if s.n > 0 {
				values = append(values, s.sum/float64(s.n))
				counts = append(counts, float64(s.n))
			}
			p.seen[i].n, p.seen[i].sum = 0, 0
		}
		return values, counts
	}
}
