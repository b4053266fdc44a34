package worker

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// chunk is one decoded page: of each record its row as the warehouse wants it,
// and its place. The page itself is given back once it is decoded.
type chunk struct {
	shard   *shard
	items   []item
	lines   []byte   // of the items' rows, one behind the other
	numbers []byte   // their sequence numbers, one behind the other
	rejects []reject // in order
	ends    bool     // the shard ends after this chunk
	bytes   int64    // memory that it takes
	size    int64    // bytes of the page
	after   int64    // arrival of the record behind the last one, where the page was split there; else 0
	queued  time.Time
}

// item is one record of a chunk. That of a rejected one has no line.
type item struct {
	arrived    int64  // UTC microseconds since 1970
	line       uint32 // where it begins in chunk.lines
	number     uint32 // where its sequence number begins in chunk.numbers
	sub        int32  // index among the events of one Kinesis record
	lineSize   uint16
	numberSize uint8
	family     event.Family
}

// reject is a record that is no row, or whose row the warehouse refused.
type reject struct {
	item int // index in chunk.items
	event.Rejection
	data []byte
	key  string // partition key
}

func (c *chunk) row(i int) warehouse.Row {
	it := &c.items[i]
	return warehouse.Row{Family: it.family, Line: c.lines[it.line:][:it.lineSize:it.lineSize]}
}

// place is the position of a record. It outlives the chunk.
func (c *chunk) place(i int) stream.Position {
	it := &c.items[i]
	return stream.Position{Sequence: string(c.numbers[it.number:][:it.numberSize]), Sub: int64(it.sub)}
}

func (c *chunk) arrived(i int) time.Time { return time.UnixMicro(c.items[i].arrived).UTC() }

// rejected reports whether a record is no row, and why.
func (c *chunk) rejected(i int) (at int, is bool) {
	return slices.BinarySearchFunc(c.rejects, i, func(r reject, i int) int { return r.item - i })
}

// decoder turns the pages of one shard into chunks. It is not safe for concurrent
// use.
type decoder struct {
	encoder warehouse.Encoder
	loaded  func(event.Family) bool // others are rejected
	event   event.Event
	perLine int // bytes of a line, as they were of late
}

// usualLine is how long a line is taken to be until some were written.
const usualLine = 96

func newDecoder(e warehouse.Encoder, loaded func(event.Family) bool) *decoder {
	return &decoder{encoder: e, loaded: loaded, perLine: usualLine}
}

// decode turns a page into a chunk: a line or a rejection for each record. The
// chunk shares no memory with the page.
func (d *decoder) decode(s *shard, page stream.Page) *chunk {
	n := len(page.Records)
	c := &chunk{shard: s, ends: page.Ended, size: int64(page.Bytes), queued: time.Now()}
	if n == 0 {
		return c
	}
	c.items = make([]item, n)
	c.lines = make([]byte, 0, n*d.perLine)
	c.numbers = make([]byte, 0, n*len(page.Records[0].SequenceNumber))
	for i := range page.Records {
		r := &page.Records[i]
		it := &c.items[i]
		it.arrived, it.sub = r.ArrivedAt.UnixMicro(), int32(r.SubSequence)
		it.line, it.number, it.numberSize = uint32(len(c.lines)), uint32(len(c.numbers)), uint8(len(r.SequenceNumber))
		c.numbers = append(c.numbers, r.SequenceNumber...)
		rejection := event.Decode(r.Data, r.ArrivedAt, &d.event)
		if rejection == nil && !d.loaded(d.event.Family()) {
			family := d.event.Family().String()
			rejection = &event.Rejection{Reason: event.FamilyOff, Detail: "FAMILIES leaves out " + family, Family: family}
		}
		if rejection != nil {
			c.rejects = append(c.rejects, reject{i, *rejection, slices.Clone(r.Data), strings.Clone(r.PartitionKey)})
			c.bytes += int64(len(rejection.Detail) + len(r.Data) + len(r.PartitionKey))
			continue
		}
		it.family = d.event.Family()
		c.lines = d.encoder.Append(c.lines, &d.event)
		it.lineSize = uint16(len(c.lines) - int(it.line))
	}
	d.perLine = len(c.lines)/n + 8
	c.lines = fitting(c.lines)
	c.bytes += int64(n)*int64(unsafe.Sizeof(item{})) + int64(cap(c.lines)+cap(c.numbers)) + int64(cap(c.rejects))*int64(unsafe.Sizeof(reject{}))
	return c
}

// fitting is a slice without room that would not be used.
func fitting(b []byte) []byte {
	if cap(b) > len(b)+len(b)/8 {
		return slices.Clip(append(make([]byte, 0, len(b)), b...))
	}
	return b
}

// span is a stretch of a chunk.
type span struct {
	*chunk
	lo, hi int // items[lo:hi]
}

// last reports whether the span reaches the end of its chunk.
func (s span) last() bool { return s.hi == len(s.items) }

// next is when the record behind the span arrived, or zero if its page has no more.
func (s span) next() time.Time {
	switch {
	case !s.last():
		return s.arrived(s.hi)
	case s.after != 0:
		return time.UnixMicro(s.after).UTC()
	}
	return time.Time{}
}

// split cuts a chunk in two. Both parts keep its memory alive, so the tail
// counts all of its bytes.
func split(c *chunk, at int) (head, tail *chunk) {
	cut, _ := c.rejected(at)
	head = &chunk{shard: c.shard, items: c.items[:at], lines: c.lines, numbers: c.numbers, rejects: c.rejects[:cut], queued: c.queued, after: c.items[at].arrived}
	tail = &chunk{
		shard: c.shard, items: c.items[at:], lines: c.lines, numbers: c.numbers, ends: c.ends, bytes: c.bytes, queued: c.queued, after: c.after,
	}
	for _, r := range c.rejects[cut:] {
		r.item -= at
		tail.rejects = append(tail.rejects, r)
	}
	return head, tail
}

// sample copies a row of that family that waits, any one, if there is one.
func (q *queue) sample(family event.Family) (r warehouse.Row, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, at := range rand.Perm(len(q.chunks)) {
		c := q.chunks[at]
		for _, at := range rand.Perm(len(c.items)) {
			if _, rejected := c.rejected(at); !rejected && c.items[at].family == family {
				return cloneRow(c.row(at)), true
			}
		}
	}
	return r, false
}

// cloneRow copies a row out of its chunk.
func cloneRow(r warehouse.Row) warehouse.Row {
	r.Line = slices.Clone(r.Line)
	return r
}
