package worker

import (
	"errors"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// size bounds the rows of a load where the warehouse does not take large ones:
// its API has a limit on a batch, or a timeout, a queue's rule or a full disk
// ends the statements of a long one. The bound is found by halving and grows
// again by doubling, short of what is known to fail, which is tried again now
// and then.
type size struct {
	most int // rows; 0 = no bound
	good int // rows of the largest load that went in under this bound; 0 = none did
	bad  int // rows of the smallest load that failed
	full int // loads that went in with as many rows as the bound allows, since it last changed
}

const (
	// sizePatience is how often in a row a load may fail before it is halved.
	sizePatience = 4
	// sizeHasty is the same while nothing has gone in since the last halving.
	sizeHasty = 2
	// mostRows is a load so large that there is no bound.
	mostRows = 100_000
	// sizeAgain is how many full loads pass before what failed is tried again.
	sizeAgain = 16
)

// fits is how many of so many rows a load may have.
func (s *size) fits(rows int) int {
	if s.most == 0 {
		return rows
	}
	return min(rows, s.most)
}

// failed notes that a load of so many rows has failed, for the nth time in a
// row, in a way that its size may explain, and reports whether the bound is now
// below it.
func (s *size) failed(rows, n int) bool {
	patience := sizePatience
	switch {
	case s.most > 0 && s.good == 0:
		patience = sizeHasty
	case s.good > 0 && rows > s.good: // smaller loads go in
		patience = 1
	}
	if rows < 2 || n < patience {
		return false
	}
	s.bad, s.full = rows, 0
	if s.good > 0 && rows > s.good {
		s.most = s.good
	} else {
		s.most, s.good = rows/2, 0
	}
	return true
}

// wentIn notes that a load of so many rows went in.
func (s *size) wentIn(rows int) {
	if s.most == 0 || rows == 0 {
		return
	}
	s.good = max(s.good, rows)
	if rows < s.most {
		return // a larger one was allowed, so this shows nothing
	}
	s.full++
	switch {
	case s.most >= s.bad: // it failed once, and goes in now
		s.most, s.bad, s.full = 2*s.most, 4*s.most, 0
	case 2*s.most < s.bad:
		s.most, s.full = 2*s.most, 0
	case s.full >= sizeAgain:
		s.most, s.full = s.bad, 0
	}
	s.most = min(s.most, mostRows)
	if s.good >= mostRows {
		*s = size{}
	}
}

// tooLarge reports whether a smaller load may get through where one failed with
// this error: the warehouse's API refused the call, or a statement was ended.
// A throttle, a conflict, a lack of rights and a service that was not reached
// meet every load alike.
func tooLarge(err error) bool {
	return errors.Is(err, warehouse.ErrRejected) || errors.Is(err, warehouse.ErrEnded)
}
