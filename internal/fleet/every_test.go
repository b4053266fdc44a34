package fleet

import (
	"testing"
	"time"
)

// An outcome that comes about when the last one did is seen at once, as who loads waits
// for the next batches; and each look at the word is paid for.
func TestTheWordIsLookedForWhenItIsDue(t *testing.T) {
	for _, usual := range []time.Duration{time.Second, 6 * time.Second, 12 * time.Second} {
		f := New(Config{Patience: usualPatience})
		f.waited = usual
		for come := usual * 9 / 10; come < usual*115/100; come += 70 * time.Millisecond {
			at, looks := time.Duration(0), 0
			for ; at < come; looks++ {
				at += f.every(at)
			}
			if late := at - come; late > 150*time.Millisecond || looks > 45 {
				t.Errorf("an outcome that comes after %v, where the last one came after %v, is seen %v late, at the %dth look", come, usual, late, looks)
			}
		}
	}
}
