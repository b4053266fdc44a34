// Package dynamodb is the DynamoDB of the local AWS: what lease tables need of
// it, and as strict as the service about types, keys, reserved words and
// expressions.
//
// Tables are in memory and gone with the process. One lock serves them all, so
// that every write, conditional or transactional, is atomic.
package dynamodb

import (
	"encoding/json"
	"errors"
	"hash/crc32"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Options says how strict the service is.
type Options struct {
	// Limits enforces the documented sizes: 400 KB an item, 25 writes and 100
	// reads a batch, 100 actions a transaction. Types and keys are always checked.
	Limits bool
}

// Service is the DynamoDB service. It is safe for concurrent use.
type Service struct {
	limits bool
	ops    map[string]operation

	mu           sync.Mutex // guards what follows, and the tables
	tables       map[string]*table
	transactions []transaction // that carried a token, oldest first
}

// operation answers one call. It runs with the lock held. Beside an error, its
// output may be one that explains it.
type operation func(body []byte, region string) (any, *wire.Error)

var _ wire.Service = (*Service)(nil)

// New makes a service without tables.
func New(o Options) *Service {
	s := &Service{limits: o.Limits, tables: map[string]*table{}}
	s.ops = map[string]operation{
		"CreateTable":        decoded(s.createTable),
		"DescribeTable":      decoded(s.describeTable),
		"DeleteTable":        decoded(s.deleteTable),
		"UpdateTable":        decoded(s.updateTable),
		"ListTables":         decoded(s.listTables),
		"UpdateTimeToLive":   decoded(s.updateTimeToLive),
		"DescribeTimeToLive": decoded(s.describeTimeToLive),
		"TagResource":        decoded(s.tagResource),
		"UntagResource":      decoded(s.untagResource),
		"ListTagsOfResource": decoded(s.listTags),
		"PutItem":            decoded(s.putItem),
		"GetItem":            decoded(s.getItem),
		"UpdateItem":         decoded(s.updateItem),
		"DeleteItem":         decoded(s.deleteItem),
		"Scan":               decoded(s.scan),
		"Query":              decoded(s.query),
		"BatchGetItem":       decoded(s.batchGetItem),
		"BatchWriteItem":     decoded(s.batchWriteItem),
		"TransactWriteItems": decoded(s.transactWriteItems),
		"TransactGetItems":   decoded(s.transactGetItems),
	}
	return s
}

// decoded makes an operation of a function of its input.
func decoded[In, Out any](run func(*In, string) (*Out, *wire.Error)) operation {
	return func(body []byte, region string) (any, *wire.Error) {
		in := new(In)
		if err := json.Unmarshal(body, in); err != nil {
			return nil, decodeError(err)
		}
		return run(in, region)
	}
}

// decodeError is what DynamoDB says to a body that does not read as the input.
func decodeError(err error) *wire.Error {
	var refused refusal
	if errors.As(err, &refused) {
		return refused.reason
	}
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return wire.Errorf("SerializationException", "%s cannot be converted to the type of the parameter %s", kind.Value, kind.Field)
	}
	return wire.Errorf("SerializationException", "the request could not be read: %v", err)
}

const target = "DynamoDB_20120810."

// Name returns "dynamodb".
func (s *Service) Name() string { return "dynamodb" }

// Operations are those that are served.
func (s *Service) Operations() []string { return slices.Sorted(maps.Keys(s.ops)) }

// Match takes the requests whose target is DynamoDB's.
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), target)
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	run := s.ops[operation]
	if run == nil {
		s.Refuse(w, r, wire.Errorf("UnknownOperationException", "DynamoDB has no operation %q here.", operation))
		return
	}
	out, text, refused := s.call(run, body, regionOf(r))
	if refused == nil {
		reply(w, http.StatusOK, text)
		return
	}
	if more, ok := out.(explanation); ok {
		refuse(w, refused, more.explain())
		return
	}
	refuse(w, refused, nil)
}

// call runs the operation and writes its output, under the lock: a panic must
// not leave it behind locked.
func (s *Service) call(run operation, body []byte, region string) (out any, text []byte, refused *wire.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if out, refused = run(body, region); refused != nil {
		return out, nil, refused
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, nil, wire.Internal("write the reply: " + err.Error())
	}
	return out, text, nil
}

// explanation is an output that has something to add to the error beside it.
type explanation interface {
	// explain returns members of the error's shape. It may be called on nil.
	explain() map[string]any
}

// regionOf is the region in the scope of the request's signature.
func regionOf(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ := strings.Cut(after, ",")
	if parts := strings.Split(scope, "/"); len(parts) >= 5 {
		return parts[len(parts)-3]
	}
	return "us-east-1"
}

// reply writes a body with the checksum that clients verify.
func reply(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	wire.WriteJSON(w, "application/x-amz-json-1.0", status, body)
}

// shapes holds the namespaces of the errors that are not DynamoDB's own.
var shapes = map[string]string{
	"ValidationException":       "com.amazon.coral.validate#",
	"SerializationException":    "com.amazon.coral.service#",
	"UnknownOperationException": "com.amazon.coral.service#",
	"InternalFailure":           "com.amazon.coral.service#",
}

// Refuse writes e as DynamoDB does.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *wire.Error) { refuse(w, e, nil) }

func refuse(w http.ResponseWriter, e *wire.Error, more map[string]any) {
	shape, ok := shapes[e.Code]
	if !ok {
		shape = "com.amazonaws.dynamodb.v20120810#"
	}
	fields := map[string]any{"__type": shape + e.Code, "message": e.Message}
	maps.Copy(fields, more)
	body, err := json.Marshal(fields)
	if err != nil { // strings and values always marshal
		body = []byte("{}")
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	reply(w, status, body)
}

// Throttled is the error of a table over its throughput.
func (s *Service) Throttled() *wire.Error {
	return wire.Errorf("ProvisionedThroughputExceededException",
		"The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.")
}
