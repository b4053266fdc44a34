package aws

import (
	"math/bits"
	"slices"
	"sync"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// pages lends the memory of pages. A worker that is behind reads gigabytes in
// pieces of megabytes; taking each from the heap anew costs a fifth of its CPU in
// page faults, clearing and collections.
type pages struct {
	mu sync.Mutex // guards what follows
	// free has memory of one size class each, so that a small page does not hold a
	// large one's memory.
	free [pageClasses][]*pageMemory
	kept int // bytes of bodies in free
	// oldest are the classes of what is free, in the order in which it came.
	oldest []int
	// scribble overwrites what is given back, for tests: a use after that shows.
	scribble bool
}

// pageMemory is the body of a reply and the records in it, which point into it.
type pageMemory struct {
	body    []byte
	records []stream.Record
	class   int // -1: too small to be worth keeping
}

const (
	smallPage   = 64 << 10
	pageClasses = 4 * 9 // up to maxReply, four in each doubling
)

// classOf returns the size class of n bytes, up to maxReply, and its size, which
// is at most a quarter more than n.
func classOf(n int) (class, size int) {
	if n <= smallPage {
		return -1, n
	}
	doubling := bits.Len(uint(n - 1)) // n is over half of 1<<doubling
	step := 1 << (doubling - 3)
	steps := (n + step - 1) / step // 5 to 8
	return (doubling-bits.Len(smallPage))*4 + steps - 5, steps * step
}

// mostKept bounds the bytes that wait for another page. They count in no budget, and
// a page is given back as soon as it is decoded: what reads one after the other need
// is a page or two.
const mostKept = 16 << 20

// mostRecords is how many times the memory of a body that of its records may
// take to be kept for another page. Records of 64 bytes, as small as honest ones
// come, take twice.
const mostRecords = 4

// take lends memory for a body of n bytes.
func (p *pages) take(n int) *pageMemory {
	class, size := classOf(n)
	if class >= 0 {
		if m := p.reuse(class); m != nil {
			m.body = m.body[:n]
			return m
		}
	}
	return &pageMemory{body: make([]byte, n, size), class: class}
}

// give takes memory back. Nobody may use it, or a record in it, any more.
func (p *pages) give(m *pageMemory) {
	if p.scribble {
		for i := range m.body {
			m.body[i] = 0xDB
		}
		clear(m.records)
	}
	if cap(m.records)*recordSize > mostRecords*cap(m.body) {
		m.records = nil // small events: the next page has larger ones
	}
	if m.class >= 0 {
		p.keep(m)
	}
}

// reuse takes memory of a class that is free, or returns nil.
func (p *pages) reuse(class int) *pageMemory {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := p.free[class]
	if len(free) == 0 {
		return nil
	}
	m := free[len(free)-1]
	p.free[class] = free[:len(free)-1]
	p.kept -= cap(m.body)
	at := slices.Index(p.oldest, class)
	p.oldest = slices.Delete(p.oldest, at, at+1)
	return m
}

// keep has memory wait for another page, in place of what has waited longest.
func (p *pages) keep(m *pageMemory) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.oldest) > 0 && p.kept+cap(m.body) > mostKept {
		class := p.oldest[0]
		p.oldest = p.oldest[1:]
		p.kept -= cap(p.free[class][0].body)
		p.free[class] = p.free[class][1:]
	}
	if cap(m.body) > mostKept {
		return
	}
	p.kept += cap(m.body)
	p.free[m.class] = append(p.free[m.class], m)
	p.oldest = append(p.oldest, m.class)
}
