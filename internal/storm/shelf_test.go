package storm

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheOldestIsReadFirst: whatever the order in which results arrive, the pages of
// the oldest query come first.
func TestTheOldestIsReadFirst(t *testing.T) {
	s := newShelf(time.Minute)
	for _, n := range []int{7, 3, 9, 5} {
		f := &flight{attempt: attempt{Query: Query{Number: n, Pages: 2}}, due: 2}
		if err := s.reserve(t.Context(), f.due); err != nil {
			t.Fatal(err)
		}
		s.arrive(f, 3)
	}
	for _, want := range []int{3, 5, 7, 9} {
		for page := range 3 {
			f, err := s.take(t.Context())
			if err != nil || f.Number != want {
				t.Fatalf("query %d, want %d: %v", f.Number, want, err)
			}
			if page < 2 {
				s.put(f)
			} else {
				s.done(f)
			}
		}
	}
	if waiting, _ := s.state(); waiting != 0 || s.running != 0 {
		t.Errorf("%d pages wait and %d are to come after all were read", waiting, s.running)
	}
}

// TestNoQueryStartsWhileTooMuchIsUnread: what waits to be read is bounded, and so is
// what may come; 500 queries of a round's size may run.
func TestNoQueryStartsWhileTooMuchIsUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(time.Minute)
		pages := 0
		for n := range 500 {
			q := NewSequence(1, time.Now(), 100_000).Query(n)
			pages += q.Pages
			if err := s.reserve(t.Context(), q.Pages); err != nil {
				t.Fatal(err)
			}
		}
		s.release(pages)
		big := &flight{attempt: attempt{Query: Query{Pages: 1000}}, due: 1000}
		if err := s.reserve(t.Context(), big.due); err != nil {
			t.Fatal(err)
		}
		s.arrive(big, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		started := make(chan error, 1)
		go func() { started <- s.reserve(ctx, 1) }()
		synctest.Wait()
		select {
		case err := <-started:
			t.Fatalf("a query starts while 1000 pages wait: %v", err)
		default:
		}
		for waiting, most := s.state(); waiting >= most; waiting, most = s.state() {
			f, err := s.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.put(f)
		}
		if err := <-started; err != nil {
			t.Error(err)
		}
	})
}
