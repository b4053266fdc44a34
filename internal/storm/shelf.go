package storm

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// shelf holds the queries whose results wait to be read, and counts the pages that
// are to come. Pages are few: the account's rate for them holds for every caller. So
// the oldest query is served first, that its result be whole soon, and no query
// starts while as many pages wait as may be unread, or while those that run will
// have too many. It is safe for concurrent use.
type shelf struct {
	most int // pages that may be unread when a query starts

	mu      sync.Mutex // guards what follows
	results byNumber
	running int           // pages that the queries in the warehouse will have, about
	waiting int           // pages of results that wait to be read
	changed chan struct{} // closed and replaced whenever there is more to do
}

// Bounds of what is unread, as time that reading it takes, and of what runs, in
// pages: room for 500 queries, as a round has them.
const (
	leastUnread = 10 * time.Second
	mostUnread  = 2 * time.Minute
	mostRunning = 2400
)

// newShelf returns the shelf for a storm that lasts as long: a quarter of it may
// be spent on what was asked before.
func newShelf(lasts time.Duration) *shelf {
	most := min(mostUnread, max(leastUnread, lasts/4))
	return &shelf{most: int(pageRate * most.Seconds()), changed: make(chan struct{})}
}

func (s *shelf) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// reserve waits until a query of that many pages may start, and counts them.
func (s *shelf) reserve(ctx context.Context, pages int) error {
	return s.await(ctx, func() bool {
		if s.waiting >= s.most || s.running > 0 && s.running+pages > mostRunning {
			return false
		}
		s.running += pages
		return true
	})
}

// release takes back what was counted for a query that does not run any more, and
// has no result.
func (s *shelf) release(pages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running -= pages
	s.broadcast()
}

// arrive adds a query that has ended, whose result has that many pages.
func (s *shelf) arrive(f *flight, pages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running -= f.due
	f.due = pages
	s.waiting += pages
	heap.Push(&s.results, f)
	s.broadcast()
}

// put adds a query again after a page of it was read.
func (s *shelf) put(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.due > 1 { // the last is counted until the end, however many there are
		f.due--
		s.waiting--
	}
	heap.Push(&s.results, f)
	s.broadcast()
}

// done forgets a query whose result is read, or given up.
func (s *shelf) done(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= f.due
	f.due = 0
	s.broadcast()
}

// take waits for the oldest query of those with a page to fetch.
func (s *shelf) take(ctx context.Context) (f *flight, err error) {
	err = s.await(ctx, func() bool {
		if len(s.results) == 0 {
			return false
		}
		f = heap.Pop(&s.results).(*flight)
		return true
	})
	return f, err
}

// await calls done, under the lock, until it returns true or ctx ends.
func (s *shelf) await(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// state tells how many pages wait to be read, of how many that may.
func (s *shelf) state() (waiting, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting, s.most
}

// byNumber is a heap of queries, the oldest in front.
type byNumber []*flight

func (b byNumber) Len() int           { return len(b) }
func (b byNumber) Less(i, j int) bool { return b[i].Number < b[j].Number }
func (b byNumber) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }
func (b *byNumber) Push(x any)        { *b = append(*b, x.(*flight)) }
func (b *byNumber) Pop() any {
	old := *b
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*b = old[:len(old)-1]
	return f
}
