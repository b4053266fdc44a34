//go:build !slow

package main

// killings are how often TestG1_G2_TheOneThatLoadsIsKilled kills, every five seconds,
// and loadingWorkers how many workers there are; the slow tests have more of both.
const killings, loadingWorkers = 3, 4
