//go:build race

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// localFolder is where localProgram lies, until the tests end; empty = it was not built.
var localFolder string

// localProgram is this test's own binary once more, without the race detector, as the
// local AWS: with it that takes several times as much of the machine. It is tried
// with the detector by its own tests, by the simulation and by the sessions, which have it
// in their process.
var localProgram = sync.OnceValues(func() (program string, err error) {
	if localFolder, err = os.MkdirTemp("", "localaws-"); err != nil {
		return "", err
	}
	program = filepath.Join(localFolder, "localaws")
	build := exec.Command("go", "test", "-c", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the local AWS without the race detector: %w\n%s", err, out)
	}
	return program, nil
})

func removeLocal() error { return os.RemoveAll(localFolder) }
