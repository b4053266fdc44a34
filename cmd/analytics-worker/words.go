package main

import (
	"fmt"
	"strconv"
	"strings"
)

// shortest is how many digits are left of a long number by shortPosition.
const shortest = 12

// shortPosition is a position by the end of its sequence number: those of a stream
// begin alike. Others are as they are.
func shortPosition(position string) string {
	digits := strings.IndexFunc(position, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(position)
	}
	if digits <= shortest {
		return position
	}
	return "…" + position[digits-shortest:]
}

// shortShard is the id of a shard without what all ids begin with: Kinesis numbers
// them. Others are as they are.
func shortShard(id string) string {
	digits, numbered := strings.CutPrefix(id, "shardId-")
	if n, err := strconv.ParseUint(digits, 10, 64); numbered && err == nil {
		return strconv.FormatUint(n, 10)
	}
	return id
}

// wholeShards are shards as a flag names them, with whole ids: a number is what
// shortShard leaves of one.
func wholeShards(given []string) []string {
	var out []string
	for _, id := range given {
		if n, err := strconv.ParseUint(id, 10, 64); err == nil {
			id = fmt.Sprintf("shardId-%012d", n)
		}
		out = append(out, id)
	}
	return out
}
