package worker

import "testing"

// TestSizeFindsAndLeavesABound loads a backlog against a warehouse that takes no
// more than so many rows at once, and then against one that takes all again.
func TestSizeFindsAndLeavesABound(t *testing.T) {
	for _, limit := range []int{1, 7, 600, 50_000} {
		var s size
		failed, inTurn, loaded := 0, 0, 0
		load := func(limit, waiting int) {
			rows := s.fits(waiting)
			if rows > limit {
				failed++
				inTurn++
				if s.failed(rows, inTurn) {
					inTurn = 0
				}
				return
			}
			loaded += rows
			inTurn = 0
			s.wentIn(rows)
		}
		for range 400 {
			load(limit, mostRows)
		}
		if loaded == 0 || loaded < 300*limit/2 || failed > 70 {
			t.Errorf("limit %d: %d rows went in and %d loads failed, of 400", limit, loaded, failed)
		}
		for n := 0; s.most != 0; n++ {
			if load(mostRows, mostRows); n > 200 {
				t.Fatalf("limit %d: still bound to %d rows after %d loads that went in", limit, s.most, n)
			}
		}
	}
}

// TestSizeIsPatient: one failure, or a few with a success between them, change
// nothing; a load of one row is never too large.
func TestSizeIsPatient(t *testing.T) {
	var s size
	for n := 1; n < sizePatience; n++ {
		if s.failed(1000, n) {
			t.Fatalf("halved after %d failures", n)
		}
	}
	if s.failed(1, 100) {
		t.Error("a load of one row is halved")
	}
	if !s.failed(1000, sizePatience) || s.fits(1000) != 500 {
		t.Errorf("after %d failures a load may have %d rows", sizePatience, s.fits(1000))
	}
}
