// Package s3 is the S3 of the local AWS: buckets and objects in memory, or in
// files under a data directory.
//
// The routing and the XML of S3 are github.com/johannesboyne/gofakes3's. In
// front of it stands what that library lacks and today's SDKs need (checksums,
// aws-chunked trailers, virtual hosts); behind it stands a store of our own,
// which frees what is deleted and survives a restart.
package s3

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/johannesboyne/gofakes3"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Options says where the objects are kept.
type Options struct {
	// DataDir holds the objects in its folder "s3"; empty keeps them in memory.
	DataDir string
}

// metaHeader starts the headers that hold an object's metadata.
const metaHeader = "X-Amz-Meta-"

// Service is the S3 service. It is safe for concurrent use.
type Service struct {
	store   *store
	handler http.Handler
}

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
	// No skew limit: requests carry the clock of the client, which in a
	// simulation is not ours. No versions: nothing here needs them, and an
	// object that is deleted must give its memory back.
	fake := gofakes3.New(st, gofakes3.WithTimeSkewLimit(0), gofakes3.WithoutVersioning())
	return &Service{store: st, handler: fake.Server()}, nil
}

// Name returns "s3".
func (s *Service) Name() string { return "s3" }

// Match takes every request that is signed for S3, and every unsigned one that
// reads as a call of S3's: it is to be asked last.
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	if scope := signedService(r); scope != "" {
		return operationOf(r), scope == "s3"
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

// signedService is the service in the scope of the request's signature
// (key/date/region/service/aws4_request), or "".
func signedService(r *http.Request) string {
	scope := r.URL.Query().Get("X-Amz-Credential")
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		scope, _, _ = strings.Cut(after, ",")
	}
	parts := strings.Split(scope, "/")
	if len(parts) < 5 {
		return ""
	}
	return parts[len(parts)-2]
}

// signedRegion is the region in the scope of the signature, or us-east-1.
func signedRegion(r *http.Request) string {
	_, after, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	scope, _, _ := strings.Cut(after, ",")
	if parts := strings.Split(scope, "/"); len(parts) >= 5 {
		return parts[len(parts)-3]
	}
	return "us-east-1"
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	// The library indexes some lists by numbers of the request's: what it
	// panics over is a failed call, not the end of the program.
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		slog.Error("s3 call failed inside the library", "operation", operation, "path", r.URL.Path, "panic", p)
		s.Refuse(w, r, wire.Internal("the call could not be served"))
	}()
	if !supported[operation] {
		s.Refuse(w, r, &wire.Error{
			Code: "NotImplemented", Status: http.StatusNotImplemented,
			Message: operation + " is not among the operations that this S3 serves.",
		})
		return
	}
	payload, sums, err := decodePayload(r.Header, body)
	if err == nil {
		err = sums.verify(payload)
	}
	bucket, key := target(r)
	wire.Note(r, bucket+"/"+key)
	if err == nil {
		err = s.precheck(r, operation, bucket, key)
	}
	if err == nil && operation == "DeleteObjects" {
		err = checkDigest(r.Header, sums, payload)
	}
	if err != nil {
		s.Refuse(w, r, err)
		return
	}
	switch operation {
	case "CreateBucket":
		if s.createdAgain(w, r, bucket) {
			return
		}
	case "ListObjects", "ListObjectsV2":
		if err := s.list(w, r, bucket, operation == "ListObjectsV2"); err != nil {
			s.Refuse(w, r, err)
		}
		return
	}
	out := &reply{ResponseWriter: w, checksums: showsChecksums(r, operation), sent: sums}
	s.handler.ServeHTTP(out, s.inner(r, bucket, key, payload, sums))
	if !out.wrote { // the library leaves an empty success to net/http
		out.WriteHeader(http.StatusOK)
	}
}

// precheck refuses what the library would get wrong.
func (s *Service) precheck(r *http.Request, operation, bucket, key string) *wire.Error {
	if !utf8.ValidString(key) {
		return wire.Errorf("InvalidURI", "Couldn't parse the specified URI: the key is not UTF-8.")
	}
	switch operation {
	case "GetObject", "HeadObject":
		return s.checkRead(r, bucket, key)
	case "CompleteMultipartUpload":
		// The library completes an upload without looking at conditions.
		if r.Header.Get("If-None-Match") == "*" && s.store.has(bucket, key) {
			return &wire.Error{
				Code: "PreconditionFailed", Status: http.StatusPreconditionFailed,
				Message: "At least one of the pre-conditions you specified did not hold",
			}
		}
	case "PutObject", "UploadPart":
		if v := r.Header.Get("If-None-Match"); v != "" && v != "*" {
			return &wire.Error{
				Code: "NotImplemented", Status: http.StatusNotImplemented,
				Message: "If-None-Match takes only * where an object is written.",
			}
		}
	}
	return nil
}

// createdAgain answers the creation of a bucket that is there already: a
// success in us-east-1, an error elsewhere, as S3 has it.
func (s *Service) createdAgain(w http.ResponseWriter, r *http.Request, bucket string) bool {
	exists, _ := s.store.BucketExists(bucket)
	if !exists {
		return false
	}
	if signedRegion(r) == "us-east-1" {
		w.Header().Set("Location", "/"+bucket)
		w.WriteHeader(http.StatusOK)
		return true
	}
	s.Refuse(w, r, &wire.Error{
		Code: "BucketAlreadyOwnedByYou", Status: http.StatusConflict,
		Message: "Your previous request to create the named bucket succeeded and you already own it.",
	})
	return true
}

// inner is the request as the library is to see it: path style, the payload
// without its framing, and only the headers that it may keep with the object
// (it stores every X-Amz- header that it is given).
func (s *Service) inner(r *http.Request, bucket, key string, payload []byte, sums checksums) *http.Request {
	in := r.Clone(r.Context())
	in.Host = "localhost"
	in.URL.Path = "/" + bucket
	if key != "" {
		in.URL.Path += "/" + key
	}
	for name := range in.Header {
		if strings.HasPrefix(name, "X-Amz-") && !strings.HasPrefix(name, metaHeader) && name != "X-Amz-Copy-Source" {
			in.Header.Del(name)
		}
	}
	in.Header.Del("X-Minio-Force-Delete")
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		for _, name := range []string{"If-None-Match", "If-Modified-Since"} {
			in.Header.Del(name) // see checkRead
		}
		if !oneRange.MatchString(in.Header.Get("Range")) {
			in.Header.Del("Range") // S3 gives all of the object then
		}
	}
	for name, sum := range sums {
		in.Header.Set(name, sum)
	}
	if enc := withoutChunked(in.Header.Get("Content-Encoding")); enc != "" {
		in.Header.Set("Content-Encoding", enc)
	} else {
		in.Header.Del("Content-Encoding")
	}
	in.Body = io.NopCloser(bytes.NewReader(payload))
	in.ContentLength = int64(len(payload))
	in.Header.Set("Content-Length", strconv.Itoa(len(payload)))
	return in
}

// oneRange is the form of the Range header that S3 follows.
var oneRange = regexp.MustCompile(`^bytes=([0-9]+-[0-9]*|-[0-9]+)$`)

// showsChecksums reports whether the reply may carry the object's checksums: a
// client that is given one checks it, and a part of an object does not match
// the checksum of the whole.
func showsChecksums(r *http.Request, operation string) bool {
	switch operation {
	case "GetObject", "HeadObject":
		return r.Header.Get("Range") == "" && strings.EqualFold(r.Header.Get("X-Amz-Checksum-Mode"), "ENABLED")
	case "PutObject", "UploadPart":
		return true
	}
	return false
}

// reply sets the checksum headers straight just before the head goes out.
type reply struct {
	http.ResponseWriter
	checksums bool
	sent      checksums // of the request, echoed where an object was written
	wrote     bool
}

// WriteHeader implements http.ResponseWriter.
func (w *reply) WriteHeader(status int) {
	if !w.wrote {
		w.wrote = true
		h := w.Header()
		for name := range h {
			switch {
			case strings.HasPrefix(name, checksumHeader) && !w.checksums:
				h.Del(name)
			case strings.HasPrefix(name, metaHeader):
				// S3 writes these names in lower case, and the SDK for Python
				// shows them as they are written.
				h[strings.ToLower(name)] = h[name]
				delete(h, name)
			}
		}
		if parts := h.Get(partsHeader); parts != "" {
			h.Set("ETag", strings.TrimSuffix(h.Get("ETag"), `"`)+"-"+parts+`"`)
			h.Del(partsHeader)
		}
		if w.checksums && status < 300 {
			for name, sum := range w.sent {
				h.Set(name, sum)
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *reply) Write(b []byte) (int, error) {
	if !w.wrote {
		if w.Header().Get("Content-Type") == "" {
			// The library names the type of its XML only after the head is out.
			w.Header().Set("Content-Type", http.DetectContentType(b))
		}
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Refuse writes e as S3 does.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	type document struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}
	d := document{Code: e.Code, Message: e.Message, Resource: r.URL.Path, RequestID: w.Header().Get("X-Amzn-Requestid")}
	if d.Code == "InternalFailure" { // S3 has its own word for it
		d.Code = "InternalError"
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	text, err := xml.Marshal(d)
	if err != nil { // strings always marshal
		text = []byte("<Error/>")
	}
	text = append([]byte(xml.Header), text...)
	if status == http.StatusNotModified { // which has no body
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(text)
	}
}

// Throttled is S3's SlowDown.
func (s *Service) Throttled() *wire.Error {
	return &wire.Error{Code: "SlowDown", Message: "Please reduce your request rate.", Status: http.StatusServiceUnavailable}
}

// Open reads an object from within the process, as Redshift's COPY does. The
// caller closes it.
func (s *Service) Open(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open s3://%s/%s: %w", bucket, key, err)
	}
	o, err := s.store.GetObject(bucket, key, nil)
	if err != nil {
		return nil, fmt.Errorf("open s3://%s/%s: %w", bucket, key, err)
	}
	return o.Contents, nil
}

// List returns the keys of the bucket that start with prefix, sorted.
func (s *Service) List(ctx context.Context, bucket, prefix string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
	}
	keys, err := s.store.keys(bucket, prefix)
	if err != nil {
		return nil, fmt.Errorf("list s3://%s/%s: %w", bucket, prefix, err)
	}
	return keys, nil
}
