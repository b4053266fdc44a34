// Package s3 is the S3 of the local AWS: buckets and objects in memory, or in
// files under a data directory, with the conditions of reads and writes, checksums
// of every kind, listings by pages, copies, and uploads in parts.
package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Options says where the objects are kept.
type Options struct {
	// DataDir holds the objects in its folder "s3"; empty keeps them in memory.
	DataDir string
}

// Service is the S3 service. It is safe for concurrent use.
type Service struct{ store *store }

var _ wire.Service = (*Service)(nil)

// New opens the service. With a DataDir it finds the buckets and objects that
// an earlier run left there.
func New(o Options) (*Service, error) {
	dir := ""
	if o.DataDir != "" {
		dir = filepath.Join(o.DataDir, "s3")
	}
	st, err := openStore(dir)
	if err != nil {
		return nil, fmt.Errorf("open s3 data: %w", err)
	}
	return &Service{store: st}, nil
}

// Name returns "s3".
func (s *Service) Name() string { return "s3" }

// Operations are those that are served.
func (s *Service) Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// Match takes every request that is signed for S3, and every unsigned one that
// reads as a call of S3's: it is to be asked last.
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	if scope := signed(r); scope != nil {
		return operationOf(r), scope[3] == "s3"
	}
	if r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(r.URL.Path, "/_localaws") {
		return "", false
	}
	// A form at the root is a call of the Query protocol.
	if r.Method == http.MethodPost && r.URL.Path == "/" && bucketOfHost(r.Host) == "" {
		return "", false
	}
	return operationOf(r), true
}

// signed is the scope of the request's signature, in a header or in the query: key,
// date, region, service and aws4_request. It is nil without one.
func signed(r *http.Request) []string {
	scope := r.URL.Query().Get("X-Amz-Credential")
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		scope, _, _ = strings.Cut(after, ",")
	}
	parts := strings.Split(scope, "/")
	if len(parts) < 5 {
		return nil
	}
	return parts[len(parts)-5:] // a key may hold a "/"
}

// region is that of the signature, or us-east-1.
func (c *call) region() string {
	if scope := signed(c.r); scope != nil {
		return scope[2]
	}
	return "us-east-1"
}

// call is one call that is being answered.
type call struct {
	store       *store
	w           http.ResponseWriter
	r           *http.Request
	operation   string
	bucket, key string
	query       url.Values
	body        []byte    // without the framing that it came in
	sums        checksums // that came with it
}

// operations are those that are served.
var operations = map[string]func(*call) *wire.Error{
	"ListBuckets":             (*call).listBuckets,
	"CreateBucket":            (*call).createBucket,
	"DeleteBucket":            (*call).deleteBucket,
	"HeadBucket":              (*call).headBucket,
	"GetBucketLocation":       (*call).getBucketLocation,
	"GetBucketVersioning":     (*call).getBucketVersioning,
	"ListObjects":             (*call).listObjects,
	"ListObjectsV2":           (*call).listObjects,
	"PutObject":               (*call).putObject,
	"GetObject":               (*call).getObject,
	"HeadObject":              (*call).getObject,
	"CopyObject":              (*call).copyObject,
	"DeleteObject":            (*call).deleteObject,
	"DeleteObjects":           (*call).deleteObjects,
	"CreateMultipartUpload":   (*call).createUpload,
	"UploadPart":              (*call).uploadPart,
	"CompleteMultipartUpload": (*call).completeUpload,
	"AbortMultipartUpload":    (*call).abortUpload,
	"ListParts":               (*call).listParts,
	"ListMultipartUploads":    (*call).listUploads,
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	c := &call{store: s.store, w: w, r: r, operation: operation, query: r.URL.Query()}
	c.bucket, c.key = target(r)
	wire.Note(r, c.bucket+"/"+c.key)
	w.Header().Set("X-Amz-Request-Id", w.Header().Get("X-Amzn-Requestid")) // as S3 calls it
	if err := c.serve(body); err != nil {
		s.Refuse(w, r, err)
	}
}

func (c *call) serve(body []byte) (err *wire.Error) {
	answer := operations[c.operation]
	if answer == nil {
		return notImplemented(c.operation + " is not among the operations that this S3 serves.")
	}
	for _, name := range []string{"versionId", "partNumber"} {
		if v := c.query.Get(name); v != "" && v != "null" && c.operation != "UploadPart" {
			return notImplemented("This S3 has no versions, and gives no single parts of an object: leave " + name + " out.")
		}
	}
	if c.body, c.sums, err = decodePayload(c.r.Header, body); err != nil {
		return err
	}
	if err := c.sums.verify(c.body); err != nil {
		return err
	}
	if err := checkDigest(c.r.Header, c.body); err != nil {
		return err
	}
	switch {
	case !utf8.ValidString(c.key):
		return wire.Errorf("InvalidURI", "Couldn't parse the specified URI: the key is not UTF-8.")
	case len(c.key) > maxKey:
		return wire.Errorf("KeyTooLongError", "Your key is too long")
	}
	return answer(c)
}

// maxKey is how many bytes a key has at most.
const maxKey = 1024

func notImplemented(message string) *wire.Error {
	return &wire.Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: message}
}

// namespace is that of every document but an error.
const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

// writeXML answers with a document.
func (c *call) writeXML(document any) *wire.Error {
	text, err := xml.Marshal(document)
	if err != nil {
		return wire.Internal("write the reply: " + err.Error())
	}
	write(c.w, c.r, http.StatusOK, text)
	return nil
}

func write(w http.ResponseWriter, r *http.Request, status int, text []byte) {
	text = append([]byte(xml.Header), text...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}

// readXML reads the document that the call sent.
func (c *call) readXML(into any) *wire.Error {
	if err := xml.Unmarshal(c.body, into); err != nil {
		return malformed()
	}
	return nil
}

func malformed() *wire.Error {
	return wire.Errorf("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")
}

// Refuse writes e as S3 does.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	bucket, key := target(r)
	d := struct {
		XMLName    xml.Name `xml:"Error"`
		Code       string
		Message    string
		BucketName string `xml:",omitempty"`
		Key        string `xml:",omitempty"`
		Resource   string
		RequestID  string `xml:"RequestId"`
	}{Code: e.Code, Message: e.Message, Resource: r.URL.Path, RequestID: w.Header().Get("X-Amzn-Requestid")}
	switch d.Code {
	case "InternalFailure": // S3 has its own word for it
		d.Code = "InternalError"
	case "NoSuchBucket":
		d.BucketName = bucket
	case "NoSuchKey":
		d.Key = key
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	if status == http.StatusNotModified { // which has no body
		w.WriteHeader(status)
		return
	}
	text, err := xml.Marshal(d)
	if err != nil { // strings always marshal
		text = []byte("<Error/>")
	}
	write(w, r, status, text)
}

// Throttled is S3's SlowDown.
func (s *Service) Throttled() *wire.Error {
	return &wire.Error{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable}
}

// Create makes a bucket as CreateBucket does, for whoever holds the Service itself. One
// that is there already stays as it is.
func (s *Service) Create(name string) error {
	if _, err := s.store.createBucket(name); err != nil {
		return fmt.Errorf("create the bucket %q: %w", name, err)
	}
	return nil
}

// Open reads an object from within the process, as Redshift's COPY does. The
// caller closes it.
func (s *Service) Open(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open s3://%s/%s: %w", bucket, key, err)
	}
	_, contents, err := s.store.open(bucket, key, nil)
	if err != nil {
		return nil, fmt.Errorf("open s3://%s/%s: %w", bucket, key, err)
	}
	return contents, nil
}

// List returns the keys of the bucket that start with prefix, sorted.
func (s *Service) List(ctx context.Context, bucket, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
	}
	objects, err := s.store.list(bucket, prefix)
	if err != nil {
		return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
	}
	keys := make([]string, 0, len(objects))
	for _, o := range objects {
		keys = append(keys, o.key)
	}
	return keys, nil
}
