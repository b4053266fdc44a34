package main

import (
	"testing"
)

// A worker that ends leaves its name to the next one on its seat, and only to
// that one: a neighbour that lives must never be taken for a predecessor.
func TestASuccessorKnowsWhoEnded(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	orders := config{Region: "us-east-1", Stream: "order-events"}
	sit := func(c config) identity {
		id := newIdentity(c)
		t.Cleanup(id.leave)
		return id
	}
	a, b := sit(orders), sit(orders)
	if a.name == b.name || a.predecessor != "" || b.predecessor != "" {
		t.Fatalf("two that live: %+v, %+v", a, b)
	}
	a.leave()
	if other := sit(config{Region: "us-east-1", Stream: "payments"}); other.predecessor != "" {
		t.Errorf("a worker of another stream follows %q", other.predecessor)
	}
	if next := sit(orders); next.predecessor != a.name {
		t.Errorf("follows %q, want %q", next.predecessor, a.name)
	}
	if third := sit(orders); third.predecessor != "" {
		t.Errorf("a third worker follows %q, where two live", third.predecessor)
	}
}
