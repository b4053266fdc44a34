// Package endpoint is the door of the local AWS: it reads a request, finds the
// service that it is for, injects the faults that every service shares, and
// keeps the log of calls.
package endpoint

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	// maxBody bounds a request: above any that the AWS SDKs send in one piece
	// by default (S3 parts of 8 MiB, PutRecords of 10 MiB).
	maxBody = 64 << 20

	// settle and settleLarge are how long an answer waits after the request's
	// end. The Go SDK (smithy-go 1.28) closes the request body once the head of
	// the answer is there; if net/http's writer has not met the body's end by
	// then, the connection is dropped and the call made again after a back-off.
	// Measured here on 3 % of small calls without the wait, and on none with
	// it. A body above net/http's write buffer of 4 KiB leaves before its end
	// is met: of PutRecords with 150 KiB, 200 us lost 0.5 %, and 2 ms none.
	settle      = 200 * time.Microsecond
	settleLarge = 2 * time.Millisecond
	largeBody   = 3 << 10

	// bodyTime is how long a request's body may take to come.
	bodyTime = time.Minute
)

// Options are what an Endpoint serves.
type Options struct {
	Services []wire.Service          // asked in this order whether a request is theirs
	Faults   *fault.Set              // may be nil
	Admin    map[string]http.Handler // by the name under /_localaws that they answer
	Hosts    []string                // names that requests may be for, besides those of the loopback
	// Reset makes all services anew, with nothing in them, and says what it could not
	// empty; nil = this one cannot. Nothing is served meanwhile.
	Reset func(ctx context.Context) (services []wire.Service, kept []string, err error)
	Now   func() time.Time // AWS's clock, which dates the answers; nil = this machine's
	Log   *slog.Logger
}

// Endpoint answers the calls of the services, and the admin API under
// /_localaws. It is safe for concurrent use.
type Endpoint struct {
	services atomic.Pointer[[]wire.Service]
	reset    func(context.Context) ([]wire.Service, []string, error)
	serving  sync.RWMutex // held for reading by each call in its service, for writing by a reset
	faults   *fault.Set
	log      *slog.Logger
	admin    *http.ServeMux
	mounted  []string // the names of Options.Admin
	hosts    []string
	now      func() time.Time // nil: net/http dates the answers
	calls    callLog
}

// New returns an Endpoint. There is nothing to close.
func New(o Options) *Endpoint {
	e := &Endpoint{reset: o.Reset, faults: o.Faults, log: o.Log, admin: http.NewServeMux(), hosts: o.Hosts, now: o.Now}
	e.services.Store(&o.Services)
	if e.faults == nil {
		e.faults = fault.NewSet()
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.handleAdmin(o.Admin)
	return e
}

// ServeHTTP answers one request.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if e.now != nil {
		w.Header().Set("Date", e.now().UTC().Format(http.TimeFormat))
	}
	if bad := e.foreign(r); bad != nil {
		e.log.Debug("a request was refused: it is not from a program on this machine", "host", r.Host,
			"origin", r.Header.Get("Origin"), "path", r.URL.Path)
		refuseUnknown(w, r, bad)
		return
	}
	// Who sends a body piece by piece without end holds memory and a file.
	// A server of another kind has no deadlines, and may have rules of its own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
	// Not the mux for all: it would clean paths, and S3 keys may hold "//".
	if r.URL.Path == adminPath || strings.HasPrefix(r.URL.Path, adminPath+"/") {
		e.admin.ServeHTTP(w, r)
		return
	}
	e.call(w, r)
}

// grace is how long Serve lets calls end that are under way.
const grace = 3 * time.Second

// Serve answers on the listener until ctx ends, lets the calls under way end,
// and returns nil. It closes the listener.
func (e *Endpoint) Serve(ctx context.Context, listener net.Listener) error {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // the only one that the SDK for JavaScript speaks with Kinesis
	server := &http.Server{
		Handler:           e,
		Protocols:         &protocols,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connection{}, c) },
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		e.log.Warn("calls were still under way and are cut off", "after", grace)
		err = server.Close()
	}
	<-served // http.ErrServerClosed
	return err
}

// call answers one call of an AWS service.
func (e *Endpoint) call(w http.ResponseWriter, r *http.Request) {
	// net/http asks for a body that waits to be asked for when it is first
	// read, and never for an empty one. The AWS SDK for Python takes the lack
	// of it for the end of the connection's use, and loses its next answer.
	if r.ContentLength == 0 && strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		w.WriteHeader(http.StatusContinue)
	}
	id := newRequestID()
	w.Header().Set("X-Amzn-Requestid", id)
	entry := Call{Time: time.Now().UTC(), RequestID: id, Service: "unknown"}
	r = wire.WithNote(r, &entry.Summary)
	body, bad := readBody(r)
	if bad == nil { // an answer may take longer
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	to := &reply{ResponseWriter: w, ctx: r.Context()}
	switch {
	case len(body) > largeBody:
		to.notBefore = time.Now().Add(settleLarge)
	case len(body) > 0:
		to.notBefore = time.Now().Add(settle)
	}
	logged := false
	to.starts = func() { // once, before the client sees anything of the answer
		if logged {
			return
		}
		logged = true
		entry.Status, entry.Error = to.status, string(to.head)
		entry.DurationMS = float64(time.Since(entry.Time).Microseconds()) / 1000
		e.calls.add(entry)
		e.log.Debug("call", "service", entry.Service, "operation", entry.Operation, "status", entry.Status,
			"ms", entry.DurationMS, "fault", entry.Fault, "summary", entry.Summary)
	}
	defer to.starts() // for an answer without a body
	if bad != nil {
		e.refuseBody(to, r, bad, &entry)
	} else {
		e.survive(to, r, func() { e.dispatch(to, r, body, &entry) })
	}
	if to.hangUp {
		to.starts()
		hangUp(w, r)
	}
}

// survive makes an internal error of a panic: a mistake of ours in one call
// must not take the connection, or the reason, with it.
func (e *Endpoint) survive(w *reply, r *http.Request, serve func()) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(http.ErrAbortHandler)
		}
		e.log.Error("a call failed inside the local AWS; please report it", "path", r.URL.Path,
			"target", r.Header.Get("X-Amz-Target"), "panic", p, "stack", string(debug.Stack()))
		if w.status == 0 {
			refuseUnknown(w, r, wire.Internal("The local AWS failed; its log says where."))
		}
	}()
	serve()
}

// dispatch finds the service of the call and lets it answer, unless a fault
// strikes.
func (e *Endpoint) dispatch(w *reply, r *http.Request, body []byte, entry *Call) {
	services := e.services.Load()
	service, operation := match(*services, r, body)
	if service == nil {
		entry.Operation = r.Header.Get("X-Amz-Target")
		refuseUnknown(w, r, wire.Errorf("UnknownOperationException", "The local AWS serves no operation like this one; GET %s on its port lists the operations that it serves.", adminPath))
		return
	}
	name, caller := service.Name(), wire.Caller(r)
	entry.Service, entry.Operation = name, operation
	if f, ok := e.faults.TakeOf(caller, r.URL.Path, name, operation, fault.Delay); ok {
		entry.Fault = f.Kind
		if !wait(r.Context(), time.Duration(f.Delay)) {
			w.hangUp = true // the client is gone, or the server ends
			return
		}
	}
	kinds := []fault.Kind{fault.Throttle, fault.InternalError, fault.Reset, fault.ReplyLost, fault.EmptyReply, fault.AccessDenied}
	if operation == "GetRecords" {
		kinds = append(kinds, fault.ExpiredIterator, fault.NoIterator) // no other call takes or gives one
	}
	f, ok := e.faults.TakeOf(caller, r.URL.Path, name, operation, kinds...)
	// A fault may have lasted for long: what it waited with is gone after a reset.
	e.serving.RLock()
	defer e.serving.RUnlock()
	if e.services.Load() != services {
		w.hangUp = true
		return
	}
	if !ok {
		service.Serve(w, r, operation, body)
		return
	}
	entry.Fault = f.Kind
	switch f.Kind {
	case fault.Throttle:
		service.Refuse(w, r, withText(service.Throttled(), f.Error))
	case fault.InternalError:
		service.Refuse(w, r, withText(wire.Internal("An internal error, asked for by a fault."), f.Error))
	case fault.AccessDenied:
		service.Refuse(w, r, denied(name, f.Error))
	case fault.ExpiredIterator:
		service.Refuse(w, r, withText(wire.Errorf("ExpiredIteratorException", "Iterator expired, as a fault asked for."), f.Error))
	case fault.NoIterator:
		service.Serve(w, wire.WithoutIterator(r), operation, body)
	case fault.EmptyReply:
		emptyReply(w, r, service)
	case fault.Reset:
		w.hangUp = true
	case fault.ReplyLost:
		w.lose()
		service.Serve(w, r, operation, body)
	}
}

// emptyReply answers with success and nothing else. The headers are those of the
// service's own answers to such a request: a refusal of it tells which they are.
func emptyReply(w http.ResponseWriter, r *http.Request, service wire.Service) {
	like := &lost{header: make(http.Header)}
	service.Refuse(like, r, service.Throttled())
	for _, name := range []string{"Content-Type", "Smithy-Protocol"} {
		if v := like.header.Get(name); v != "" {
			w.Header().Set(name, v)
		}
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
}

// denied is the refusal of a caller as the service writes it. An error text like
// "ExpiredTokenException: The security token ..." names a code of its own.
func denied(service, text string) *wire.Error {
	e := wire.Errorf("AccessDeniedException", "User is not authorized to perform this call, as a fault asked for.")
	switch service {
	case "s3", "sts", "autoscaling", "cloudwatch", "redshift":
		e.Code, e.Status = "AccessDenied", http.StatusForbidden
	}
	if code, rest, ok := strings.Cut(text, ": "); ok && code != "" && !strings.ContainsAny(code, " \t") {
		e.Code, text = code, rest
	}
	return withText(e, text)
}

func withText(e *wire.Error, text string) *wire.Error {
	if text != "" {
		e.Message = text
	}
	return e
}

func match(services []wire.Service, r *http.Request, body []byte) (wire.Service, string) {
	for _, service := range services {
		if operation, ok := service.Match(r, body); ok {
			return service, operation
		}
	}
	return nil, ""
}

// wait waits d and reports true, or false if ctx ends first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// refuseBody answers a request whose body could not be read, in the words of
// the service that it is for, if its head tells.
func (e *Endpoint) refuseBody(w *reply, r *http.Request, bad *wire.Error, entry *Call) {
	service, operation := match(*e.services.Load(), r, nil)
	if service == nil {
		refuseUnknown(w, r, bad)
		return
	}
	entry.Service, entry.Operation = service.Name(), operation
	service.Refuse(w, r, bad)
}

// maxDrained bounds what is read of a body that is too large. Where more comes,
// the connection is cut.
const maxDrained = 512 << 20

// readBody reads the request's body and leaves a reader of it in r.Body. The
// SDKs gzip bodies of CloudWatch and the like; S3's objects, which no POST
// carries, stay as they are.
func readBody(r *http.Request) ([]byte, *wire.Error) {
	if r.ContentLength > maxBody && r.Header.Get("Expect") != "" {
		return nil, tooLarge() // the client waits with its body for the answer
	}
	body, err := readAll(io.LimitReader(r.Body, maxBody+1), r.ContentLength)
	if err != nil {
		return nil, wire.Errorf("RequestTimeout", "The request body could not be read: %v", err)
	}
	if len(body) > maxBody {
		// A client that is still writing does not see the answer before its
		// connection is gone.
		_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
		return nil, tooLarge()
	}
	if r.Method == http.MethodPost && r.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gunzip(body); err != nil {
			return nil, wire.Errorf("SerializationException", "The request body does not decode as gzip: %v", err)
		}
		r.Header.Del("Content-Encoding")
		r.ContentLength = int64(len(body))
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

func tooLarge() *wire.Error {
	return &wire.Error{
		Code: "RequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge,
		Message: fmt.Sprintf("The local AWS takes request bodies of up to %d MiB; send large objects in parts.", maxBody>>20),
	}
}

// readAll reads to the end, with the announced size in mind.
func readAll(from io.Reader, announced int64) ([]byte, error) {
	// One byte more than announced, so that the end is met without growing.
	buffer := bytes.NewBuffer(make([]byte, 0, min(max(announced, 0), maxBody)+bytes.MinRead))
	_, err := buffer.ReadFrom(from)
	return buffer.Bytes(), err
}

func gunzip(body []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(reader, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxBody {
		return nil, fmt.Errorf("it unpacks to more than %d MiB", maxBody>>20)
	}
	return out, nil
}

// refuseUnknown answers a request that belongs to no service, in the form that
// the request has.
func refuseUnknown(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	kind := r.Header.Get("Content-Type")
	switch {
	case strings.HasPrefix(kind, "application/x-www-form-urlencoded"):
		if e.Code == "UnknownOperationException" {
			e.Code = "InvalidAction" // the Query protocol's word for it
		}
		wire.WriteQueryError(w, w.Header().Get("X-Amzn-Requestid"), e)
	case strings.HasPrefix(kind, "application/x-amz-json-1.0"):
		wire.WriteJSONError(w, "application/x-amz-json-1.0", "message", e)
	default:
		wire.WriteJSONError(w, "application/x-amz-json-1.1", "message", e)
	}
}

func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, as of Go 1.24
	t := hex.EncodeToString(b[:])
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// reply is the answer to one call, on its way to the client.
type reply struct {
	http.ResponseWriter
	ctx       context.Context
	notBefore time.Time // when the answer may start; see settle
	starts    func()    // is called before anything of the answer leaves
	status    int
	head      []byte // the start of an error's body
	hangUp    bool   // reset the connection instead of answering
}

// Unwrap serves http.ResponseController.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader takes the status. It leaves with the first byte of the body, or at
// the end: the log of calls shows how the body of an error begins.
func (w *reply) WriteHeader(status int) {
	if status < http.StatusOK { // "100 Continue" and the like
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status != 0 {
		return
	}
	w.status = status
	if d := time.Until(w.notBefore); d > 0 && !w.hangUp {
		wait(w.ctx, d)
	}
	w.ResponseWriter.WriteHeader(status) // net/http keeps it back until the first Write
}

const headBytes = 300

// Write adds to the answer's body.
func (w *reply) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.status >= http.StatusBadRequest && len(w.head) == 0 {
		w.head = append(w.head, b[:min(len(b), headBytes)]...)
	}
	w.starts()
	return w.ResponseWriter.Write(b)
}

// lose makes the answer go nowhere and the connection be reset after it.
func (w *reply) lose() {
	w.ResponseWriter = &lost{header: w.Header().Clone()}
	w.hangUp = true
}

// lost takes an answer that nobody will see.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) WriteHeader(int)             {}
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }

// connection is the key of a request's connection in its context.
type connection struct{}

// hangUp resets the connection: over TCP the client sees a RST, over another
// pipe its end. Over HTTP/2 other calls go with it, as where a network fails.
func hangUp(w http.ResponseWriter, r *http.Request) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil { // not our server, or HTTP/2: this is how it is told
		defer panic(http.ErrAbortHandler)
		c, _ = r.Context().Value(connection{}).(net.Conn)
	}
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // so that Close sends RST and not FIN
	}
	if c != nil {
		_ = c.Close()
	}
}
