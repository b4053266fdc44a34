package redshift

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// filled returns a sealed result of n rows of that many bytes.
func filled(t *testing.T, dir string, n, width int) *result {
	t.Helper()
	r := new(result)
	for i := range n {
		row := fmt.Sprintf("[%08d%s]", i, strings.Repeat("x", width-10))
		r.size += int64(len(row))
		if err := r.add([]byte(row), dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.seal(dir); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestLargeResultsAreInAFile: beyond a size a result is in a file without a name,
// and its pages are the same as in memory.
func TestLargeResultsAreInAFile(t *testing.T) {
	for _, c := range []struct {
		rows, width int
		inFile      bool
	}{{0, 10, false}, {1, 10, false}, {1000, 10, false}, {1001, 10, false}, {30_000, 200, true}, {100, 60 << 10, true}} {
		dir := t.TempDir()
		r := filled(t, dir, c.rows, c.width)
		next := 0
		for n := range r.pages {
			text, err := r.page(n)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Count(string(text), "\n")
			if lines > pageRows || len(text) > pageBytes || lines == 0 && c.rows > 0 {
				t.Errorf("page %d of %d rows has %d rows and %d bytes", n, c.rows, lines, len(text))
			}
			for line := range strings.Lines(string(text)) {
				if want := fmt.Sprintf("[%08d", next); !strings.HasPrefix(line, want) || len(line) != c.width+1 {
					t.Fatalf("row %d of %d is %.40q", next, c.rows, line)
				}
				next++
			}
		}
		if next != c.rows || r.count != int64(c.rows) {
			t.Errorf("%d rows on all pages, %d counted; want %d", next, r.count, c.rows)
		}
		if (r.file != nil) != c.inFile || c.inFile && len(r.text) > 0 {
			t.Errorf("%d rows of %d bytes: in a file %t, and %d bytes in memory", c.rows, c.width, r.file != nil, len(r.text))
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
			t.Errorf("left in the folder: %v, %v", names, err)
		}
		r.drop()
		if _, err := r.page(0); c.inFile && !errors.Is(err, os.ErrClosed) {
			t.Errorf("a page of a result that was given back: %v", err)
		}
	}
}

// TestWhatWasReadIsForgottenFirst: where there is no more room, an old result that
// nobody has read to its end outlives a new one that was read.
func TestWhatWasReadIsForgottenFirst(t *testing.T) {
	r := newRegistry()
	end := func(id string) *result {
		j := jobWith(id, "", "SELECT 1")
		admit(t, r, j)
		res := &result{kept: maxFiles / 8, pages: []int64{1}} // its size is what counts here
		j.endPart(0, 1, res, nil)
		finishJob(r, j)
		return res
	}
	known := func(id string) bool {
		_, _, err := r.find(id)
		return err == nil
	}
	end("unread")
	for n := range 40 {
		id := fmt.Sprint(n)
		r.read(id, end(id))
	}
	if !known("unread") || known("0") || !known("39") {
		t.Errorf("the oldest, unread: %t; read long ago: %t; read last: %t", known("unread"), known("0"), known("39"))
	}
	if r.files > maxFiles || len(r.order) > 40 || len(r.ended) > 30 || len(r.spent) > 30 {
		t.Errorf("%d bytes in files; %d, %d and %d in the lists", r.files, len(r.order), len(r.ended), len(r.spent))
	}
	for n := range 9 {
		end(fmt.Sprint("also unread ", n))
	}
	if known("unread") || !known("also unread 8") || r.files > maxFiles {
		t.Errorf("with nothing but unread results the oldest goes: %t, %t, %d bytes", known("unread"), known("also unread 8"), r.files)
	}
}
