package verify

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

// entry is one thing that was read, on its way through a file.
type entry struct {
	kind    kind
	row     row    // of an event or a fact
	spelt   string // of a fact: its key as it stands there
	shard   uint32 // of an event: its shard's number
	settled bool   // of an event or rejection: before the earlier checkpoint
	letter  bool   // of an event: its record seems to have a letter
	place   string // of a rejection, a taken record or a letter
	arrived int64  // of an event or rejection: epoch milliseconds
}

type kind uint8

const (
	kindEvent kind = iota
	kindFact
	kindRejected
	kindTaken // a record that is an event and has a letter all the same
	kindLetter
)

// line is entry as gob sees it.
type line struct {
	Kind    kind
	Row     row
	Spelt   string
	Shard   uint32
	Settled bool
	Letter  bool
	Place   string
	Arrived int64
}

// parts is how many files the entries are spread over: at 10 million orders a
// part takes some 50 MB when it is compared.
const parts = 64

// inMemory is how many entries are held in memory before files are made: they
// cost more than the comparison of a small stream does.
const inMemory = 10_000

// spool spreads entries over parts by the hash of their key, so that entries
// with the same key meet in the same part, in the order in which they came. Once
// they are many, the parts are files.
type spool struct {
	parent, dir string // dir is empty while there are no files
	seed        maphash.Seed
	held        [parts][]entry // while there are no files
	holding     int
	files       [parts]*part
}

type part struct {
	file *os.File
	buf  *bufio.Writer
	enc  *gob.Encoder
}

func newSpool(parent string) *spool { return &spool{parent: parent, seed: maphash.MakeSeed()} }

// spill moves what is held in memory to files.
func (s *spool) spill() error {
	dir, err := os.MkdirTemp(s.parent, "verify-")
	if err != nil {
		return fmt.Errorf("make a folder for temporary files: %w", err)
	}
	s.dir = dir
	for i := range s.files {
		f, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return fmt.Errorf("make a temporary file: %w", err)
		}
		buf := bufio.NewWriter(f)
		s.files[i] = &part{f, buf, gob.NewEncoder(buf)}
		for _, e := range s.held[i] {
			if err := s.files[i].write(e); err != nil {
				return err
			}
		}
		s.held[i] = nil
	}
	return nil
}

func (s *spool) remove() {
	if s.dir == "" {
		return
	}
	for _, p := range s.files {
		if p != nil {
			_ = p.file.Close()
		}
	}
	_ = os.RemoveAll(s.dir)
}

func (s *spool) hash(key string) uint64 { return maphash.String(s.seed, key) }

func (s *spool) add(key string, e entry) error {
	i := s.hash(key) % parts
	if s.dir != "" {
		return s.files[i].write(e)
	}
	s.held[i] = append(s.held[i], e)
	if s.holding++; s.holding > inMemory {
		return s.spill()
	}
	return nil
}

func (p *part) write(e entry) error {
	if err := p.enc.Encode(line{e.kind, e.row, e.spelt, e.shard, e.settled, e.letter, e.place, e.arrived}); err != nil {
		return fmt.Errorf("write temporary file %s: %w", p.file.Name(), err)
	}
	return nil
}

// read gives the entries of one part to yield.
func (s *spool) read(i int, yield func(entry)) error {
	if s.dir == "" {
		for _, e := range s.held[i] {
			yield(e)
		}
		return nil
	}
	p := s.files[i]
	if err := p.buf.Flush(); err != nil {
		return fmt.Errorf("write temporary file %s: %w", p.file.Name(), err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read temporary file %s: %w", p.file.Name(), err)
	}
	dec := gob.NewDecoder(bufio.NewReader(p.file))
	for {
		var l line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read temporary file %s: %w", p.file.Name(), err)
		}
		yield(entry{l.Kind, l.Row, l.Spelt, l.Shard, l.Settled, l.Letter, l.Place, l.Arrived})
	}
}
