package stream

import (
	"bytes"
	"crypto/md5" // not for secrecy: the format and Kinesis itself hash with it
	"encoding/binary"
	"math/bits"
)

// An aggregated record, as the Kinesis Producer Library (KPL) packs it, is this
// magic, a protobuf message and the MD5 of that message:
//
//	AggregatedRecord { repeated string partition_key_table = 1;
//	                   repeated string explicit_hash_key_table = 2;
//	                   repeated Record records = 3 }
//	Record           { required uint64 partition_key_index = 1;
//	                   optional uint64 explicit_hash_key_index = 2;
//	                   required bytes data = 3;
//	                   repeated Tag tags = 4 }
const aggregateMagic = "\xF3\x89\x9A\xC2"

// Deaggregate appends to dst the events that r holds: of each of its user
// records, or of r itself if it is no aggregate, the one or several objects that
// it is (see appendEvents). They share the memory of r.Data, and have r's sequence
// number and arrival and a SubSequence that counts from 0 over all of r.
//
// What begins like an aggregate but is broken in any way (checksum, protobuf,
// an index beyond its table) is taken as one plain record, so that it ends whole
// in the dead letters.
//
// As in KCL, an aggregate with a user record whose hash key lies outside of the
// shard's range yields nothing at all. A producer packs by the shards that it
// knows; after a reshard such an aggregate may land in a wrong shard, and the
// KPL, which sees the shard in the reply, then puts its user records again.
// Taking them here as well would deliver each of them twice.
func Deaggregate(r Record, shard Shard, dst []Record) []Record {
	if end := bytes.IndexByte(r.Data, '}'); end >= 0 && end == len(r.Data)-1 && r.Data[0] == '{' {
		return append(dst, r) // one object without another in it, as most records are
	}
	message, ok := aggregateMessage(r.Data)
	if !ok {
		return appendEvents(dst, &r)
	}
	a, ok := parseAggregate(message)
	if !ok {
		return append(dst, r)
	}
	within := rangeOf(shard)
	before := len(dst)
	for rest := message; len(rest) > 0; {
		var f protoField
		f, rest, _ = nextField(rest) // parseAggregate has seen that all is well
		if f.number != aggregateRecords || f.wire != wireBytes {
			continue
		}
		u, _ := parseUserRecord(f.bytes)
		if !within.holds(a.hash(u)) {
			return dst[:before]
		}
		dst = appendEvents(dst, &Record{
			SequenceNumber: r.SequenceNumber,
			SubSequence:    int64(len(dst) - before),
			PartitionKey:   a.keys[u.key].text,
			ArrivedAt:      r.ArrivedAt,
			Data:           u.data,
		})
	}
	return dst
}

// aggregateMessage returns the protobuf message within data. Plain records pay
// for the comparison of four bytes only.
func aggregateMessage(data []byte) (message []byte, ok bool) {
	if len(data) <= len(aggregateMagic)+md5.Size || string(data[:len(aggregateMagic)]) != aggregateMagic {
		return nil, false
	}
	end := len(data) - md5.Size
	message = data[len(aggregateMagic):end]
	sum := md5.Sum(message)
	return message, bytes.Equal(sum[:], data[end:])
}

// The fields of AggregatedRecord and of Record.
const (
	aggregateKeys    = 1
	aggregateHashes  = 2
	aggregateRecords = 3

	userKeyIndex  = 1
	userHashIndex = 2
	userData      = 3
)

// aggregate is the two tables of an aggregated record.
type aggregate struct {
	keys   []partitionKey
	hashes []hashKey // the explicit ones
}

type partitionKey struct {
	text string
	hash hashKey
}

// userRecord is one record of an aggregate.
type userRecord struct {
	key     uint64 // index into the partition keys
	hash    uint64 // index into the explicit hash keys
	hasHash bool
	data    []byte
}

// hash is the key that decides the shard of a user record.
func (a *aggregate) hash(u userRecord) hashKey {
	if u.hasHash {
		return a.hashes[u.hash]
	}
	return a.keys[u.key].hash
}

// parseAggregate reads the tables and checks all records against them.
func parseAggregate(message []byte) (a aggregate, ok bool) {
	var highestKey, highestHash uint64
	records, explicit := false, false
	for rest := message; len(rest) > 0; {
		var f protoField
		if f, rest, ok = nextField(rest); !ok {
			return a, false
		}
		if f.wire != wireBytes {
			continue // not a field that we know
		}
		switch f.number {
		case aggregateKeys:
			a.keys = append(a.keys, partitionKey{string(f.bytes), hashOf(f.bytes)})
		case aggregateHashes:
			h, ok := parseHashKey(string(f.bytes))
			if !ok {
				return a, false
			}
			a.hashes = append(a.hashes, h)
		case aggregateRecords:
			u, ok := parseUserRecord(f.bytes)
			if !ok {
				return a, false
			}
			records, explicit = true, explicit || u.hasHash
			highestKey, highestHash = max(highestKey, u.key), max(highestHash, u.hash)
		}
	}
	keysFit := !records || highestKey < uint64(len(a.keys))
	hashesFit := !explicit || highestHash < uint64(len(a.hashes))
	return a, keysFit && hashesFit
}

// parseUserRecord reads a Record. Its tags mean nothing to us and are skipped.
func parseUserRecord(message []byte) (u userRecord, ok bool) {
	hasKey, hasData := false, false
	for rest := message; len(rest) > 0; {
		var f protoField
		if f, rest, ok = nextField(rest); !ok {
			return u, false
		}
		switch {
		case f.number == userKeyIndex && f.wire == wireVarint:
			u.key, hasKey = f.varint, true
		case f.number == userHashIndex && f.wire == wireVarint:
			u.hash, u.hasHash = f.varint, true
		case f.number == userData && f.wire == wireBytes:
			u.data, hasData = f.bytes, true
		}
	}
	return u, hasKey && hasData
}

// The wire types of protobuf. Groups, which nobody writes any more, are
// refused like the types that do not exist.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

type protoField struct {
	number uint64
	wire   uint64
	varint uint64
	bytes  []byte // shares memory with the message; no room to grow
}

// nextField reads the field that message begins with.
func nextField(message []byte) (f protoField, rest []byte, ok bool) {
	tag, rest, ok := uvarint(message)
	if !ok || tag > 1<<32-1 || tag>>3 == 0 {
		return f, nil, false
	}
	f.number, f.wire = tag>>3, tag&7
	size := uint64(0)
	switch f.wire {
	case wireVarint:
		f.varint, rest, ok = uvarint(rest)
		return f, rest, ok
	case wireFixed64:
		size = 8
	case wireFixed32:
		size = 4
	case wireBytes:
		if size, rest, ok = uvarint(rest); !ok {
			return f, nil, false
		}
	default:
		return f, nil, false
	}
	if size > uint64(len(rest)) {
		return f, nil, false
	}
	f.bytes = rest[:size:size]
	return f, rest[size:], true
}

func uvarint(b []byte) (n uint64, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return 0, nil, false
	}
	return n, b[size:], true
}

// hashKey is a hash key of Kinesis: an unsigned number of 128 bits.
type hashKey struct{ hi, lo uint64 }

// hashOf is the hash key of a partition key.
func hashOf(key []byte) hashKey {
	sum := md5.Sum(key)
	return hashKey{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:])}
}

// parseHashKey reads a decimal hash key.
func parseHashKey(text string) (h hashKey, ok bool) {
	for i := range len(text) {
		digit := text[i] - '0'
		if digit > 9 {
			return h, false
		}
		var over, carry, lost uint64
		over, h.lo = bits.Mul64(h.lo, 10)
		lost, h.hi = bits.Mul64(h.hi, 10)
		h.lo, carry = bits.Add64(h.lo, uint64(digit), 0)
		h.hi, carry = bits.Add64(h.hi, over, carry)
		if lost != 0 || carry != 0 {
			return h, false
		}
	}
	return h, text != ""
}

func (h hashKey) less(other hashKey) bool {
	return h.hi < other.hi || h.hi == other.hi && h.lo < other.lo
}

// hashRange is the hash keys of a shard, both ends included.
type hashRange struct{ first, last hashKey }

// rangeOf is the range of a shard; everything, where the shard does not say.
func rangeOf(shard Shard) hashRange {
	first, firstOK := parseHashKey(shard.HashStart)
	last, lastOK := parseHashKey(shard.HashEnd)
	if !firstOK || !lastOK {
		return hashRange{last: hashKey{1<<64 - 1, 1<<64 - 1}}
	}
	return hashRange{first, last}
}

func (r hashRange) holds(h hashKey) bool { return !h.less(r.first) && !r.last.less(h) }
