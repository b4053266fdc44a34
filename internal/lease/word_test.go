package lease_test

import (
	"slices"
	"testing"
	"time"
)

// The word of a worker stands in the row of its first shard. One that takes a shard that
// comes before its own ones must not fall silent until it renews that: it is then that
// others ask who has died.
func TestTheWordMovesWithTheFirstShard(t *testing.T) {
	virtual(t, func(t *testing.T) {
		f := newFleet(t, open(4)...)
		a, b := f.start("a"), f.start("b")
		f.within(3*ttl, "balanced", func() bool { return slices.Equal(f.loads(a, b), []int{2, 2}) })
		first := a
		if f.rows()["shardId-000000000000"].Owner == "b" {
			first, b = b, a
		}
		time.Sleep(ttl)
		first.behave(cut)
		for range 40 { // 20 s
			said := false
			for _, r := range f.rows() {
				said = said || r.Owner == b.name && r.Word == "the word of "+b.name
			}
			if !said {
				t.Fatalf("%s has fallen silent: %+v", b.name, f.rows())
			}
			time.Sleep(ttl / 20)
		}
		if n := f.loads(b)[0]; n != 4 {
			t.Errorf("it has taken %d shards of 4", n)
		}
		b.end()
	})
}
