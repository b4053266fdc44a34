package kinesis

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// On disk a stream is a directory: stream.json, which is replaced whole, and
// for each shard a log that is only appended to, one frame a record:
//
//	length of the rest (4) | CRC-32C of the rest (4) | arrived, unix ms (8) | ordinal (8) | key length (2) | key | data
//
// All numbers are big-endian. Nothing is synced: what was stored outlives the
// process, and a machine that loses power loses at most the tail.
const (
	frameHead     = 8
	frameFixed    = 18
	maxFrameBytes = frameFixed + 1024 + 10<<20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// shardLog is the file of one shard. Its shard's lock guards it.
type shardLog struct {
	file    *os.File
	size    int64 // of the whole frames in the file
	pending []byte
}

func (l *shardLog) add(at int64, ordinal uint64, key, data []byte) {
	l.pending = appendFrame(l.pending, at, ordinal, key, data)
}

func appendFrame(b []byte, at int64, ordinal uint64, key, data []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint64(b, ordinal)
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	b = append(append(b, key...), data...)
	rest := b[start+frameHead:]
	binary.BigEndian.PutUint32(b[start:], uint32(len(rest)))
	binary.BigEndian.PutUint32(b[start+4:], crc32.Checksum(rest, castagnoli))
	return b
}

// flush writes what add gathered, all of it or none.
func (l *shardLog) flush() error {
	defer func() { l.pending = l.pending[:0] }()
	if _, err := l.file.WriteAt(l.pending, l.size); err != nil {
		// What was written of it must not come back with the next start.
		return errors.Join(fmt.Errorf("append to %s: %w", l.file.Name(), err), l.file.Truncate(l.size))
	}
	l.size += int64(len(l.pending))
	return nil
}

// replay reads the log into the journal, leaving out what arrived at or before
// horizon. It ends at the first frame that is not whole: a torn tail.
func (l *shardLog) replay(j *journal, horizon int64) (last int64, err error) {
	reader := bufio.NewReaderSize(l.file, 1<<20)
	var frame []byte
	dropped := int64(0)
	for {
		if frame, err = readFrame(reader, frame); err != nil {
			break
		}
		at, ordinal := int64(binary.BigEndian.Uint64(frame)), binary.BigEndian.Uint64(frame[8:])
		key := int(binary.BigEndian.Uint16(frame[16:]))
		l.size += int64(frameHead + len(frame))
		last = at
		if at <= horizon {
			dropped = l.size
			j.first, j.next = ordinal+1, ordinal+1
			continue
		}
		if len(j.chunks) == 0 {
			j.first, j.next = ordinal, ordinal
		}
		j.append(at, frame[frameFixed:frameFixed+key], frame[frameFixed+key:])
	}
	if !errors.Is(err, errTorn) && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", l.file.Name(), err)
	}
	if err := l.file.Truncate(l.size); err != nil {
		return 0, fmt.Errorf("cut the torn tail of %s: %w", l.file.Name(), err)
	}
	if dropped > compactBytes && dropped > l.size/2 && dropped < l.size {
		return last, l.dropHead(dropped)
	}
	return last, nil
}

// errTorn is the end of a log whose last frame is not whole.
var errTorn = errors.New("torn frame")

// readFrame reads the rest of the next frame, after its head, into buffer.
func readFrame(r io.Reader, buffer []byte) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buffer, torn(err)
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n < frameFixed || n > maxFrameBytes {
		return buffer, errTorn
	}
	buffer = slices.Grow(buffer[:0], n)[:n]
	if _, err := io.ReadFull(r, buffer); err != nil {
		return buffer, torn(err)
	}
	key := int(binary.BigEndian.Uint16(buffer[16:]))
	if crc32.Checksum(buffer, castagnoli) != binary.BigEndian.Uint32(head[4:]) || frameFixed+key > n {
		return buffer, errTorn
	}
	return buffer, nil
}

// torn tells a frame that ends early from a disk that fails.
func torn(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return err
}

// compactBytes is how much of a log must be past the retention before a start
// writes the log anew without it.
const compactBytes = 16 << 20

// dropHead replaces the log by a copy without its first n bytes. At least one
// frame must remain: it says which ordinal comes next.
func (l *shardLog) dropHead(n int64) error {
	path := l.file.Name()
	kept, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("shorten %s: %w", path, err)
	}
	_, err = io.Copy(kept, io.NewSectionReader(l.file, n, l.size-n))
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("shorten %s: %w", path, err), kept.Close())
	}
	err = l.file.Close() // the old file, which has no name any more
	l.file, l.size = kept, l.size-n
	return err
}

// streamFile is what stream.json holds.
type streamFile struct {
	Name      string            `json:"name"`
	Region    string            `json:"region"`
	Created   int64             `json:"created_ms"`
	Mode      string            `json:"mode"`
	Retention int               `json:"retention_hours"`
	MaxRecord int               `json:"max_record_bytes"`
	Tags      map[string]string `json:"tags,omitempty"`
	Resized   []int64           `json:"resized_ms,omitempty"`
	Shards    []shardFile       `json:"shards"`
}

type shardFile struct {
	Low     string `json:"low"`
	High    string `json:"high"`
	Parents []int  `json:"parents,omitempty"`
	Opened  int64  `json:"opened_ms"`
	Closed  int64  `json:"closed_ms,omitempty"`
}

// streamDir is the directory of a stream. It carries the creation time, as
// names that differ in case only are one on some disks.
func streamDir(root, name string, created int64) string {
	return filepath.Join(root, fmt.Sprintf("%s@%d", name, created))
}

// save writes stream.json and opens the logs of shards that have none yet. The
// caller holds st.mu.
func (st *stream) save() error {
	if st.dir == "" {
		return nil
	}
	if err := os.MkdirAll(st.dir, 0o700); err != nil {
		return fmt.Errorf("keep stream %s: %w", st.name, err)
	}
	f := streamFile{
		Name: st.name, Region: st.region, Created: st.created, Mode: st.mode, Retention: st.retention,
		MaxRecord: st.maxRecord, Tags: st.tags, Resized: st.resized,
	}
	for _, s := range st.shards {
		sf := shardFile{Low: s.low.String(), High: s.high.String()}
		sf.Opened, sf.Closed = s.lifetime()
		for _, p := range s.parents {
			sf.Parents = append(sf.Parents, p.index)
		}
		f.Shards = append(f.Shards, sf)
	}
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("keep stream %s: %w", st.name, err)
	}
	path := filepath.Join(st.dir, "stream.json")
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("keep stream %s: %w", st.name, err)
	}
	for _, s := range st.shards {
		if err := s.openLog(st.dir); err != nil {
			return err
		}
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("keep stream %s: %w", st.name, err)
	}
	return nil
}

func (s *shard) openLog(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(dir, s.id+".log"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", s.id, err)
	}
	s.log = &shardLog{file: file}
	return nil
}

func (s *shard) closeLog() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return nil
	}
	err := s.log.file.Close()
	s.log = nil
	return err
}

// loadStreams reads every stream under root.
func loadStreams(root string, now time.Time) (map[string]*stream, error) {
	paths, err := filepath.Glob(filepath.Join(root, "*", "stream.json"))
	if err != nil {
		return nil, fmt.Errorf("list the streams in %s: %w", root, err)
	}
	streams := make(map[string]*stream)
	for _, path := range paths {
		st, err := loadStream(filepath.Dir(path), now)
		if err != nil {
			return nil, fmt.Errorf("load %s (remove that directory to start without the stream): %w", filepath.Dir(path), err)
		}
		streams[st.name] = st
	}
	return streams, nil
}

func loadStream(dir string, now time.Time) (*stream, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stream.json"))
	if err != nil {
		return nil, err
	}
	var f streamFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("read stream.json: %w", err)
	}
	st := &stream{
		name: f.Name, region: f.Region, created: f.Created, dir: dir, mode: f.Mode, retention: f.Retention,
		maxRecord: f.MaxRecord, tags: f.Tags, resized: f.Resized,
	}
	if st.tags == nil {
		st.tags = map[string]string{}
	}
	for _, sf := range f.Shards {
		low, ok1 := parseHashKey(sf.Low)
		high, ok2 := parseHashKey(sf.High)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("stream.json: shard %d: bad hash range %q to %q", len(st.shards), sf.Low, sf.High)
		}
		s := st.addShard(low, high, sf.Opened)
		s.closed = sf.Closed
		for _, p := range sf.Parents {
			if p < 0 || p >= s.index {
				return nil, fmt.Errorf("stream.json: shard %d: bad parent %d", s.index, p)
			}
			s.parents = append(s.parents, st.shards[p])
			st.shards[p].children = append(st.shards[p].children, s)
		}
		if err := s.load(dir, st.horizon(now)); err != nil {
			return nil, err
		}
		if s.closed == 0 {
			st.open = append(st.open, s)
		}
	}
	sortByRange(st.open)
	return st, checkCover(st.open)
}

// load replays the shard's log.
func (s *shard) load(dir string, horizon int64) error {
	if err := s.openLog(dir); err != nil {
		return err
	}
	last, err := s.log.replay(&s.records, horizon)
	if err != nil {
		return errors.Join(err, s.closeLog())
	}
	s.last = last
	return nil
}
