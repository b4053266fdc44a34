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
// starts before there is room for its pages. It is safe for concurrent use.
type shelf struct {
	most int // pages that may be unread

	mu      sync.Mutex // guards what follows
	waiting byNumber
	unread  int           // pages of results that wait, and about as many as those that run will have
	changed chan struct{} // closed and replaced whenever there is more to do
}

// Bounds of what is unread, as time that reading it takes.
const (
	leastUnread = 10 * time.Second
	mostUnread  = 2 * time.Minute
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

// reserve waits until there is room for a query's pages, and takes it. A result of
// more than half of all the room needs no more than that half.
func (s *shelf) reserve(ctx context.Context, pages int) error {
	return s.await(ctx, func() bool {
		if s.unread+min(pages, s.most/2) > s.most {
			return false
		}
		s.unread += pages
		return true
	})
}

// release gives room back.
func (s *shelf) release(pages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unread -= pages
	s.broadcast()
}

// put adds a query whose next page may be fetched.
func (s *shelf) put(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heap.Push(&s.waiting, f)
	s.broadcast()
}

// take waits for the oldest query of those with a page to fetch.
func (s *shelf) take(ctx context.Context) (f *flight, err error) {
	err = s.await(ctx, func() bool {
		if len(s.waiting) == 0 {
			return false
		}
		f = heap.Pop(&s.waiting).(*flight)
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

// state tells how many pages are unread, of how many that may be.
func (s *shelf) state() (unread, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unread, s.most
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
