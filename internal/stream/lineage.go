package stream

import (
	"slices"
	"strings"
)

// Ready returns the shards that may be worked now: those that have not ended
// themselves and whose parents all have. A parent that is no longer listed has
// ended: Kinesis drops a shard from the list once its last record is past the
// retention. The shards come in the order of their IDs, which is the order of
// their making, each once.
//
// Working only what is ready keeps the order of each partition key through
// splits and merges, as a child takes no record of a key before its parents
// have taken their last.
func Ready(shards []Shard, ended func(id string) bool) []Shard {
	// What has ended is asked once for each shard, so that one answer holds
	// for the whole list even while shards are ending.
	unfinished := make(map[string]bool, len(shards))
	for _, s := range shards {
		if _, asked := unfinished[s.ID]; !asked {
			unfinished[s.ID] = !ended(s.ID)
		}
	}
	var ready []Shard
	for _, s := range shards {
		waits := slices.ContainsFunc(s.Parents, func(parent string) bool { return unfinished[parent] })
		if unfinished[s.ID] && !waits {
			ready = append(ready, s)
		}
	}
	slices.SortStableFunc(ready, func(a, b Shard) int { return strings.Compare(a.ID, b.ID) })
	return slices.CompactFunc(ready, func(a, b Shard) bool { return a.ID == b.ID })
}
