package kinesis

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// The reply of GetRecords is written by hand: a page holds up to 10,000 records,
// and the local AWS shares its machine with the program under test.

// recordOverhead is about what a record takes in a reply beside its key and data.
const recordOverhead = 190

// each calls f with each record of the page.
func (p pageOf) each(sh *shard, f func(key, data []byte, q sequence)) {
	for _, v := range p.views {
		start := v.start
		for i, e := range v.entries {
			data := start + uint32(e.key)
			f(v.text[start:data], v.text[data:e.end], sh.sequence(e.at, v.first+uint64(i)))
			start = e.end
		}
	}
}

// size is about what the page takes in a reply.
func (p pageOf) size() int {
	size := 4096
	for _, v := range p.views {
		bytes := int(v.entries[len(v.entries)-1].end - v.start)
		size += base64.StdEncoding.EncodedLen(bytes) + recordOverhead*len(v.entries)
	}
	return size
}

// childShards is what GetRecords tells at the end of a shard.
func (p pageOf) childShards() []childShard {
	children := make([]childShard, 0, len(p.children))
	for _, child := range p.children {
		children = append(children, child.child())
	}
	return children
}

// continues reports whether the page names the iterator of the next one.
func (c *call) continues(p pageOf) bool { return !p.ended && !wire.IteratorLeftOut(c.request) }

// writePage appends the reply of GetRecords.
func (c *call) writePage(sh *shard, p pageOf, it iterator) {
	c.out = slices.Grow(c.out, p.size())
	if c.cbor {
		c.writePageCBOR(sh, p, it)
		return
	}
	b := append(c.out, '{')
	if p.ended {
		text, err := json.Marshal(p.childShards())
		if err == nil { // plain structs of strings always marshal
			b = append(append(append(b, `"ChildShards":`...), text...), ',')
		}
	}
	b = append(b, `"MillisBehindLatest":`...)
	b = strconv.AppendInt(b, p.behind, 10)
	if c.continues(p) {
		b = append(b, `,"NextShardIterator":"`...)
		b = append(b, c.service.seal.close(iteratorToken, it)...)
		b = append(b, '"')
	}
	b = append(b, `,"Records":[`...)
	first := true
	p.each(sh, func(key, data []byte, q sequence) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendRecord(b, key, data, q)
	})
	c.out = append(b, "]}"...)
}

func appendRecord(b, key, data []byte, q sequence) []byte {
	b = append(b, `{"ApproximateArrivalTimestamp":`...)
	b = appendSeconds(b, q.at)
	b = append(b, `,"Data":"`...)
	b = base64.StdEncoding.AppendEncode(b, data)
	b = append(b, `","PartitionKey":`...)
	b = appendString(b, key)
	b = append(b, `,"SequenceNumber":"`...)
	b = q.append(b)
	return append(b, `"}`...)
}

// writePageCBOR is writePage in CBOR.
func (c *call) writePageCBOR(sh *shard, p pageOf, it iterator) {
	c.written = true
	members := uint64(2)
	if p.ended || c.continues(p) {
		members++
	}
	b := appendHead(c.out, majorMap, members)
	if p.ended {
		children, err := cbor.Marshal(p.childShards())
		if err == nil { // plain structs of strings always marshal
			b = append(appendText(b, "ChildShards"), children...)
		}
	}
	if c.continues(p) {
		b = appendText(b, "NextShardIterator")
		b = appendText(b, c.service.seal.close(iteratorToken, it))
	}
	b = appendText(b, "MillisBehindLatest")
	b = appendHead(b, majorUint, uint64(p.behind))
	b = appendText(b, "Records")
	b = appendHead(b, majorArray, uint64(p.records()))
	p.each(sh, func(key, data []byte, q sequence) {
		b = appendHead(b, majorMap, 4)
		b = appendText(b, "ApproximateArrivalTimestamp")
		b = appendHead(b, majorTag, timestampTag)
		b = appendHead(b, majorUint, uint64(q.at))
		b = appendText(b, "Data")
		b = append(appendHead(b, majorBytes, uint64(len(data))), data...)
		b = appendText(b, "PartitionKey")
		b = append(appendHead(b, majorText, uint64(len(key))), key...)
		b = appendText(b, "SequenceNumber")
		b = q.append(appendHead(b, majorText, sequenceDigits))
	})
	c.out = b
}
