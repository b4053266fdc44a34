//go:build !race

package main

// localProgram is this test's own binary as the local AWS.
func localProgram() (string, error) { return "localaws", nil }

func removeLocal() error { return nil }
