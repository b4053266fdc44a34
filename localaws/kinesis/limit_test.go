package kinesis

import (
	"testing"
	"time"
)

// A clock that is put back opens a new window: the old one would refuse for as long as
// it was put back.
func TestAClockPutBackRefusesNothing(t *testing.T) {
	var w window
	now := time.Now()
	for range 2 {
		for n := range 6 {
			if got := w.admits(now, 5, 0, 0); got != (n < 5) {
				t.Errorf("at %v, call %d: admitted %t", now, n+1, got)
			}
		}
		now = now.Add(-10 * time.Minute)
	}
}
