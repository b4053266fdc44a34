package kinesis

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	maxKeyRunes    = 256
	maxDataBytes   = 10 << 20 // of the API; a stream's own bound is lower by default
	maxPutRecords  = 500
	maxPutBytes    = 10 << 20 // of a whole PutRecords, keys and data
	rateExceeded   = "Rate exceeded for shard %s in stream %s under account %s."
	encryptionNone = `"EncryptionType":"NONE"`
)

// putInput is one record of a request. Its byte slices may lie in the body or
// in a putScratch: they are good until the call ends.
type putInput struct {
	data, key, hash []byte
	hasData, hasKey bool
	explicit        bool // hash is given
}

// sound reports whether the record has what it must; check says what it lacks.
func (p *putInput) sound() bool {
	return p.hasData && len(p.data) <= maxDataBytes && p.hasKey && validKey(p.key)
}

// check reports what is wrong with the record. member names it in texts.
func (p *putInput) check(c *checks, member string) {
	switch {
	case !p.hasData:
		c.missing(member + "data")
	case len(p.data) > maxDataBytes:
		c.failed = append(c.failed, fmt.Sprintf("Value at '%sdata' failed to satisfy constraint: Member must have length less than or equal to %d", member, maxDataBytes))
	}
	switch {
	case !p.hasKey:
		c.missing(member + "partitionKey")
	case len(p.key) == 0:
		c.fail("", member+"partitionKey", "have length greater than or equal to 1")
	case !validKey(p.key):
		c.fail(string(p.key), member+"partitionKey", fmt.Sprintf("have length less than or equal to %d", maxKeyRunes))
	}
}

// put is the record on its way into a shard of the stream.
func (p *putInput) put(st *stream, maxRecord int) (put, *wire.Error) {
	out := put{key: p.key, data: p.data}
	if size := len(p.key) + len(p.data); size > maxRecord {
		return out, wire.Errorf(codeArgument, "The record is %d bytes, partition key and data together, and stream %s takes records of up to %d bytes.", size, st.name, maxRecord)
	}
	if !p.explicit {
		out.hash = hashOf(p.key)
		return out, nil
	}
	var ok bool
	if out.hash, ok = parseHashKey(string(p.hash)); !ok {
		return out, badHashKey(string(p.hash))
	}
	return out, nil
}

func badHashKey(text string) *wire.Error {
	if _, isNumber := new(big.Int).SetString(text, 10); !isNumber || len(text) > 1 && text[0] == '0' {
		var check checks
		check.fail(text, "explicitHashKey", `satisfy regular expression pattern: 0|([1-9]\d{0,38})`)
		return check.err()
	}
	return wire.Errorf(codeArgument, "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", text)
}

// maxRecordBytes is the stream's bound for one record.
func (st *stream) maxRecordBytes() int {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return st.maxRecord
}

func (c *call) putRecord() *wire.Error {
	var in struct {
		target
		Data                      *string
		PartitionKey              *string
		ExplicitHashKey           *string
		SequenceNumberForOrdering *string
	}
	if err := c.read(&in); err != nil {
		return err
	}
	var p putInput
	if in.Data != nil {
		data, err := base64.StdEncoding.DecodeString(*in.Data)
		if err != nil {
			return notBase64("Data", err)
		}
		p.data, p.hasData = data, true
	}
	if in.PartitionKey != nil {
		p.key, p.hasKey = []byte(*in.PartitionKey), true
	}
	if in.ExplicitHashKey != nil {
		p.hash, p.explicit = []byte(*in.ExplicitHashKey), true
	}
	var check checks
	p.check(&check, "")
	if err := check.err(); err != nil {
		return err
	}
	st, bad := c.stream(in.target)
	if bad != nil {
		return bad
	}
	// A put is later than all before it anyway: the number is only checked.
	if n := in.SequenceNumberForOrdering; n != nil && *n != "0" {
		if q, ok := parseSequence(*n); !ok || q.created != st.created {
			return wire.Errorf(codeArgument, "SequenceNumberForOrdering %s used in PutRecord on stream %s under account %s is invalid because it did not come from this stream.", *n, st.name, accountID)
		}
	}
	one, bad := p.put(st, st.maxRecordBytes())
	if bad != nil {
		return bad
	}
	puts := []put{one}
	st.put(puts, c.now, c.service.limits)
	switch done := puts[0]; done.refused {
	case "":
		wire.Note(c.request, st.name+" "+done.shard.id+" "+strconv.Quote(string(done.key)))
		return c.reply(struct{ EncryptionType, SequenceNumber, ShardId string }{
			"NONE", done.shard.sequence(done.at, done.ordinal).String(), done.shard.id,
		})
	case codeThroughput:
		return done.shard.tooMany(st)
	default:
		return wire.Internal("The record could not be written to the data directory.")
	}
}

func notBase64(member string, err error) *wire.Error {
	return wire.Errorf("SerializationException", "%s is not base64: %v", member, err)
}

func (c *call) putRecords() *wire.Error {
	scratch := c.service.scratch.Get().(*putScratch)
	defer c.service.scratch.Put(scratch)
	scratch.reset()
	to, bad := scratch.decode(c.body)
	if bad != nil {
		return bad
	}
	if err := checkPuts(scratch.inputs, to.given); err != nil {
		return err
	}
	st, bad := c.stream(to.target)
	if bad != nil {
		return bad
	}
	maxRecord := st.maxRecordBytes()
	for i := range scratch.inputs {
		p, bad := scratch.inputs[i].put(st, maxRecord)
		if bad != nil {
			return bad
		}
		scratch.puts = append(scratch.puts, p)
	}
	st.put(scratch.puts, c.now, c.service.limits)
	refused := c.writePuts(st, scratch.puts)
	note := st.name + " " + strconv.Itoa(len(scratch.puts)) + " records"
	if refused > 0 {
		note += ", " + strconv.Itoa(refused) + " refused"
	}
	wire.Note(c.request, note)
	return nil
}

// checkPuts validates the records of a PutRecords.
func checkPuts(inputs []putInput, given bool) *wire.Error {
	var check checks
	switch n := len(inputs); {
	case !given:
		check.missing("records")
	case n == 0:
		check.fail("[]", "records", "have length greater than or equal to 1")
	case n > maxPutRecords:
		check.failed = append(check.failed, fmt.Sprintf("Value at 'records' failed to satisfy constraint: Member must have length less than or equal to %d", maxPutRecords))
	}
	size := 0
	for i := range inputs {
		if !inputs[i].sound() && len(check.failed) < 10 { // AWS stops listing too
			inputs[i].check(&check, "records."+strconv.Itoa(i+1)+".member.")
		}
		size += len(inputs[i].key) + len(inputs[i].data)
	}
	if err := check.err(); err != nil {
		return err
	}
	if size > maxPutBytes {
		return wire.Errorf(codeArgument, "Records size exceeds 10 MB limit")
	}
	return nil
}

// writePuts appends the reply of PutRecords and returns how many were refused.
func (c *call) writePuts(st *stream, puts []put) (refused int) {
	for i := range puts {
		if puts[i].refused != "" {
			refused++
		}
	}
	b := append(c.out, `{`+encryptionNone+`,"FailedRecordCount":`...)
	b = strconv.AppendInt(b, int64(refused), 10)
	b = append(b, `,"Records":[`...)
	for i := range puts {
		p := &puts[i]
		if i > 0 {
			b = append(b, ',')
		}
		switch p.refused {
		case "":
			b = append(b, `{"SequenceNumber":"`...)
			b = p.shard.sequence(p.at, p.ordinal).append(b)
			b = append(append(append(b, `","ShardId":"`...), p.shard.id...), `"}`...)
		case codeThroughput:
			b = appendRefusal(b, p.refused, fmt.Sprintf(rateExceeded, p.shard.id, st.name, accountID))
		default:
			b = appendRefusal(b, p.refused, "The record could not be written to the data directory.")
		}
	}
	c.out = append(b, "]}"...)
	return refused
}

func appendRefusal(b []byte, code, message string) []byte {
	text, err := json.Marshal(struct{ ErrorCode, ErrorMessage string }{code, message})
	if err != nil { // two strings always marshal
		return append(b, "{}"...)
	}
	return append(b, text...)
}
