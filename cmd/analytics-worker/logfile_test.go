package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestLogFileIsBoundedAndLosesNothingBeforeThat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.log")
	const most = 100
	write := func(from, to int) {
		t.Helper()
		l, err := openLogFile(path, most)
		if err != nil {
			t.Fatal(err)
		}
		for n := from; n < to; n++ {
			if _, err := fmt.Fprintf(l, "line %04d\n", n); err != nil { // 10 bytes
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// A restart in the middle goes on with the file.
	write(0, 5)
	write(5, 38)
	var got []string
	for _, name := range []string{".3", ".2", ".1", ""} {
		text, err := os.ReadFile(path + name)
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > most {
			t.Errorf("worker.log%s has %d bytes, want at most %d", name, len(text), most)
		}
		got = append(got, strings.Fields(strings.ReplaceAll(string(text), "line ", ""))...)
	}
	for n, line := range got {
		if want := fmt.Sprintf("%04d", n); line != want {
			t.Fatalf("line %d is %s: %v", n, line, got)
		}
	}
	if len(got) != 38 {
		t.Errorf("%d lines, want 38", len(got))
	}
	write(38, 60)
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != logFilesKept+1 {
		t.Errorf("%v, %v: want %d files", entries, err, logFilesKept+1)
	}
}

// A folder that is not there yet, or a full disk, stops nothing: the line that can
// be written again is.
func TestLogFileIsTriedAgain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "later")
	l, err := openLogFile(filepath.Join(folder, "worker.log"), 100)
	if err == nil {
		t.Fatal("opened in a folder that is not there")
	}
	if _, err := l.Write([]byte("one\n")); err == nil {
		t.Error("wrote into a folder that is not there")
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("two\n")); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(folder, "worker.log")); err != nil || !strings.Contains(string(text), `"lines":1,`) || !strings.HasSuffix(string(text), "}\ntwo\n") {
		t.Errorf("%q, %v", text, err)
	}
}

// A file that cannot be moved away takes no more, as it is bounded. None of those that are there
// is written over, and the gap is told when lines can be written again.
func TestLogFileTellsWhatIsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.log")
	l, err := openLogFile(path, 600)
	if err != nil {
		t.Fatal(err)
	}
	write := func(n int) error { _, err := fmt.Fprintf(l, `{"msg":"line %04d"}`+"\n", n); return err } // 20 bytes
	for n := range 90 {
		if err := write(n); err != nil {
			t.Fatal(err)
		}
	}
	inTheWay := path + ".3"
	if err := os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range 7 {
		if err := write(90 + n); err == nil {
			t.Errorf("line %d went into a file that is full", 90+n)
		}
	}
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		if err := write(97 + n); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range []string{".3", ".2", ".1", ""} {
		text, err := os.ReadFile(path + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var entry struct {
				Msg   string
				Lines int
				Error string
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("worker.log%s: %q: %v", name, line, err)
			}
			if entry.Lines > 0 {
				entry.Msg = fmt.Sprintf("%d are missing", entry.Lines)
				if !strings.Contains(entry.Error, "move the full log file away") {
					t.Errorf("why they are missing is not said: %s", line)
				}
			}
			got = append(got, strings.TrimPrefix(entry.Msg, "line "))
		}
	}
	var want []string
	for n := range 90 {
		want = append(want, fmt.Sprintf("%04d", n))
	}
	if want = append(want, "7 are missing", "0097", "0098"); !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}

// Loggers write all at once, the file is moved away under them, and whoever reads it finds every
// line whole.
func TestLogFileUnderLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.log")
	const writers, each = 8, 200
	l, err := openLogFile(path, writers*each*20/3) // so that nothing is removed
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}}))
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				log.Info(fmt.Sprintf("%d", w*each+n))
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	files := 0
	for _, name := range []string{".3", ".2", ".1", ""} {
		text, err := os.ReadFile(path + name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		files++
		for line := range strings.Lines(string(text)) {
			var entry struct{ Msg string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("worker.log%s: %q: %v", name, line, err)
			}
			seen[entry.Msg]++
		}
	}
	if len(seen) != writers*each || files < 2 {
		t.Errorf("%d lines of %d in %d files", len(seen), writers*each, files)
	}
}
