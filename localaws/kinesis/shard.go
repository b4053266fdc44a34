package kinesis

import (
	"fmt"
	"sync"
	"time"
)

// shard is one shard of a stream.
type shard struct {
	id        string
	index     int
	low, high hashKey // the hash range, both ends inclusive
	parents   []*shard
	created   int64 // of the stream, unix ms
	opened    int64 // unix ms

	mu        sync.Mutex // guards what follows
	closed    int64      // unix ms; 0 while the shard is open
	children  []*shard   // once closed
	records   journal
	last      int64 // arrival of the newest record, unix ms: arrivals never go back, whatever the clock does
	writes    window
	reads     window
	iterators window
	log       *shardLog // nil: in memory only
}

func shardID(index int) string { return fmt.Sprintf("shardId-%012d", index) }

// sequence is the number of the record with this ordinal and arrival.
func (s *shard) sequence(at int64, ordinal uint64) sequence {
	return sequence{created: s.created, at: at, ordinal: ordinal, shard: s.index}
}

// put is one record on its way into a shard.
type put struct {
	key, data []byte
	hash      hashKey

	shard   *shard // where it goes
	at      int64
	ordinal uint64
	refused string // "" or the error code
}

// append takes the puts that are meant for this shard, in their order.
func (s *shard) append(puts []put, now time.Time, limits bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ordinal := max(now.UnixMilli(), s.opened, s.last), s.records.next
	for i := range puts {
		p := &puts[i]
		if p.shard != s {
			continue
		}
		size := len(p.key) + len(p.data)
		if limits {
			if !s.writes.admits(now, writeRecordsPerSecond, writeBytesPerSecond, size) {
				p.refused = codeThroughput
				continue
			}
			s.writes.add(now, writeBytesPerSecond, size)
		}
		p.at, p.ordinal = at, ordinal
		ordinal++
		if s.log != nil {
			s.log.add(at, p.ordinal, p.key, p.data)
		}
	}
	if s.log != nil {
		// The file comes first: what a client was told to be stored is there
		// after a restart.
		if err := s.log.flush(); err != nil {
			for i := range puts {
				if puts[i].shard == s && puts[i].refused == "" {
					puts[i].refused = codeInternal
				}
			}
			return
		}
	}
	for i := range puts {
		if p := &puts[i]; p.shard == s && p.refused == "" {
			s.records.append(p.at, p.key, p.data)
			s.last = at
		}
	}
}

// pageOf is what one read of a shard found.
type pageOf struct {
	views    []view
	next     uint64
	behind   int64 // ms
	ended    bool
	children []*shard
}

const (
	maxPageRecords = 10_000
	maxPageBytes   = 10 << 20
)

// read takes up to limit records from the ordinal on. ok is false where the
// shard's read rates forbid it.
func (s *shard) read(from uint64, limit int, horizon int64, now time.Time, limits bool) (p pageOf, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if limits && !s.reads.admits(now, readsPerSecond, readBytesPerSecond, 0) {
		return p, false
	}
	s.records.trim(horizon)
	var size int
	p.views, p.next, size = s.records.read(nil, from, limit, maxPageBytes)
	if limits {
		s.reads.add(now, readBytesPerSecond, size)
	}
	switch {
	case p.next < s.records.next:
		// At least 1: 0 says that the reader has caught up.
		p.behind = max(1, now.UnixMilli()-s.records.arrived(p.next))
	case s.closed > 0:
		p.ended, p.children = true, s.children
	}
	return p, true
}

func (s *shard) trim(horizon int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records.trim(horizon)
}

// isClosed reports whether the shard has been split or merged.
func (s *shard) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed > 0
}

// expired reports whether everything that the shard ever held is past the
// retention: then no list shows it any more.
func (s *shard) expired(horizon int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed > 0 && s.closed <= horizon
}

// lifetime is the time that the shard was open, [opened, closed); closed is 0
// while it is.
func (s *shard) lifetime() (opened, closed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened, s.closed
}

// tip is the ordinal that the next record will get.
func (s *shard) tip() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records.next
}

// since is the ordinal of the first record that arrived at or after at.
func (s *shard) since(at int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.records.since(at)
}

func (s *shard) admitsIterator(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.iterators.admits(now, iteratorsPerSecond, 0, 0)
}

// position turns a sequence number into the ordinal of the record at it, or
// after it. A number that lies between two records leads to the second.
func (s *shard) position(q sequence, after bool) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q.ordinal < s.records.first {
		return s.records.first // trimmed: AWS starts at the trim horizon
	}
	if after && q.ordinal < s.records.next {
		return q.ordinal + 1
	}
	return min(q.ordinal, s.records.next)
}

// close ends the shard at the time and names the shards that follow it.
func (s *shard) close(at int64, children []*shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.children = at, children
}

// description is the shard as the API shows it.
func (s *shard) description() shardDescription {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := shardDescription{
		ShardId:             s.id,
		HashKeyRange:        hashKeyRange{s.low.String(), s.high.String()},
		SequenceNumberRange: sequenceRange{StartingSequenceNumber: s.sequence(s.opened, 0).String()},
	}
	if len(s.parents) > 0 {
		d.ParentShardId = s.parents[0].id
	}
	if len(s.parents) > 1 {
		d.AdjacentParentShardId = s.parents[1].id
	}
	if s.closed > 0 {
		d.SequenceNumberRange.EndingSequenceNumber = s.sequence(s.closed, s.records.next).String()
	}
	return d
}

// child is the shard as a ChildShards list shows it.
func (s *shard) child() childShard {
	c := childShard{ShardId: s.id, HashKeyRange: hashKeyRange{s.low.String(), s.high.String()}}
	for _, p := range s.parents {
		c.ParentShards = append(c.ParentShards, p.id)
	}
	return c
}
