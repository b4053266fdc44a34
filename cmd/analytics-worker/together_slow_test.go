//go:build slow

package main

// killings are how often TestG1_G2_TheOneThatLoadsIsKilled kills, every five seconds,
// and loadingWorkers how many workers there are.
const killings, loadingWorkers = 36, 8
