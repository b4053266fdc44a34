package stream

import "time"

// Watermark is the completeness watermark over some shards: every record that arrived
// on them before it can be queried. It is the least of the times before which that is
// so of each, and zero, which stands for not known, where one of them is or there is none.
// A shard that is loaded to its end holds nothing back and is left out.
func Watermark(complete []time.Time) time.Time {
	if len(complete) == 0 {
		return time.Time{}
	}
	least := complete[0]
	for _, at := range complete {
		if at.Before(least) { // the zero time is before all others
			least = at
		}
	}
	return least
}
