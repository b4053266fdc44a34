package aws

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// GetRecords is spoken in CBOR, as the AWS SDK for Java does, and not in JSON, as
// the one for Go does: records then lie in the reply as they are, and a page is
// read into the memory that it is worked on in. The SDK's signing, retries,
// endpoints and errors stay. A service that knows JSON only is spoken to in
// JSON, and the SDK's own decoder reads its replies, at 1.4 us a record.

const contentCBOR = "application/x-amz-cbor-1.1"

// reply is what one GetRecords call brought.
type reply struct {
	shard   stream.Shard          // whose hash range aggregated records are held against
	cbor    bool                  // ask in CBOR
	room    func(bytes int) error // asked before the memory for it is taken; nil = there is always some
	decoded bool                  // what follows is set, and the SDK's output is empty

	records  []stream.Record
	free     func() // gives the memory of the records back; nil for the collector's
	first    string // sequence number of the first record as Kinesis counts them
	read     int    // bytes by which Kinesis meters reading: data and partition keys
	held     int    // bytes of memory behind records
	next     string // the next iterator; empty at the end of the shard
	behind   time.Duration
	asOf     time.Time // before the records were looked up, by the service's clock; zero = it did not say
	children []stream.Shard

	listed bool   // the member Records is there
	told   bool   // MillisBehindLatest is
	lacks  string // what the first record that is not whole lacks
}

// missing names what every good reply holds and this one does not, or is empty.
// Whether the next iterator may be missing is not to be seen here.
func (r *reply) missing() string {
	switch {
	case !r.listed:
		return "it holds no list of records"
	case r.lacks != "":
		return "a record has no " + r.lacks
	case r.next != "" && !r.told:
		return "it does not say how far behind it is"
	}
	return ""
}

// drop gives the memory back.
func (r *reply) drop() {
	if r.free != nil {
		r.free()
	}
}

type replyKey struct{}

// withReply tells the middlewares to speak CBOR and to decode into r.
func withReply(ctx context.Context, r *reply) context.Context {
	return context.WithValue(ctx, replyKey{}, r)
}

func replyOf(ctx context.Context) *reply {
	r, _ := ctx.Value(replyKey{}).(*reply)
	return r
}

// reading is how an account reads records.
type reading struct {
	pages pages
	// spoken tells whether the service is known to speak CBOR (1), known not to
	// (-1), or was not asked yet.
	spoken atomic.Int32
}

// errNotCBOR: the service refused a call in CBOR, and in another language.
var errNotCBOR = errors.New("the service does not answer in CBOR")

// getRecords makes one call for the records of a shard. room is asked before the
// memory for a reply is taken, unless it is nil, and its error is returned.
func (a *Account) getRecords(ctx context.Context, shard stream.Shard, room func(bytes int) error, in *kinesis.GetRecordsInput) (*reply, error) {
	r := &reply{shard: shard, room: room, cbor: a.reading.spoken.Load() >= 0}
	out, err := a.kinesis.GetRecords(withReply(ctx, r), in)
	asJSON := errors.Is(err, errNotCBOR)
	if asJSON {
		r = &reply{shard: shard}
		out, err = a.kinesis.GetRecords(withReply(ctx, r), in)
	}
	if err != nil {
		return nil, err
	}
	if !r.decoded {
		r.take(out)
		if asJSON {
			a.reading.spoken.CompareAndSwap(0, -1)
		}
	}
	if what := r.missing(); what != "" {
		r.drop()
		return nil, fmt.Errorf("%w: %s", stream.ErrIncomplete, what)
	}
	return r, nil
}

// install puts CBOR into the stack of GetRecords and leaves others alone.
func (g *reading) install(stack *middleware.Stack) error {
	if stack.ID() != "GetRecords" {
		return nil
	}
	if err := stack.Serialize.Insert(requestWriter{}, "OperationSerializer", middleware.After); err != nil {
		return fmt.Errorf("write requests of GetRecords in CBOR: %w", err)
	}
	d := &recordsDecoder{reading: g}
	replaced, err := stack.Deserialize.Swap(d.ID(), d)
	if err != nil {
		return fmt.Errorf("replace the decoder of GetRecords: %w", err)
	}
	d.sdk = replaced
	return nil
}

// requestWriter puts CBOR in the place of what the SDK wrote.
type requestWriter struct{}

func (requestWriter) ID() string { return "GetRecordsInCBOR" }

func (requestWriter) HandleSerialize(ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler) (
	out middleware.SerializeOutput, meta middleware.Metadata, err error,
) {
	r := replyOf(ctx)
	request, isHTTP := in.Request.(*smithyhttp.Request)
	input, isOurs := in.Parameters.(*kinesis.GetRecordsInput)
	if r == nil || !r.cbor || !isHTTP || !isOurs {
		return next.HandleSerialize(ctx, in)
	}
	members := cbor.Map{"ShardIterator": cbor.String(sdk.ToString(input.ShardIterator))}
	if input.StreamARN != nil {
		members["StreamARN"] = cbor.String(*input.StreamARN)
	}
	if input.Limit != nil {
		members["Limit"] = cbor.Uint(max(*input.Limit, 0))
	}
	if request, err = request.SetStream(bytes.NewReader(cbor.Encode(members))); err != nil {
		return out, meta, &smithy.SerializationError{Err: err}
	}
	request.Header.Set("Content-Type", contentCBOR)
	in.Request = request
	return next.HandleSerialize(ctx, in)
}

// recordsDecoder takes the place of the SDK's deserializer for GetRecords.
type recordsDecoder struct {
	sdk     middleware.DeserializeMiddleware // the one replaced
	reading *reading
}

// ID is the name that the SDK's own deserializer has.
func (d *recordsDecoder) ID() string { return "OperationDeserializer" }

// HandleDeserialize decodes a good reply in CBOR, and then returns an empty
// output. Everything else goes to the SDK's own deserializer.
func (d *recordsDecoder) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	asked := time.Now()
	out, meta, err := next.HandleDeserialize(ctx, in)
	took := time.Since(asked)
	bySDK := func() (middleware.DeserializeOutput, middleware.Metadata, error) {
		return d.sdk.HandleDeserialize(ctx, in, middleware.DeserializeHandlerFunc(
			func(context.Context, middleware.DeserializeInput) (middleware.DeserializeOutput, middleware.Metadata, error) {
				return out, meta, err
			}))
	}
	r := replyOf(ctx)
	response, isHTTP := out.RawResponse.(*smithyhttp.Response)
	if err != nil || r == nil || !isHTTP {
		return bySDK()
	}
	if said := dateOf(response.Header); !said.IsZero() {
		// The reply was dated at its end. What it holds was looked up after it was
		// asked for, and that is all that is known of when.
		r.asOf = said.Add(-took)
	}
	good := response.StatusCode >= 200 && response.StatusCode <= 299
	if !strings.HasPrefix(response.Header.Get("Content-Type"), contentCBOR) {
		if r.cbor && !good && d.reading.spoken.Load() == 0 {
			return out, meta, errors.Join(errNotCBOR, response.Body.Close())
		}
		return bySDK()
	}
	d.reading.spoken.CompareAndSwap(0, 1)
	if !good {
		refusalInJSON(response)
		return bySDK()
	}
	if err := d.reading.decode(response, r); err != nil {
		return out, meta, errors.Join(err, response.Body.Close())
	}
	out.Result = &kinesis.GetRecordsOutput{}
	return out, meta, response.Body.Close()
}

// refusalInJSON rewrites an error reply for the SDK's deserializer, which reads
// JSON. One that cannot be read is left without words; its status stays.
func refusalInJSON(response *smithyhttp.Response) {
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	_ = response.Body.Close()
	words := map[string]string{}
	if v, err := cbor.Decode(body); err == nil {
		members, _ := v.(cbor.Map)
		for name, v := range members {
			if text, ok := v.(cbor.String); ok {
				words[name] = string(text)
			}
		}
	}
	text, err := json.Marshal(words)
	if err != nil {
		text = []byte("{}")
	}
	response.Header.Set("Content-Type", "application/x-amz-json-1.1")
	response.ContentLength = int64(len(text))
	response.Body = io.NopCloser(bytes.NewReader(text))
}

// lostReply is a body that broke off. The call changed nothing, so the SDK may
// make it again, as it does for other connection errors.
type lostReply struct{ error }

func (lostReply) ConnectionError() bool { return true }

func (e lostReply) Unwrap() error { return e.error }

// decode reads a good reply into r.
func (g *reading) decode(response *smithyhttp.Response, r *reply) error {
	m, err := g.fill(response.Body, response.ContentLength, r.room)
	if err != nil {
		return err
	}
	empty := reply{shard: r.shard, cbor: r.cbor, decoded: true, asOf: r.asOf}
	*r = empty
	if !r.scan(m) {
		*r = empty
		if err := r.decodeAny(m); err != nil {
			return &smithy.DeserializationError{Err: fmt.Errorf("decode a GetRecords reply: %w", err)}
		}
	}
	r.records = m.records
	r.held = cap(m.body) + cap(m.records)*recordSize
	if m.class >= 0 || g.pages.scribble {
		r.free = func() { g.pages.give(m) }
	}
	return nil
}

const recordSize = int(unsafe.Sizeof(stream.Record{}))

// fill reads a whole body, which the guard on replies bounds. size is its length,
// or -1: then there is nothing to ask room for before it has been read.
func (g *reading) fill(body io.Reader, size int64, room func(bytes int) error) (*pageMemory, error) {
	if size < 0 { // AWS tells the length; some services do not
		text, err := io.ReadAll(body)
		if errors.As(err, new(tooLongError)) {
			return nil, &smithy.DeserializationError{Err: err}
		}
		if err != nil {
			return nil, lostReply{fmt.Errorf("read a GetRecords reply: %w", err)}
		}
		return &pageMemory{body: text, class: -1}, nil
	}
	if room != nil {
		if err := room(int(size)); err != nil {
			return nil, err
		}
	}
	m := g.pages.take(int(size))
	if _, err := io.ReadFull(body, m.body); err != nil {
		g.pages.give(m)
		return nil, lostReply{fmt.Errorf("read a GetRecords reply: %w", err)}
	}
	return m, nil
}

// take makes the reply of what the SDK decoded.
func (r *reply) take(out *kinesis.GetRecordsOutput) {
	m := &pageMemory{records: make([]stream.Record, 0, len(out.Records))}
	for _, got := range out.Records {
		record := stream.Record{
			SequenceNumber: sdk.ToString(got.SequenceNumber), PartitionKey: sdk.ToString(got.PartitionKey), Data: got.Data,
		}
		if at := got.ApproximateArrivalTimestamp; at != nil {
			// The SDK reads it as a float: 1459799926.480 comes as 479.9999 ms.
			record.ArrivedAt = at.Round(time.Millisecond).UTC()
		}
		r.held += len(record.Data) + len(record.SequenceNumber) + len(record.PartitionKey)
		r.add(m, record)
	}
	r.records = m.records
	r.held += cap(m.records) * recordSize
	r.next = sdk.ToString(out.NextShardIterator)
	r.behind = milliseconds(float64(sdk.ToInt64(out.MillisBehindLatest)))
	r.listed, r.told = out.Records != nil, out.MillisBehindLatest != nil
	for _, child := range out.ChildShards {
		r.children = append(r.children, toChild(child))
	}
}

func toChild(in types.ChildShard) stream.Shard {
	out := stream.Shard{ID: sdk.ToString(in.ShardId), Parents: in.ParentShards}
	if h := in.HashKeyRange; h != nil {
		out.HashStart, out.HashEnd = sdk.ToString(h.StartingHashKey), sdk.ToString(h.EndingHashKey)
	}
	return out
}
