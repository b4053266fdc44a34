package style

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// programs are the files under root that begin as a program built for Linux does.
// A go build in the folder of a command leaves one there, and git add takes it.
func programs(t *testing.T, root string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root:
			return filepath.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		begin := make([]byte, 4)
		if _, err := io.ReadFull(f, begin); err == nil && bytes.Equal(begin, []byte("\x7fELF")) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestNoProgramLiesBesideTheSource(t *testing.T) {
	for _, folder := range []string{"cmd", "internal", "localaws", "deploy", "scripts"} {
		for _, path := range programs(t, filepath.Join("..", "..", folder)) {
			t.Errorf("%s is a built program: remove it, and build into bin", path)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "demo"), []byte("\x7fELF..."), 0o755); err != nil {
		t.Fatal(err)
	}
	if len(programs(t, dir)) != 1 {
		t.Error("a built program is not found")
	}
}
