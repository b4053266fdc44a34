package cloudwatch

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	rpcPath   = "/service/GraniteServiceVersion20100801/operation/"
	target    = "GraniteServiceVersion20100801."
	version   = "2010-08-01"
	namespace = "http://monitoring.amazonaws.com/doc/2010-08-01/"
)

// protocol is one way to write a call and its answer.
type protocol interface {
	decode(body []byte, into any) *wire.Error
	reply(w http.ResponseWriter, operation string, out any) error
	refuse(w http.ResponseWriter, e *wire.Error)
	unknown(operation string) *wire.Error
}

// protocolOf finds out which protocol the request speaks, and its operation.
// The protocol is nil if it is none of CloudWatch's.
func protocolOf(r *http.Request, body []byte) (protocol, string) {
	if op, ok := strings.CutPrefix(r.URL.Path, rpcPath); ok {
		return cborProtocol{}, op
	}
	if op, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), target); ok {
		return jsonProtocol{}, op
	}
	form := wire.QueryForm(r, body, version)
	if !form.Has("Action") {
		return nil, ""
	}
	return queryProtocol{form: form}, form.Get("Action")
}

// malformed is the error of a body that does not read as the operation's input.
func malformed(err error) *wire.Error {
	return wire.Errorf("MalformedInput", "the request could not be read: %v", err)
}

// shapeOf turns the error codes of the Query protocol, in which this package
// thinks, into the error shapes of the newer protocols.
func shapeOf(code string) string {
	switch code {
	case "InvalidParameterValue", "InvalidParameterCombination":
		return code + "Exception"
	case "MissingParameter":
		return "MissingRequiredParameterException"
	case "InternalFailure":
		return "InternalServiceFault"
	case "MalformedInput":
		return "SerializationException"
	}
	return code
}

// faultOf says whose fault an error is, and its HTTP status.
func faultOf(e *wire.Error) (string, int) {
	switch {
	case e.Status >= 500:
		return "Receiver", e.Status
	case e.Status == 0:
		return "Sender", http.StatusBadRequest
	}
	return "Sender", e.Status
}

func write(w http.ResponseWriter, contentType string, status int, body []byte) {
	h := w.Header()
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// markQueryCode tells clients that came from the Query protocol the code that
// they knew the error by.
func markQueryCode(w http.ResponseWriter, e *wire.Error) int {
	whose, status := faultOf(e)
	w.Header().Set("X-Amzn-Query-Error", e.Code+";"+whose)
	return status
}

// cborProtocol is Smithy RPC v2 CBOR, which the SDKs for Go and, lately, the
// AWS CLI speak.
type cborProtocol struct{}

func (cborProtocol) decode(body []byte, into any) *wire.Error {
	if len(body) == 0 {
		return nil
	}
	if err := cbor.Unmarshal(body, into); err != nil {
		return malformed(err)
	}
	return nil
}

func (cborProtocol) reply(w http.ResponseWriter, _ string, out any) error {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	if out == nil { // an operation without output has no body, and so no type
		write(w, "", http.StatusOK, nil)
		return nil
	}
	body, err := cbor.Marshal(out)
	if err != nil {
		return err
	}
	write(w, "application/cbor", http.StatusOK, body)
	return nil
}

func (cborProtocol) refuse(w http.ResponseWriter, e *wire.Error) {
	status := markQueryCode(w, e)
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	body, err := cbor.Marshal(map[string]string{"__type": shapeOf(e.Code), "message": e.Message})
	if err != nil { // strings always marshal
		body = []byte{0xa0}
	}
	write(w, "application/cbor", status, body)
}

func (cborProtocol) unknown(operation string) *wire.Error {
	return &wire.Error{
		Code: "UnknownOperationException", Status: http.StatusNotFound,
		Message: fmt.Sprintf("CloudWatch has no operation %q here.", operation),
	}
}

// jsonProtocol is AWS JSON 1.0, with the operation in X-Amz-Target.
type jsonProtocol struct{}

const jsonType = "application/x-amz-json-1.0"

func (jsonProtocol) decode(body []byte, into any) *wire.Error {
	if len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, into); err != nil {
		return malformed(err)
	}
	return nil
}

func (jsonProtocol) reply(w http.ResponseWriter, _ string, out any) error {
	body := []byte("{}")
	if out != nil {
		var err error
		if body, err = json.Marshal(out); err != nil {
			return err
		}
	}
	write(w, jsonType, http.StatusOK, body)
	return nil
}

func (jsonProtocol) refuse(w http.ResponseWriter, e *wire.Error) {
	status := markQueryCode(w, e)
	wire.WriteJSONError(w, jsonType, "message", &wire.Error{Code: shapeOf(e.Code), Message: e.Message, Status: status})
}

func (jsonProtocol) unknown(operation string) *wire.Error {
	return wire.Errorf("UnknownOperationException", "CloudWatch has no operation %q here.", operation)
}

// queryProtocol is the form in, XML out of the older clients.
type queryProtocol struct{ form url.Values }

func (p queryProtocol) decode(_ []byte, into any) *wire.Error {
	tree := &field{}
	for path, values := range p.form {
		if path == "Action" || path == "Version" || values[0] == "" {
			continue // an empty value is how an empty list is sent
		}
		if !tree.put(strings.Split(path, "."), values[0]) {
			return malformed(fmt.Errorf("the parameter %q is nested too deep", path))
		}
	}
	text, err := json.Marshal(tree.plain())
	if err != nil {
		return malformed(err)
	}
	return jsonProtocol{}.decode(text, into)
}

// field is a parameter of a form, as the dots in its name nest it: a value, or
// fields by name. A.member.1.B=x is a list A whose first item has a field B.
type field struct {
	value  string
	fields map[string]*field
}

// deepest bounds the nesting; the deepest parameter of the API has 9 parts
// (MetricDataQueries.member.N.MetricStat.Metric.Dimensions.member.N.Name).
const deepest = 12

func (f *field) put(path []string, value string) bool {
	if len(path) > deepest {
		return false
	}
	for _, name := range path {
		if f.fields == nil {
			f.fields = map[string]*field{}
		}
		next := f.fields[name]
		if next == nil {
			next = &field{}
			f.fields[name] = next
		}
		f = next
	}
	f.value = value
	return true
}

// plain is the field as a value that JSON can write.
func (f *field) plain() any {
	if f.fields == nil {
		return f.value
	}
	if list := f.fields["member"]; list != nil && len(f.fields) == 1 {
		return list.items()
	}
	out := make(map[string]any, len(f.fields))
	for name, sub := range f.fields {
		out[name] = sub.plain()
	}
	return out
}

// items are the fields of a list in the order of their numbers.
func (f *field) items() []any {
	numbers := make([]int, 0, len(f.fields))
	for name := range f.fields {
		if n, err := strconv.Atoi(name); err == nil && strconv.Itoa(n) == name {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	out := make([]any, 0, len(numbers))
	for _, n := range numbers {
		out = append(out, f.fields[strconv.Itoa(n)].plain())
	}
	return out
}

func (queryProtocol) reply(w http.ResponseWriter, operation string, out any) error {
	wire.WriteQueryResult(w, namespace, operation, out)
	return nil
}

func (queryProtocol) refuse(w http.ResponseWriter, e *wire.Error) {
	type document struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Space   string   `xml:"xmlns,attr"`
		Error   struct{ Type, Code, Message string }
		Request string `xml:"RequestId"`
	}
	whose, status := faultOf(e)
	d := document{Space: namespace, Request: w.Header().Get("X-Amzn-Requestid")}
	d.Error.Type, d.Error.Code, d.Error.Message = whose, e.Code, e.Message
	body, err := xml.Marshal(d)
	if err != nil { // strings always marshal
		body = []byte("<ErrorResponse/>")
	}
	write(w, "text/xml", status, body)
}

func (queryProtocol) unknown(operation string) *wire.Error {
	return wire.UnknownAction(operation, version)
}
