package verify

import (
	"fmt"
	"os"
	"testing"
)

// TestSpoolKeepsEachKeysOrder: what has one key meets in one part, in the order
// in which it came, in memory and in files.
func TestSpoolKeepsEachKeysOrder(t *testing.T) {
	const keys = 997
	for _, n := range []int{0, 1, inMemory, inMemory + 1, 3 * inMemory} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			dir := t.TempDir()
			s := newSpool(dir)
			for i := range n {
				key := fmt.Sprint("order-", i%keys)
				e := entry{kind: kindEvent, shard: uint32(i), settled: i%2 == 0, place: key}
				if err := s.add(key, e); err != nil {
					t.Fatal(err)
				}
			}
			made, err := os.ReadDir(dir)
			if err != nil || (len(made) > 0) != (n > inMemory) {
				t.Errorf("%d folders were made, %v", len(made), err)
			}
			total, lastOf, partOf := 0, map[string]int{}, map[string]int{}
			for part := range parts {
				if err := s.read(part, func(e entry) {
					total++
					last, seen := lastOf[e.place]
					if seen && (last >= int(e.shard) || partOf[e.place] != part) || e.settled != (e.shard%2 == 0) {
						t.Errorf("%s: entry %d after %d, in part %d after %d", e.place, e.shard, last, part, partOf[e.place])
					}
					lastOf[e.place], partOf[e.place] = int(e.shard), part
				}); err != nil {
					t.Fatal(err)
				}
			}
			if total != n {
				t.Errorf("%d entries came back of %d", total, n)
			}
			s.remove()
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("%d folders are left, %v", len(left), err)
			}
		})
	}
}
