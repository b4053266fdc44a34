package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
	if text, err := os.ReadFile(filepath.Join(folder, "worker.log")); err != nil || string(text) != "two\n" {
		t.Errorf("%q, %v", text, err)
	}
}
