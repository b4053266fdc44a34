// Package plural writes counts as people say them.
package plural

import "strconv"

// Of is a count and its noun, which takes an s where it is not one: 1 shard, 0 shards.
func Of[N ~int | ~int64](n N, noun string) string { return Either(n, noun, noun+"s") }

// Either is a count and the words for one, or for any other number: 1 batch waits,
// 2 batches wait.
func Either[N ~int | ~int64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.FormatInt(int64(n), 10) + " " + more
}
