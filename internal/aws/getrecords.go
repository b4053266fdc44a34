package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/sync/semaphore"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// The SDK spends 1.4 us and 9 allocations on each record of a GetRecords reply.
// Its signing, retries, endpoints and errors stay; only the decoding of a good
// reply is replaced, by one scan over a pooled buffer into two arenas.

const (
	// A reply holds at most 10 MiB of data, 14 MiB in base64, and 10,000 keys of
	// at most 256 characters.
	maxReply = 32 << 20
	// replyMemory bounds the bodies that are in memory at once, over all shards.
	// A reader that must wait leaves its reply in the socket.
	replyMemory = maxReply
)

// reply is what one GetRecords call brought. Its reader sets shard.
type reply struct {
	shard stream.Shard // whose hash range aggregated records are held against

	records  []stream.Record
	first    string // sequence number of the first record as Kinesis counts them
	read     int    // bytes by which Kinesis meters reading: data and partition keys
	held     int    // bytes of memory behind records
	next     string // the next iterator; empty at the end of the shard
	behind   time.Duration
	children []stream.Shard
}

type replyKey struct{}

// withReply tells the decoder to decode into r.
func withReply(ctx context.Context, r *reply) context.Context {
	return context.WithValue(ctx, replyKey{}, r)
}

// recordsDecoder takes the place of the SDK's deserializer for GetRecords.
type recordsDecoder struct {
	sdk     middleware.DeserializeMiddleware // the one replaced
	buffers *bufferPool
}

// install puts the decoder into the stack of GetRecords and leaves others alone.
func (p *bufferPool) install(stack *middleware.Stack) error {
	if stack.ID() != "GetRecords" {
		return nil
	}
	d := &recordsDecoder{buffers: p}
	replaced, err := stack.Deserialize.Swap(d.ID(), d)
	if err != nil {
		return fmt.Errorf("replace the decoder of GetRecords: %w", err)
	}
	d.sdk = replaced
	return nil
}

// ID is the name that the SDK's own deserializer has.
func (d *recordsDecoder) ID() string { return "OperationDeserializer" }

// HandleDeserialize decodes a good reply; everything else goes to the SDK's own
// deserializer as it came.
func (d *recordsDecoder) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	into, wanted := ctx.Value(replyKey{}).(*reply)
	response, isHTTP := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !wanted || !isHTTP || response.StatusCode < 200 || response.StatusCode > 299 {
		return d.sdk.HandleDeserialize(ctx, in, middleware.DeserializeHandlerFunc(
			func(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
				return out, meta, err
			}))
	}
	defer response.Body.Close()
	if err := d.buffers.decode(ctx, response, into); err != nil {
		return out, meta, err
	}
	result := &kinesis.GetRecordsOutput{}
	if into.next != "" {
		result.NextShardIterator = &into.next
	}
	out.Result = result
	return out, meta, nil
}

// bufferPool lends the memory of decoding: it is used for milliseconds in each
// second of a shard, so a few buffers serve all shards.
type bufferPool struct {
	room *semaphore.Weighted // bytes of bodies in memory
	pool sync.Pool           // of *buffers
}

type buffers struct {
	body  []byte
	spans []span
	texts []byte
}

func newBufferPool() *bufferPool {
	return &bufferPool{
		room: semaphore.NewWeighted(replyMemory),
		pool: sync.Pool{New: func() any { return new(buffers) }},
	}
}

// lostReply is a body that broke off. The call changed nothing, so the SDK may
// make it again, as it does for other connection errors.
type lostReply struct{ error }

func (lostReply) ConnectionError() bool { return true }

func (e lostReply) Unwrap() error { return e.error }

func (p *bufferPool) decode(ctx context.Context, response *smithyhttp.Response, into *reply) error {
	size := response.ContentLength
	if size < 0 {
		size = maxReply
	}
	if size > maxReply {
		return &smithy.DeserializationError{Err: fmt.Errorf("a GetRecords reply of %d bytes is over the limit of %d", size, maxReply)}
	}
	if err := p.room.Acquire(ctx, size); err != nil {
		return &smithy.CanceledError{Err: err}
	}
	defer p.room.Release(size)
	b := p.pool.Get().(*buffers)
	defer p.pool.Put(b)
	if err := b.fill(response.Body, response.ContentLength); err != nil {
		return lostReply{fmt.Errorf("read a GetRecords reply: %w", err)}
	}
	*into = reply{shard: into.shard}
	if b.scan(into) {
		return nil
	}
	*into = reply{shard: into.shard}
	if err := decodeAny(b.body, into); err != nil {
		return &smithy.DeserializationError{Err: fmt.Errorf("decode a GetRecords reply: %w", err)}
	}
	return nil
}

// fill reads the whole body. size is its length, or -1.
func (b *buffers) fill(body io.Reader, size int64) error {
	if size >= 0 {
		if int64(cap(b.body)) < size {
			b.body = make([]byte, size)
		}
		b.body = b.body[:size]
		_, err := io.ReadFull(body, b.body)
		return err
	}
	grown := bytes.NewBuffer(b.body[:0])
	n, err := grown.ReadFrom(io.LimitReader(body, maxReply+1))
	b.body = grown.Bytes()
	if err == nil && n > maxReply {
		err = fmt.Errorf("more than %d bytes", maxReply)
	}
	return err
}

// span is where the parts of one record lie: its data in the body, in base64,
// and its texts in buffers.texts.
type span struct {
	data, sequence, key extent
	arrived             int64 // epoch milliseconds; math.MinInt64 where absent
}

type extent struct{ lo, hi uint32 }

func (e extent) of(b []byte) []byte { return b[e.lo:e.hi] }

// scan decodes the body, or returns false where it is not written plainly.
func (b *buffers) scan(into *reply) bool {
	b.spans, b.texts = b.spans[:0], b.texts[:0]
	s := scanner{b: b.body}
	if !s.take('{') {
		return false
	}
	for first := true; ; first = false {
		name, more, ok := s.key(first)
		if !ok {
			return false
		}
		if !more {
			break
		}
		switch string(name) {
		case "Records":
			ok = b.scanRecords(&s)
		case "NextShardIterator":
			into.next, ok = scanIterator(&s)
		case "MillisBehindLatest":
			var ms int64
			if ms, ok = decimal(s.number(), 0); ok {
				into.behind = milliseconds(ms)
			}
		case "ChildShards":
			var text []byte
			if text, ok = s.value(); ok {
				into.children, ok = childrenOf(text)
			}
		default:
			_, ok = s.value()
		}
		if !ok {
			return false
		}
	}
	return s.end() && b.build(into)
}

func scanIterator(s *scanner) (string, bool) {
	if s.null() {
		return "", true
	}
	lo, hi, plain, ok := s.text()
	if !ok || !plain {
		return "", false
	}
	return string(s.b[lo:hi]), true
}

func (b *buffers) scanRecords(s *scanner) bool {
	b.spans = b.spans[:0] // a member given twice: the last one counts
	if !s.take('[') {
		return false
	}
	if s.take(']') {
		return true
	}
	for {
		if !b.scanRecord(s) {
			return false
		}
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (b *buffers) scanRecord(s *scanner) bool {
	if !s.take('{') {
		return false
	}
	record := span{arrived: math.MinInt64}
	for first := true; ; first = false {
		name, more, ok := s.key(first)
		if !ok {
			return false
		}
		if !more {
			b.spans = append(b.spans, record)
			return true
		}
		switch string(name) {
		case "Data":
			record.data, ok = s.base64()
		case "SequenceNumber":
			record.sequence, ok = b.scanText(s)
		case "PartitionKey":
			record.key, ok = b.scanText(s)
		case "ApproximateArrivalTimestamp":
			record.arrived, ok = decimal(s.number(), 3)
		default:
			_, ok = s.value()
		}
		if !ok {
			return false
		}
	}
}

// base64 takes a string of base64 without looking at it: a character that does
// not belong, also a backslash, makes its decoding fail later.
func (s *scanner) base64() (extent, bool) {
	if !s.take('"') {
		return extent{}, false
	}
	n := bytes.IndexByte(s.b[s.i:], '"')
	if n < 0 {
		return extent{}, false
	}
	e := extent{uint32(s.i), uint32(s.i + n)}
	s.i += n + 1
	return e, true
}

// scanText takes a string and keeps its value in b.texts.
func (b *buffers) scanText(s *scanner) (extent, bool) {
	lo, hi, plain, ok := s.text()
	if !ok {
		return extent{}, false
	}
	at := uint32(len(b.texts))
	if plain {
		b.texts = append(b.texts, s.b[lo:hi]...)
	} else {
		var value string
		if json.Unmarshal(s.b[lo-1:hi+1], &value) != nil {
			return extent{}, false
		}
		b.texts = append(b.texts, value...)
	}
	return extent{at, uint32(len(b.texts))}, true
}

// build turns the spans into records. All data shares one new arena and all
// texts share one string, so a page costs three allocations however many
// records it has.
func (b *buffers) build(into *reply) bool {
	size := 0
	for i := range b.spans {
		size += decodedLen(b.spans[i].data.of(b.body))
	}
	arena := make([]byte, size)
	texts := string(b.texts)
	into.reserve(len(b.spans))
	n := 0
	for i := range b.spans {
		sp := &b.spans[i]
		got, ok := decodeBase64(arena[n:], sp.data.of(b.body))
		if !ok {
			return false
		}
		r := stream.Record{
			SequenceNumber: texts[sp.sequence.lo:sp.sequence.hi],
			PartitionKey:   texts[sp.key.lo:sp.key.hi],
			Data:           arena[n : n+got : n+got],
		}
		if sp.arrived != math.MinInt64 {
			r.ArrivedAt = time.UnixMilli(sp.arrived).UTC()
		}
		n += got
		into.add(r)
	}
	into.weigh(len(arena) + len(texts))
	return true
}

func (r *reply) reserve(n int) {
	if n > 0 {
		r.records = make([]stream.Record, 0, n)
	}
}

// add takes a record as Kinesis delivers it, which may hold several.
func (r *reply) add(record stream.Record) {
	if r.first == "" {
		r.first = record.SequenceNumber
	}
	r.read += len(record.Data) + len(record.PartitionKey)
	r.records = stream.Deaggregate(record, r.shard, r.records)
}

func (r *reply) weigh(arenas int) {
	r.held = arenas + cap(r.records)*int(unsafe.Sizeof(stream.Record{}))
}

// decodeAny decodes any reply that is valid, with no regard to speed.
func decodeAny(body []byte, into *reply) error {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(body, &top); err != nil {
		return err
	}
	var records []map[string]json.RawMessage
	var iterator string
	if err := member(top, "Records", &records); err != nil {
		return err
	}
	if err := member(top, "NextShardIterator", &iterator); err != nil {
		return err
	}
	into.next = iterator
	if ms, present, err := decimalMember(top, "MillisBehindLatest", 0); err != nil {
		return err
	} else if present {
		into.behind = milliseconds(ms)
	}
	if text, present := top["ChildShards"]; present {
		var ok bool
		if into.children, ok = childrenOf(text); !ok {
			return fmt.Errorf("ChildShards: not a list of shards")
		}
	}
	into.reserve(len(records))
	held := 0
	for i, members := range records {
		r, err := anyRecord(members)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		held += len(r.Data) + len(r.SequenceNumber) + len(r.PartitionKey)
		into.add(r)
	}
	into.weigh(held)
	return nil
}

func anyRecord(members map[string]json.RawMessage) (stream.Record, error) {
	var r stream.Record
	if err := member(members, "Data", &r.Data); err != nil {
		return r, err
	}
	if err := member(members, "SequenceNumber", &r.SequenceNumber); err != nil {
		return r, err
	}
	if err := member(members, "PartitionKey", &r.PartitionKey); err != nil {
		return r, err
	}
	ms, present, err := decimalMember(members, "ApproximateArrivalTimestamp", 3)
	if present {
		r.ArrivedAt = time.UnixMilli(ms).UTC()
	}
	return r, err
}

func member(members map[string]json.RawMessage, name string, into any) error {
	text, ok := members[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func decimalMember(members map[string]json.RawMessage, name string, shift int) (int64, bool, error) {
	text, ok := members[name]
	if !ok || string(text) == "null" {
		return 0, false, nil
	}
	v, ok := decimal(text, shift)
	if !ok {
		return 0, false, fmt.Errorf("%s: not a number in range: %.40s", name, text)
	}
	return v, true, nil
}

func childrenOf(text []byte) ([]stream.Shard, bool) {
	var children []struct {
		ShardID      string `json:"ShardId"`
		ParentShards []string
		HashKeyRange struct{ StartingHashKey, EndingHashKey string }
	}
	if json.Unmarshal(text, &children) != nil {
		return nil, false
	}
	var out []stream.Shard
	for _, c := range children {
		out = append(out, stream.Shard{
			ID: c.ShardID, Parents: c.ParentShards,
			HashStart: c.HashKeyRange.StartingHashKey, HashEnd: c.HashKeyRange.EndingHashKey,
		})
	}
	return out, true
}

// milliseconds is ms as a Duration that does not overflow and is not negative.
func milliseconds(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}
