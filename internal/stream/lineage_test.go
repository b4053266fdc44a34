package stream

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func ids(shards []Shard) []string {
	names := []string{}
	for _, s := range shards {
		names = append(names, s.ID)
	}
	return names
}

func TestReady(t *testing.T) {
	split := []Shard{{ID: "2", Parents: []string{"1"}}, {ID: "1"}, {ID: "3", Parents: []string{"1"}}, {ID: "0"}}
	merge := []Shard{{ID: "0"}, {ID: "1"}, {ID: "2", Parents: []string{"0", "1"}}}
	for _, c := range []struct {
		name   string
		shards []Shard
		ended  []string
		want   []string
	}{
		{"nothing listed", nil, nil, []string{}},
		{"children wait", split, nil, []string{"0", "1"}},
		{"children follow", split, []string{"1"}, []string{"0", "2", "3"}},
		{"one child ended before", split, []string{"1", "2"}, []string{"0", "3"}},
		{"a merge waits for both", merge, []string{"1"}, []string{"0"}},
		{"a merge follows both", merge, []string{"0", "1"}, []string{"2"}},
		{"all ended", merge, []string{"0", "1", "2"}, []string{}},
		{"a parent is gone", split[2:], nil, []string{"0", "3"}},
		{"one of two parents is gone", merge[1:], nil, []string{"1"}},
		{"only a grandparent is listed", []Shard{{ID: "0"}, {ID: "5", Parents: []string{"4"}}}, nil, []string{"0", "5"}},
		{"listed twice", append(slices.Clone(merge), merge...), nil, []string{"0", "1"}},
	} {
		listed := slices.Clone(c.shards)
		got := ids(Ready(c.shards, func(id string) bool { return slices.Contains(c.ended, id) }))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: ready are %v, want %v", c.name, got, c.want)
		}
		if !slices.Equal(ids(c.shards), ids(listed)) {
			t.Errorf("%s: the list was put in another order", c.name)
		}
	}
}

// history makes a stream that was split and merged at random, shards in the
// order of their making.
func history(r *rand.Rand) []Shard {
	var all, open []Shard
	add := func(parents ...string) {
		s := Shard{ID: fmt.Sprintf("shardId-%012d", len(all)), Parents: parents}
		all, open = append(all, s), append(open, s)
	}
	take := func() string {
		i := r.IntN(len(open))
		id := open[i].ID
		open = slices.Delete(open, i, i+1)
		return id
	}
	for range 1 + r.IntN(5) {
		add()
	}
	for range r.IntN(30) {
		if r.IntN(2) == 0 && len(open) > 1 {
			add(take(), take())
		} else {
			parent := take()
			add(parent)
			add(parent)
		}
	}
	return all
}

// Whatever the history, the order of the list, the shards that are no longer
// listed and the order in which shards end, working what is ready reaches every
// shard once, and none before its parents.
func TestReadyReachesEveryShardAfterItsParents(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 0))
		all := history(r)
		listed := slices.Clone(all[r.IntN(len(all)):]) // the oldest have expired
		r.Shuffle(len(listed), func(i, j int) { listed[i], listed[j] = listed[j], listed[i] })
		isListed := map[string]bool{}
		for _, s := range listed {
			isListed[s.ID] = true
		}

		ended := map[string]bool{}
		for len(ended) < len(listed) {
			ready := Ready(listed, func(id string) bool { return ended[id] })
			if len(ready) == 0 {
				t.Fatalf("seed %d: stuck with %d of %d shards ended", seed, len(ended), len(listed))
			}
			if !slices.IsSorted(ids(ready)) {
				t.Fatalf("seed %d: %v is not in order", seed, ids(ready))
			}
			for _, s := range ready {
				for _, parent := range s.Parents {
					if isListed[parent] && !ended[parent] {
						t.Fatalf("seed %d: %s is ready before its parent %s ended", seed, s.ID, parent)
					}
				}
				if ended[s.ID] {
					t.Fatalf("seed %d: %s is ready again", seed, s.ID)
				}
			}
			ended[ready[r.IntN(len(ready))].ID] = true // one of those at work ends
		}
		if left := Ready(listed, func(id string) bool { return ended[id] }); len(left) != 0 {
			t.Fatalf("seed %d: %v are ready after the end", seed, ids(left))
		}
	}
}
