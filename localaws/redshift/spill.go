package redshift

import (
	"bytes"
	"fmt"
	"os"
	"sync/atomic"
)

// Bounds of one page of a result.
const (
	pageRows  = 1000
	pageBytes = 1 << 20
)

// inMemory is how large a result may be to stay in memory. A larger one goes to a
// temporary file of its own, which has no name: it is gone with the process.
const inMemory = 4 << 20

// result is a result set: its rows as they go over the wire, one after the other.
// A row is a JSON array of fields with a line feed behind it, or a line of CSV.
// Pages are cut while rows come, so that a page is a stretch of bytes.
type result struct {
	cols  []column
	count int64   // rows
	size  int64   // bytes of the rows, as DescribeStatement tells them
	pages []int64 // where each page ends; at least one once the result is sealed

	text []byte   // all rows, or those that are not yet in the file
	file *os.File // nil while the result is in memory
	kept int64    // bytes in the file
	rows int      // on the page under way
	from int64    // where that page begins

	read atomic.Bool // its last page was fetched
}

func (r *result) end() int64 { return r.kept + int64(len(r.text)) }

// add takes the next row.
func (r *result) add(row []byte, dir string) error {
	if r.rows == pageRows || r.rows > 0 && r.end()+int64(len(row))-r.from > pageBytes {
		r.cut()
	}
	r.text = append(r.text, row...)
	if len(row) == 0 || row[len(row)-1] != '\n' {
		r.text = append(r.text, '\n')
	}
	r.rows++
	r.count++
	if len(r.text) > inMemory {
		return r.spill(dir)
	}
	return nil
}

func (r *result) cut() {
	r.pages = append(r.pages, r.end())
	r.from, r.rows = r.end(), 0
}

// spill moves what is in memory to the file.
func (r *result) spill(dir string) error {
	if r.file == nil {
		f, err := os.CreateTemp(dir, "localaws-result-")
		if err != nil {
			return fmt.Errorf("keep a large result in a file: %w", err)
		}
		r.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("keep a large result in a file without a name: %w", err)
		}
	}
	n, err := r.file.Write(r.text)
	r.kept += int64(n)
	if err != nil {
		return fmt.Errorf("keep a large result in a file: %w", err)
	}
	r.text = r.text[:0]
	return nil
}

// seal ends the result.
func (r *result) seal(dir string) error {
	r.cut()
	if r.file == nil {
		r.text = bytes.Clone(r.text) // without the room to grow
		return nil
	}
	err := r.spill(dir)
	r.text = nil
	return err
}

// page returns the rows of page n, from 0, of a sealed result.
func (r *result) page(n int) ([]byte, error) {
	from := int64(0)
	if n > 0 {
		from = r.pages[n-1]
	}
	if r.file == nil {
		return r.text[from:r.pages[n]], nil
	}
	out := make([]byte, r.pages[n]-from)
	_, err := r.file.ReadAt(out, from)
	return out, err
}

// drop gives the file back. Who reads a page of it then gets os.ErrClosed.
func (r *result) drop() {
	if r != nil && r.file != nil {
		_ = r.file.Close() // it has no name: nothing of it remains
	}
}
