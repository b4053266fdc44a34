//go:build !slow

package main

import "time"

// statusShards and statusTakes are those of TestTheFleetIsSeenFromAnywhere: how many
// shards there are, and how long status may take beside other tests.
const (
	statusShards = 40
	statusTakes  = 8 * time.Second
)

// killings are how often TestG1_G2_TheOneThatLoadsIsKilled kills, every five seconds,
// and loadingWorkers how many workers there are; the slow tests have more of both.
const killings, loadingWorkers = 3, 4
