package aws

import (
	"math/bits"
	"sync"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// pages lends the memory of pages. A worker that is behind reads gigabytes in
// pieces of megabytes; taking each from the heap anew costs a fifth of its CPU in
// page faults, clearing and collections.
type pages struct {
	// Memory of one size class each, so that a small page does not hold a large
	// one's memory. What is not used between two collections is let go of.
	pools [pageClasses]sync.Pool // of *pageMemory
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

// mostRecords is how many times the memory of a body that of its records may
// take to be kept for another page. Records of 64 bytes, as small as honest ones
// come, take twice.
const mostRecords = 4

// take lends memory for a body of n bytes.
func (p *pages) take(n int) *pageMemory {
	class, size := classOf(n)
	if class >= 0 {
		if m, ok := p.pools[class].Get().(*pageMemory); ok {
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
		p.pools[m.class].Put(m)
	}
}
