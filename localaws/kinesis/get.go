package kinesis

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// milliseconds turns a time of the JSON protocol, unix seconds, into unix
// milliseconds; times before 1970 are all alike to us.
func milliseconds(s float64) int64 {
	return int64(math.Round(min(max(s, 0), 1e12) * 1000))
}

var iteratorTypes = []string{"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"}

func (c *call) getShardIterator() *wire.Error {
	var in struct {
		target
		ShardId                *string
		ShardIteratorType      *string
		StartingSequenceNumber *string
		Timestamp              *float64
	}
	var id, kind string
	st, bad := c.about(&in, func(check *checks) {
		id = check.text(in.ShardId, "shardId", shardIDs)
		kind = check.oneOf(in.ShardIteratorType, "shardIteratorType", iteratorTypes...)
	})
	if bad != nil {
		return bad
	}
	sh, bad := st.shard(id, c.now)
	if bad != nil {
		return bad
	}
	wire.Note(c.request, st.name+" "+id+" "+kind)
	if c.service.limits && !sh.admitsIterator(c.now) {
		return sh.tooMany(st)
	}
	it := iterator{Stream: st.name, Created: st.created, Shard: sh.index, Issued: c.now.UnixMilli()}
	switch kind {
	case "TRIM_HORIZON": // the ordinal 0 lies before every record
	case "LATEST":
		it.Ordinal = sh.tip()
	case "AT_TIMESTAMP":
		if in.Timestamp == nil {
			return wire.Errorf(codeArgument, "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.")
		}
		at := milliseconds(*in.Timestamp)
		if at > c.now.UnixMilli() {
			return wire.Errorf(codeArgument, "The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %d, currentTimestampInMillis: %d", at, c.now.UnixMilli())
		}
		it.Ordinal = sh.since(at)
	default:
		if in.StartingSequenceNumber == nil {
			return wire.Errorf(codeArgument, "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and no StartingSequenceNumber.", kind)
		}
		q, ok := parseSequence(*in.StartingSequenceNumber)
		if !ok || q.created != sh.created || q.shard != sh.index || q.ordinal > sh.tip() {
			return wire.Errorf(codeArgument, "StartingSequenceNumber %s used in GetShardIterator on shard %s in stream %s under account %s is invalid because it did not come from this stream.", *in.StartingSequenceNumber, id, st.name, accountID)
		}
		it.Ordinal = sh.position(q, kind == "AFTER_SEQUENCE_NUMBER")
	}
	return c.reply(struct{ ShardIterator string }{c.service.seal.close(iteratorToken, it)})
}

// tooMany is the throttling error of a shard.
func (s *shard) tooMany(st *stream) *wire.Error {
	return wire.Errorf(codeThroughput, "Rate exceeded for shard %s in stream %s under account %s.", s.id, st.name, accountID)
}

func (c *call) getRecords() *wire.Error {
	var in struct {
		ShardIterator *string
		Limit         *int64
		StreamARN     *string
	}
	if err := c.read(&in); err != nil {
		return err
	}
	limit := maxPageRecords
	if in.Limit != nil {
		if *in.Limit < 1 || *in.Limit > maxPageRecords {
			return wire.Errorf(codeArgument, "1 validation error detected: Value '%d' at 'limit' failed to satisfy constraint: Member must have value from 1 to %d", *in.Limit, maxPageRecords)
		}
		limit = int(*in.Limit)
	}
	if in.ShardIterator == nil {
		var check checks
		check.missing("shardIterator")
		return check.err()
	}
	it, st, bad := c.openIterator(*in.ShardIterator)
	if bad != nil {
		return bad
	}
	if in.StreamARN != nil {
		if name, ok := streamOfARN(*in.StreamARN); !ok || name != st.name {
			return wire.Errorf(codeArgument, "StreamARN %s is not the stream of the iterator.", *in.StreamARN)
		}
	}
	st.mu.RLock()
	sh, horizon := st.shards[it.Shard], st.horizon(c.now)
	st.mu.RUnlock()
	p, ok := sh.read(it.Ordinal, limit, horizon, c.now, c.service.limits)
	if !ok {
		return sh.tooMany(st)
	}
	it.Ordinal, it.Issued = p.next, c.now.UnixMilli()
	c.writePage(sh, p, it)
	wire.Note(c.request, st.name+" "+sh.id+" "+strconv.Itoa(p.records())+" records")
	return nil
}

// openIterator reads an iterator and finds its stream.
func (c *call) openIterator(token string) (it iterator, st *stream, _ *wire.Error) {
	if !c.service.seal.open(iteratorToken, token, &it) {
		return it, nil, wire.Errorf(codeArgument, "Invalid ShardIterator.")
	}
	if now := c.now.UnixMilli(); now-it.Issued > tokenLifetime {
		return it, nil, wire.Errorf(codeExpired, "Iterator expired. The iterator was created at time %d while right now it is %d which is further in the future than the tolerated delay of %d milliseconds.", it.Issued, now, tokenLifetime)
	}
	st, err := c.service.stream(it.Stream)
	if err != nil {
		return it, nil, err
	}
	if st.created != it.Created {
		return it, nil, wire.Errorf(codeNotFound, "Stream %s under account %s not found: the iterator is of a stream that was deleted.", it.Stream, accountID)
	}
	return it, st, nil
}

func (p pageOf) records() int {
	n := 0
	for _, v := range p.views {
		n += len(v.entries)
	}
	return n
}

// appendString appends valid UTF-8 as a JSON string.
func appendString(b, text []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func validKey(key []byte) bool {
	n := utf8.RuneCount(key)
	return n >= 1 && n <= maxKeyRunes
}
