package replay

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// spool keeps batches of rows in a file that has no name, so that nothing of it stays
// however the process ends.
type spool struct {
	dir     string
	file    *os.File
	size    int64
	batches []stretch
}

// stretch is where a batch lies in the file.
type stretch struct {
	at   int64
	size int
	rows int
}

func (s *spool) add(body []byte, rows int) error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "replay-")
		if err != nil {
			return fmt.Errorf("make a temporary file: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("take the name off a temporary file: %w", err)
		}
	}
	if _, err := s.file.WriteAt(body, s.size); err != nil {
		return fmt.Errorf("write a temporary file (TMPDIR says where; it takes about 150 bytes a row): %w", err)
	}
	s.batches = append(s.batches, stretch{s.size, len(body), rows})
	s.size += int64(len(body))
	return nil
}

// batch reads a batch.
func (s *spool) batch(i int) ([]warehouse.Row, error) {
	b := s.batches[i]
	body := make([]byte, b.size)
	if _, err := s.file.ReadAt(body, b.at); err != nil {
		return nil, fmt.Errorf("read a temporary file: %w", err)
	}
	rows := make([]warehouse.Row, 0, b.rows)
	for len(body) > 0 {
		family, rest := event.Family(body[0]), body[1:]
		n, width := binary.Uvarint(rest)
		if width <= 0 || n > uint64(len(rest)-width) {
			return nil, fmt.Errorf("a temporary file was changed by somebody else")
		}
		rows = append(rows, warehouse.Row{Family: family, Line: rest[width:][:n:n]})
		body = rest[width+int(n):]
	}
	return rows, nil
}

func (s *spool) remove() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// batches collect the rows of each group of families that one load carries. Rows of
// different families are different keys, so that their order does not matter.
type batches []batch

func newBatches(most int, to *spool) batches {
	out := make(batches, warehouse.ReplayGroups)
	for i := range out {
		out[i] = batch{most: most, to: to}
	}
	return out
}

func (b batches) add(row warehouse.Row) error { return b[warehouse.ReplayGroup(row.Family)].add(row) }

func (b batches) flush() error {
	for i := range b {
		if err := b[i].flush(); err != nil {
			return err
		}
	}
	return nil
}

// batch collects rows for one load.
type batch struct {
	to   *spool
	most int // of bytes
	body []byte
	rows int
	held int // bytes
}

func (b *batch) add(row warehouse.Row) error {
	n := warehouse.RowBytes(row)
	if b.rows > 0 && (b.held+n > b.most || b.rows == mostRows) {
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.body = append(b.body, byte(row.Family))
	b.body = binary.AppendUvarint(b.body, uint64(len(row.Line)))
	b.body = append(b.body, row.Line...)
	b.rows, b.held = b.rows+1, b.held+n
	return nil
}

// mostRows bounds the rows of a load, as a COPY's are bounded.
const mostRows = 100_000

func (b *batch) flush() error {
	if b.rows == 0 {
		return nil
	}
	err := b.to.add(b.body, b.rows)
	b.body, b.rows, b.held = b.body[:0], 0, 0
	return err
}
