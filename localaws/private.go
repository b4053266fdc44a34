package localaws

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// makePrivate makes the data directory and everything of ours in it readable by
// its owner alone, also what an earlier version left. A directory that holds
// something else too may be anything, even /tmp: it keeps its mode.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	all := true
	for _, e := range entries {
		if !isOurs(e.Name()) {
			all = false
			continue
		}
		err = errors.Join(err, filepath.WalkDir(filepath.Join(dir, e.Name()), narrow))
	}
	if all {
		err = errors.Join(err, os.Chmod(dir, 0o700))
	}
	if err != nil {
		return fmt.Errorf("make %s readable by its owner alone: %w", dir, err)
	}
	return nil
}

// isOurs reports whether a service keeps its data under the name.
func isOurs(name string) bool {
	return slices.Contains([]string{"kinesis", "s3"}, name) || strings.HasPrefix(name, "warehouse.duckdb")
}

// narrow takes others' rights from a folder or file. A link may lead anywhere, and
// stays.
func narrow(path string, e fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case e.IsDir():
		return os.Chmod(path, 0o700)
	case e.Type().IsRegular():
		return os.Chmod(path, 0o600)
	}
	return nil
}
