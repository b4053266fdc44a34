package kinesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestEveryKeyHasOneOpenShard splits, merges and resizes at random, with puts
// between, and then holds the stream against what must always be true.
func TestEveryKeyHasOneOpenShard(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		now := time.UnixMilli(1_800_000_000_000)
		st := newStream("s", "us-east-1", 1+rng.IntN(8), now)
		sent := 0
		for range 60 {
			now = now.Add(time.Duration(rng.IntN(3)) * time.Millisecond) // often none: one instant, many steps
			switch rng.IntN(5) {
			case 0:
				s := st.open[rng.IntN(len(st.open))]
				if err := st.split(s.id, between(rng, s.low, s.high).String(), now); err != nil && err.Code != codeArgument {
					t.Fatalf("seed %d: split: %v", seed, err)
				}
			case 1:
				if i := rng.IntN(len(st.open)); i+1 < len(st.open) {
					if err := st.merge(st.open[i+1].id, st.open[i].id, now); err != nil {
						t.Fatalf("seed %d: merge: %v", seed, err)
					}
				}
			case 2:
				n := max(1, len(st.open)/2) + rng.IntN(len(st.open)+1)
				if _, err := st.updateCount(n, now, false); err != nil && err.Code != codeArgument {
					t.Fatalf("seed %d: resize: %v", seed, err)
				} else if err == nil && len(st.open) != n {
					t.Fatalf("seed %d: a resize to %d gave %d open shards", seed, n, len(st.open))
				}
			default:
				puts := make([]put, 1+rng.IntN(20))
				for i := range puts {
					puts[i] = put{key: fmt.Append(nil, sent), data: fmt.Append(nil, sent), hash: hashOf(fmt.Append(nil, sent))}
					sent++
				}
				st.put(puts, now, false)
				checkRouted(t, puts)
			}
			if err := checkCover(st.open); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		checkLineage(t, st)
		if got := readInOrder(t, st, now); len(got) != sent {
			t.Fatalf("seed %d: %d records were put and %d are read by the lineage", seed, sent, len(got))
		}
	}
}

// between picks a hash key in the range, near its ends more often than not.
func between(rng *rand.Rand, low, high hashKey) hashKey {
	switch rng.IntN(6) {
	case 0:
		return low
	case 1:
		return low.next().next()
	case 2:
		return high
	case 3:
		return high.previous()
	}
	h := hashKey{low.hi/2 + high.hi/2, rng.Uint64()}
	return h
}

func checkRouted(t *testing.T, puts []put) {
	t.Helper()
	for _, p := range puts {
		if p.refused != "" || p.ordinal == 0 {
			t.Fatalf("a record was not stored: %+v", p)
		}
		if p.hash.less(p.shard.low) || p.shard.high.less(p.hash) {
			t.Fatalf("a record at %s went to the shard of %s to %s", p.hash, p.shard.low, p.shard.high)
		}
	}
}

// checkLineage holds that every closed shard's range is covered by its
// children's, and every child's by its parents'.
func checkLineage(t *testing.T, st *stream) {
	t.Helper()
	for _, s := range st.shards {
		if s.isClosed() != (len(s.children) > 0) {
			t.Fatalf("%s: closed %v with %d children", s.id, s.isClosed(), len(s.children))
		}
		opened, closed := s.lifetime()
		if closed > 0 && closed <= max(opened, s.last) {
			t.Fatalf("%s: closed at %d, not after it opened at %d and its last record at %d", s.id, closed, opened, s.last)
		}
		for _, child := range s.children {
			if !slices.Contains(child.parents, s) || child.opened != closed || child.high.less(s.low) || s.high.less(child.low) {
				t.Fatalf("%s is no child of %s", child.id, s.id)
			}
		}
		if len(s.parents) == 2 { // a merge: the union of two neighbours
			both := slices.Clone(s.parents)
			sortByRange(both)
			if both[0].high.next() != both[1].low || both[0].low != s.low || both[1].high != s.high {
				t.Fatalf("%s is not the union of its parents", s.id)
			}
		}
	}
}

// readInOrder reads every shard after its parents, and fails where a key's
// record comes before one that was put earlier.
func readInOrder(t *testing.T, st *stream, now time.Time) (got []string) {
	t.Helper()
	arrived := make(map[*shard]int64)
	for _, s := range st.shards { // an index is greater than those of the parents
		for _, p := range s.parents {
			arrived[s] = max(arrived[s], arrived[p])
		}
		p, ok := s.read(0, maxPageRecords, 0, now, false)
		if !ok || p.ended != s.isClosed() || p.ended && len(p.children) == 0 {
			t.Fatalf("%s: ended %v with %d children", s.id, p.ended, len(p.children))
		}
		for _, v := range p.views {
			for _, e := range v.entries {
				if e.at < arrived[s] {
					t.Fatalf("%s: a record of %d comes after one of %d", s.id, e.at, arrived[s])
				}
				arrived[s] = e.at
				got = append(got, "")
			}
		}
	}
	return got
}
