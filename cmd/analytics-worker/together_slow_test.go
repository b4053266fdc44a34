//go:build slow

package main

import "time"

// statusShards and statusTakes are those of TestTheFleetIsSeenFromAnywhere: how many
// shards there are, and how long status may take.
const (
	statusShards = 200
	statusTakes  = 2 * time.Second
)

// killings are how often TestG1_G2_TheOneThatLoadsIsKilled kills, every five seconds,
// and loadingWorkers how many workers there are.
const killings, loadingWorkers = 36, 8
