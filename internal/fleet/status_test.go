package fleet

import (
	"testing"
	"time"
)

// How long a batch waits is told by AWS's clock: those of the workers may be minutes
// apart, and who tells is rarely who has staged.
func TestTheAgeOfABatchIsByAWSsClock(t *testing.T) {
	g := start(t)
	a, b := g.worker("a", "b", "a"), g.worker("b", "b", "a")
	for _, f := range []*Fleet{a, b} {
		f.c.Time = func(ours time.Time) time.Time { return ours.Add(-time.Hour) }
	}
	staged := g.stage(a, g.batch("shard-1", 1, "500", "order-1"))
	if ahead := time.Since(staged.At); ahead < time.Hour || ahead > time.Hour+patience {
		t.Errorf("it was staged %v ago by this clock, which is an hour ahead", ahead)
	}
	b.loader.folder = b.folder(identity)
	if err := b.list(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*Fleet{a, b} {
		if s := f.Status(); s.Waiting != 1 || s.Oldest <= 0 || s.Oldest > patience {
			t.Errorf("to %s %d batches wait, the oldest for %v", f.c.Self, s.Waiting, s.Oldest)
		}
	}
}
