//go:build slow

package main

// Three minutes of it.
func init() { killings, loadingWorkers = 36, 8 }
