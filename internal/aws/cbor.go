package aws

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
	"unsafe"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// The major types of CBOR (RFC 8949).
const (
	cborUint = iota
	cborNegative
	cborBytes
	cborText
	cborArray
	cborMap
	cborTag
	cborSimple // and floats, and the break that ends what has no length
)

const (
	cborBreak = 0xFF
	cborDepth = 16 // a reply of GetRecords has four levels
)

// cborScanner walks a reply once, without building anything. It knows the plain
// ways of writing; a method that meets anything else returns false, and the
// reply is decoded by smithy's decoder. It never takes what that refuses
// (FuzzRecordsReply).
type cborScanner struct {
	b []byte
	i int
}

// head takes the head of an item. open says that its length is not given.
func (s *cborScanner) head() (major byte, arg uint64, open, ok bool) {
	if s.i >= len(s.b) {
		return 0, 0, false, false
	}
	first := s.b[s.i]
	s.i++
	major = first >> 5
	switch minor := first & 31; {
	case minor < 24:
		return major, uint64(minor), false, true
	case minor < 28:
		n := 1 << (minor - 24)
		if len(s.b)-s.i < n {
			return 0, 0, false, false
		}
		at := s.b[s.i:]
		s.i += n
		switch n {
		case 1:
			arg = uint64(at[0])
		case 2:
			arg = uint64(binary.BigEndian.Uint16(at))
		case 4:
			arg = uint64(binary.BigEndian.Uint32(at))
		default:
			arg = binary.BigEndian.Uint64(at)
		}
		return major, arg, false, true
	case minor == 31 && (major == cborArray || major == cborMap):
		return major, 0, true, true
	}
	return 0, 0, false, false
}

// text takes a string, or the bytes of a byte string.
func (s *cborScanner) text(major byte) ([]byte, bool) {
	got, n, _, ok := s.head()
	if !ok || got != major || n > uint64(len(s.b)-s.i) {
		return nil, false
	}
	at := s.i
	s.i += int(n)
	return s.b[at:s.i:s.i], true
}

// items counts what is left of an array or a map.
type items struct {
	left uint64
	open bool
}

// enter takes the head of an array or a map.
func (s *cborScanner) enter(major byte) (items, bool) {
	got, n, open, ok := s.head()
	return items{n, open}, ok && got == major
}

// more reports whether another item follows, and takes the break where not.
func (s *cborScanner) more(it *items) bool {
	if it.open {
		if s.i < len(s.b) && s.b[s.i] == cborBreak {
			s.i++
			return false
		}
		return true
	}
	if it.left == 0 {
		return false
	}
	it.left--
	return true
}

// number takes an integer or a float, whatever its tag says.
func (s *cborScanner) number() (float64, bool) {
	if s.i < len(s.b) && s.b[s.i]>>5 == cborTag {
		if _, _, _, ok := s.head(); !ok {
			return 0, false
		}
	}
	at := s.i
	major, arg, _, ok := s.head()
	switch {
	case !ok:
		return 0, false
	case major == cborUint:
		return float64(arg), true
	case major == cborNegative:
		return -1 - float64(arg), true
	case major == cborSimple && s.i-at == 5:
		n := float64(math.Float32frombits(uint32(arg)))
		return n, !math.IsNaN(n)
	case major == cborSimple && s.i-at == 9:
		n := math.Float64frombits(arg)
		return n, !math.IsNaN(n)
	}
	return 0, false
}

// skip takes one item of any kind.
func (s *cborScanner) skip(depth int) bool {
	if depth > cborDepth {
		return false
	}
	at := s.i
	major, n, open, ok := s.head()
	if !ok {
		return false
	}
	switch major {
	case cborSimple: // false, true, null, undefined, or a float
		return s.i-at == 1 && n >= 20 || s.i-at > 2
	case cborBytes, cborText:
		if n > uint64(len(s.b)-s.i) {
			return false
		}
		s.i += int(n)
		return true
	case cborTag:
		return s.skip(depth + 1)
	case cborArray, cborMap:
		for it := (items{n, open}); s.more(&it); {
			if major == cborMap {
				if _, ok := s.text(cborText); !ok {
					return false
				}
			}
			if !s.skip(depth + 1) {
				return false
			}
		}
	}
	return true
}

// scan decodes the body of m, or returns false where it is not written plainly.
// The records point into it.
func (r *reply) scan(m *pageMemory) bool {
	m.records = m.records[:0]
	s := cborScanner{b: m.body}
	top, ok := s.enter(cborMap)
	for ok && s.more(&top) {
		var name []byte
		if name, ok = s.text(cborText); !ok {
			break
		}
		switch string(name) {
		case "Records":
			ok = r.scanRecords(&s, m)
		case "NextShardIterator":
			name, ok = s.text(cborText)
			r.next = string(name)
		case "MillisBehindLatest":
			var ms float64
			ms, ok = s.number()
			r.behind, r.told = milliseconds(ms), true
		case "ChildShards":
			at := s.i
			if ok = s.skip(0); ok {
				r.children, ok = childrenOf(s.b[at:s.i])
			}
		default:
			ok = s.skip(0)
		}
	}
	return ok && s.i == len(s.b)
}

// leastRecord is about the least that a record takes in a reply: the names of
// its members.
const leastRecord = 64

func (r *reply) scanRecords(s *cborScanner, m *pageMemory) bool {
	list, ok := s.enter(cborArray)
	if !ok {
		return false
	}
	r.listed, r.first, r.lacks, r.read, m.records = true, "", "", 0, m.records[:0] // a member given twice: the last one counts
	if n := int(min(list.left, uint64(len(s.b)/leastRecord))); n > cap(m.records) {
		m.records = make([]stream.Record, 0, n)
	}
	for s.more(&list) {
		record, ok := scanRecord(s)
		if !ok {
			return false
		}
		r.add(m, record)
	}
	return true
}

func scanRecord(s *cborScanner) (record stream.Record, ok bool) {
	members, ok := s.enter(cborMap)
	for ok && s.more(&members) {
		var name, value []byte
		if name, ok = s.text(cborText); !ok {
			break
		}
		switch string(name) {
		case "Data":
			record.Data, ok = s.text(cborBytes)
		case "SequenceNumber":
			value, ok = s.text(cborText)
			record.SequenceNumber = shared(value)
		case "PartitionKey":
			value, ok = s.text(cborText)
			record.PartitionKey = shared(value)
		case "ApproximateArrivalTimestamp":
			var ms float64
			ms, ok = s.number()
			record.ArrivedAt = arrival(ms)
		default:
			ok = s.skip(0)
		}
	}
	return record, ok
}

// shared is b as a string, without a copy.
func shared(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// secondsBelow is the number up to which a time is read as seconds. AWS sends
// milliseconds, and no record arrived in 1973; other services send what the tag
// of CBOR means, seconds.
const secondsBelow = 100_000_000_000

func arrival(n float64) time.Time {
	if n < secondsBelow {
		n *= 1000
	}
	return time.UnixMilli(int64(math.Round(min(max(n, 0), 1<<53)))).UTC()
}

// milliseconds is ms as a Duration that does not overflow and is not negative.
func milliseconds(ms float64) time.Duration {
	const most = math.MaxInt64 / int64(time.Millisecond)
	return time.Duration(min(max(ms, 0), float64(most/2))) * time.Millisecond
}

// add takes a record as Kinesis delivers it, which may hold several.
func (r *reply) add(m *pageMemory, record stream.Record) {
	if r.first == "" {
		r.first = record.SequenceNumber
	}
	if r.lacks == "" {
		r.lacks = lacking(&record)
	}
	r.read += len(record.Data) + len(record.PartitionKey)
	m.records = stream.Deaggregate(record, r.shard, m.records)
}

// lacking names what every record holds and this one does not, or is empty. A
// partition key may be missing: on-demand streams can place records without.
func lacking(r *stream.Record) string {
	switch {
	case r.SequenceNumber == "":
		return "SequenceNumber"
	case r.Data == nil:
		return "Data"
	case r.ArrivedAt.IsZero():
		return "ApproximateArrivalTimestamp"
	}
	return ""
}

var errNoReply = errors.New("not a reply of GetRecords")

// decodeAny decodes any reply that is valid, with no regard to speed.
func (r *reply) decodeAny(m *pageMemory) error {
	m.records = m.records[:0]
	v, err := cbor.Decode(m.body)
	if err != nil {
		return err
	}
	top, ok := v.(cbor.Map)
	if !ok {
		return errNoReply
	}
	next, err := textOf(top["NextShardIterator"])
	if err != nil {
		return fmt.Errorf("the member NextShardIterator: %w", err)
	}
	r.next = next
	ms, err := numberOf(top["MillisBehindLatest"])
	if err != nil {
		return fmt.Errorf("the member MillisBehindLatest: %w", err)
	}
	r.behind, r.told, r.listed = milliseconds(ms), !absent(top["MillisBehindLatest"]), !absent(top["Records"])
	if children, present := top["ChildShards"]; present {
		if r.children, err = childShards(children); err != nil {
			return fmt.Errorf("the member ChildShards: %w", err)
		}
	}
	records, err := listOf(top["Records"])
	if err != nil {
		return fmt.Errorf("the member Records: %w", err)
	}
	for i, v := range records {
		record, err := anyRecord(v)
		if err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
		r.add(m, record)
	}
	return nil
}

func anyRecord(v cbor.Value) (record stream.Record, err error) {
	members, ok := v.(cbor.Map)
	if !ok {
		return record, errNoReply
	}
	var all [4]error
	record.SequenceNumber, all[0] = textOf(members["SequenceNumber"])
	record.PartitionKey, all[1] = textOf(members["PartitionKey"])
	switch data := members["Data"].(type) {
	case cbor.Slice:
		record.Data = data
	case cbor.String: // some services put base64 into CBOR as they do into JSON
		record.Data, all[2] = base64.StdEncoding.DecodeString(string(data))
	case nil, *cbor.Nil:
	default:
		all[2] = fmt.Errorf("the member Data: %w", errNoReply)
	}
	if v := members["ApproximateArrivalTimestamp"]; !absent(v) {
		var ms float64
		ms, all[3] = numberOf(v)
		record.ArrivedAt = arrival(ms)
	}
	return record, errors.Join(all[:]...)
}

func absent(v cbor.Value) bool {
	_, null := v.(*cbor.Nil)
	return v == nil || null
}

func textOf(v cbor.Value) (string, error) {
	if absent(v) {
		return "", nil
	}
	text, ok := v.(cbor.String)
	if !ok {
		return "", errNoReply
	}
	return string(text), nil
}

func numberOf(v cbor.Value) (float64, error) {
	if tag, ok := v.(*cbor.Tag); ok {
		v = tag.Value
	}
	switch v := v.(type) {
	case nil, *cbor.Nil:
		return 0, nil
	case cbor.Uint:
		return float64(v), nil
	case cbor.NegInt:
		return -float64(v), nil
	case cbor.Float32:
		return float64(v), errIfNaN(float64(v))
	case cbor.Float64:
		return float64(v), errIfNaN(float64(v))
	}
	return 0, errNoReply
}

func errIfNaN(n float64) error {
	if math.IsNaN(n) {
		return errNoReply
	}
	return nil
}

func listOf(v cbor.Value) (cbor.List, error) {
	if absent(v) {
		return nil, nil
	}
	list, ok := v.(cbor.List)
	if !ok {
		return nil, errNoReply
	}
	return list, nil
}

// childrenOf reads the value of ChildShards.
func childrenOf(text []byte) ([]stream.Shard, bool) {
	v, err := cbor.Decode(text)
	if err != nil {
		return nil, false
	}
	children, err := childShards(v)
	return children, err == nil
}

func childShards(v cbor.Value) (out []stream.Shard, err error) {
	list, err := listOf(v)
	if err != nil {
		return nil, err
	}
	for _, v := range list {
		members, ok := v.(cbor.Map)
		if !ok {
			return nil, errNoReply
		}
		var child stream.Shard
		var all [3]error
		child.ID, all[0] = textOf(members["ShardId"])
		if hashes, ok := members["HashKeyRange"].(cbor.Map); ok {
			child.HashStart, all[1] = textOf(hashes["StartingHashKey"])
			child.HashEnd, all[2] = textOf(hashes["EndingHashKey"])
		}
		parents, err := listOf(members["ParentShards"])
		if err := errors.Join(append(all[:], err)...); err != nil {
			return nil, err
		}
		for _, p := range parents {
			id, err := textOf(p)
			if err != nil {
				return nil, err
			}
			child.Parents = append(child.Parents, id)
		}
		out = append(out, child)
	}
	return out, nil
}
