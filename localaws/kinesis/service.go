// Package kinesis is Amazon Kinesis Data Streams for the local AWS: streams,
// shards with their lineage, records, iterators and the documented limits, over
// the JSON and CBOR forms of the protocol.
package kinesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	targetPrefix = "Kinesis_20131202."
	contentJSON  = "application/x-amz-json-1.1"
	contentCBOR  = "application/x-amz-cbor-1.1"
)

// Options are the settings of the service.
type Options struct {
	DataDir string           // where streams are kept; "" keeps them in memory
	Limits  bool             // enforce the documented rates and quotas
	Now     func() time.Time // the service's clock; nil = this machine's
	Log     *slog.Logger
}

// Service is Kinesis. It implements wire.Service.
type Service struct {
	limits  bool
	root    string // "" in memory
	log     *slog.Logger
	now     func() time.Time
	seal    seal
	account account

	mu      sync.RWMutex // guards what follows
	streams map[string]*stream
	born    time.Time // of the youngest stream

	buffers sync.Pool // of *[]byte: replies
	scratch sync.Pool // of *putScratch
}

// New opens the service with the streams that DataDir holds.
func New(o Options) (*Service, error) {
	s := &Service{limits: o.Limits, log: o.Log, now: o.Now, streams: make(map[string]*stream)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.account.windows = make(map[string]*window)
	s.buffers.New = func() any { return new([]byte) }
	s.scratch.New = func() any { return new(putScratch) }
	if o.DataDir != "" {
		s.root = filepath.Join(o.DataDir, "kinesis")
		if err := os.MkdirAll(s.root, 0o700); err != nil {
			return nil, fmt.Errorf("open the Kinesis data: %w", err)
		}
		var err error
		if s.streams, err = loadStreams(s.root, s.now()); err != nil {
			return nil, fmt.Errorf("open the Kinesis data: %w", err)
		}
	}
	var err error
	if s.seal, err = newSeal(s.root); err != nil {
		return nil, fmt.Errorf("open the Kinesis data: %w", err)
	}
	return s, nil
}

// Close lets go of the files. No call may be under way.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range s.streams {
		for _, sh := range st.shards {
			errs = append(errs, sh.closeLog())
		}
	}
	return errors.Join(errs...)
}

// Name is "kinesis".
func (s *Service) Name() string { return "kinesis" }

// Match takes the requests whose target is Kinesis.
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
}

// Throttled is ProvisionedThroughputExceededException.
func (s *Service) Throttled() *wire.Error {
	return wire.Errorf(codeThroughput, "Rate exceeded for shard under account %s.", accountID)
}

// Refuse answers with the error, in the form of the request.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, err *wire.Error) {
	if !isCBOR(r) {
		wire.WriteJSONError(w, contentJSON, "message", err)
		return
	}
	text, _ := json.Marshal(map[string]string{"__type": err.Code, "message": err.Message})
	body, failed := jsonToCBOR(text)
	if failed != nil { // two strings always convert
		body = nil
	}
	status := err.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	wire.WriteJSON(w, contentCBOR, status, body)
}

func isCBOR(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), contentCBOR)
}

// call is one call of an operation.
type call struct {
	service *Service
	request *http.Request
	body    []byte // JSON
	now     time.Time
	cbor    bool   // the caller speaks CBOR
	out     []byte // the reply; operations append to it
	written bool   // out is in the caller's language, and not in JSON
}

type operation func(*call) *wire.Error

var operations = map[string]operation{
	"PutRecord":                     (*call).putRecord,
	"PutRecords":                    (*call).putRecords,
	"GetRecords":                    (*call).getRecords,
	"GetShardIterator":              (*call).getShardIterator,
	"ListShards":                    (*call).listShards,
	"ListStreamConsumers":           (*call).listConsumers,
	"ListStreams":                   (*call).listStreams,
	"CreateStream":                  (*call).createStream,
	"DeleteStream":                  (*call).deleteStream,
	"DescribeStream":                (*call).describeStream,
	"DescribeStreamSummary":         (*call).describeStreamSummary,
	"DescribeLimits":                (*call).describeLimits,
	"SplitShard":                    (*call).splitShard,
	"MergeShards":                   (*call).mergeShards,
	"UpdateShardCount":              (*call).updateShardCount,
	"UpdateMaxRecordSize":           (*call).updateMaxRecordSize,
	"IncreaseStreamRetentionPeriod": (*call).increaseRetention,
	"DecreaseStreamRetentionPeriod": (*call).decreaseRetention,
	"AddTagsToStream":               (*call).addTags,
	"RemoveTagsFromStream":          (*call).removeTags,
	"ListTagsForStream":             (*call).listTags,
}

// Operations are those that are served.
func (s *Service) Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// maxKeptReply is the largest reply buffer that is used again.
const maxKeptReply = 32 << 20

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	op := operations[name]
	if op == nil {
		s.Refuse(w, r, wire.Errorf("UnknownOperationException", "The local AWS does not serve the Kinesis operation %q.", name))
		return
	}
	if isCBOR(r) {
		var err error
		if body, err = cborToJSON(body); err != nil {
			s.Refuse(w, r, wire.Errorf("SerializationException", "The request body is not CBOR: %v", err))
			return
		}
	}
	buffer := s.buffers.Get().(*[]byte)
	c := &call{service: s, request: r, body: body, now: s.now(), cbor: isCBOR(r), out: (*buffer)[:0]}
	defer func() {
		if cap(c.out) <= maxKeptReply {
			*buffer = c.out
			s.buffers.Put(buffer)
		}
	}()
	if s.limits && !s.account.admits(name, c.now) {
		s.Refuse(w, r, wire.Errorf(codeLimit, "Rate exceeded for account %s: %s may be called %d times a second.", accountID, name, accountRates[name]))
		return
	}
	if err := op(c); err != nil {
		s.Refuse(w, r, err)
		return
	}
	if !c.cbor {
		wire.WriteJSON(w, contentJSON, http.StatusOK, c.out)
		return
	}
	if c.written {
		wire.WriteJSON(w, contentCBOR, http.StatusOK, c.out)
		return
	}
	reply, err := jsonToCBOR(c.out)
	if err != nil {
		s.Refuse(w, r, wire.Internal(fmt.Sprintf("write the reply as CBOR: %v", err)))
		return
	}
	wire.WriteJSON(w, contentCBOR, http.StatusOK, reply)
}

// read decodes the request into v.
func (c *call) read(v any) *wire.Error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return undecodable(err)
	}
	return nil
}

// undecodable is the error of a body that does not read as the operation's input.
func undecodable(err error) *wire.Error {
	var kind *json.UnmarshalTypeError
	switch {
	case !errors.As(err, &kind):
		return wire.Errorf("SerializationException", "The request body does not decode: %v", err)
	case kind.Field == "":
		return wire.Errorf("SerializationException", "The request body must be an object, and it is a JSON %s.", kind.Value)
	}
	member := kind.Field[strings.LastIndexByte(kind.Field, '.')+1:]
	return wire.Errorf("SerializationException", "%s cannot be a JSON %s.", member, kind.Value)
}

// reply appends v to the reply.
func (c *call) reply(v any) *wire.Error {
	text, err := json.Marshal(v)
	if err != nil {
		return wire.Internal(fmt.Sprintf("write the reply: %v", err))
	}
	c.out = append(c.out, text...)
	return nil
}

// region is that of the request's signature.
func (c *call) region() string {
	m := signedRegion.FindStringSubmatch(c.request.Header.Get("Authorization"))
	if m == nil {
		return defaultRegion
	}
	return m[1]
}

// defaultRegion is that of calls that are not signed.
const defaultRegion = "us-east-1"

// signedRegion finds the region in the scope of a signature:
// Credential=KEY/20260102/REGION/kinesis/aws4_request.
var signedRegion = regexp.MustCompile(`Credential=[^/,]*/[0-9]{8}/([a-z0-9-]{1,32})/`)

// about decodes the request into in, has it checked, unless check is nil, and finds the
// stream that it names.
func (c *call) about(in interface{ named() target }, check func(*checks)) (*stream, *wire.Error) {
	if err := c.read(in); err != nil {
		return nil, err
	}
	if check != nil {
		var failed checks
		check(&failed)
		if err := failed.err(); err != nil {
			return nil, err
		}
	}
	return c.stream(in.named())
}

// stream finds the stream of a call.
func (c *call) stream(t target) (*stream, *wire.Error) {
	var check checks
	var name string
	switch {
	case t.StreamARN != nil:
		var ok bool
		if name, ok = streamOfARN(*t.StreamARN); !ok {
			check.fail(*t.StreamARN, "streamARN", "satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+")
		}
		if t.StreamName != nil && ok && *t.StreamName != name {
			return nil, wire.Errorf(codeArgument, "StreamName %s is not the stream of StreamARN %s.", *t.StreamName, *t.StreamARN)
		}
	case t.StreamName != nil:
		name = check.text(t.StreamName, "streamName", streamNames)
	default:
		return nil, wire.Errorf(codeArgument, "Either StreamName or StreamARN must be given.")
	}
	if err := check.err(); err != nil {
		return nil, err
	}
	return c.service.stream(name)
}

func (s *Service) stream(name string) (*stream, *wire.Error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if st := s.streams[name]; st != nil {
		return st, nil
	}
	return nil, wire.Errorf(codeNotFound, "Stream %s under account %s not found.", name, accountID)
}

// names are the names of all streams, in order.
func (s *Service) names() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]string, 0, len(s.streams))
	for name := range s.streams {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
