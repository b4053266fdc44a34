package redshift

import "sync"

// mostIdle is how many connections an engine keeps for their next use.
const mostIdle = 8

// pool keeps connections that are as good as new.
type pool[C any] struct {
	mu   sync.Mutex // guards idle
	idle []C        // the last one used comes last
}

// take returns the connection that was used last, if one is idle.
func (p *pool[C]) take() (c C, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return c, false
	}
	c = p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c, true
}

// keep takes a connection, unless there are enough; the caller then closes it.
func (p *pool[C]) keep(c C) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= mostIdle {
		return false
	}
	p.idle = append(p.idle, c)
	return true
}
