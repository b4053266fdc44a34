// Package wire holds what the services of the local AWS share: the contract
// between the endpoint and a service, and the error shapes of AWS's protocols.
package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Service is one AWS service at the endpoint. The endpoint has read the whole
// request body (and undone gzip) before it calls any method, writes the call
// log, and injects the faults that every service shares (throttle,
// internal-error, reset, reply-lost, empty-reply, delay); a service injects those that only
// it can (see the fault package).
type Service interface {
	// Name is the service's name in faults and in the call log, e.g. "kinesis".
	Name() string
	// Operations are those that are served, as AWS names them.
	Operations() []string
	// Match reports whether the request is for this service and which
	// operation it calls, e.g. "GetRecords". An operation that the service
	// does not know is still matched: Serve then answers as AWS does.
	Match(r *http.Request, body []byte) (operation string, ok bool)
	// Serve answers the request. body is the whole request body. It returns
	// once the reply is written; r.Context() ends when the client goes away.
	Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte)
	// Refuse writes err in the service's own error format.
	Refuse(w http.ResponseWriter, r *http.Request, err *Error)
	// Throttled is the error that the service answers a throttled call with.
	Throttled() *Error
}

// Error is an error reply of AWS.
type Error struct {
	Code    string // e.g. "ResourceNotFoundException"
	Message string
	Status  int // HTTP status; 0 means 400
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an Error with status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

// Internal is the error of a service that failed through no fault of the caller.
func Internal(message string) *Error {
	return &Error{Code: "InternalFailure", Message: message, Status: http.StatusInternalServerError}
}

// Caller is the access key id that the request is signed with, in a header or in the
// query; "" without a signature.
func Caller(r *http.Request) string {
	scope := r.URL.Query().Get("X-Amz-Credential")
	if _, after, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		scope, _, _ = strings.Cut(after, ",")
	}
	parts := strings.Split(scope, "/") // key, date, region, service and aws4_request
	return strings.Join(parts[:max(0, len(parts)-4)], "/")
}

// WriteJSON writes body as a reply of the AWS JSON protocols; contentType is
// "application/x-amz-json-1.0" or "-1.1".
func WriteJSON(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// WriteJSONError writes e as the AWS JSON protocols do. messageKey is "message"
// or "Message": services differ.
func WriteJSONError(w http.ResponseWriter, contentType, messageKey string, e *Error) {
	body, err := json.Marshal(map[string]string{"__type": e.Code, messageKey: e.Message})
	if err != nil { // a map of strings always marshals
		body = []byte(`{}`)
	}
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	WriteJSON(w, contentType, status, body)
}

// noteKey is the key of a call's note in its request's context.
type noteKey struct{}

// WithNote gives the request a place for a Note, which the endpoint puts into
// the call log.
func WithNote(r *http.Request, note *string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), noteKey{}, note))
}

// Note says in a few words what the call is about, for the call log: a stream
// and shard, a statement's id. It must be called before the reply is written.
func Note(r *http.Request, text string) {
	if note, ok := r.Context().Value(noteKey{}).(*string); ok {
		*note = text
	}
}

// noIterator is the key of what WithoutIterator asks for.
type noIterator struct{}

// WithoutIterator asks the service to leave the next iterator out of its page.
func WithoutIterator(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), noIterator{}, true))
}

// IteratorLeftOut reports whether a fault asked for a page without its next iterator.
func IteratorLeftOut(r *http.Request) bool { return r.Context().Value(noIterator{}) != nil }
