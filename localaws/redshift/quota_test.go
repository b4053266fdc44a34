package redshift

import "testing"

// TestRoomOnceEnded: who sees that a statement has ended finds its room free.
func TestRoomOnceEnded(t *testing.T) {
	for range 200 {
		r := newRegistry()
		j := jobWith("first", "", "SELECT 1")
		if _, err := r.admit(j, 1, nothing); err != nil {
			t.Fatal(err)
		}
		go r.finish(j, finished, "")
		<-j.ended
		if _, err := r.admit(jobWith("second", "", "SELECT 1"), 1, nothing); err != nil {
			t.Fatalf("after one ended: %v", err)
		}
	}
}
