package wire

import (
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// QueryForm is the request's form, or nil if it is none of the service with that API
// version, e.g. "2011-01-01". The body of a GET is in its URL.
func QueryForm(r *http.Request, body []byte, version string) url.Values {
	text := string(body)
	if r.Method == http.MethodGet {
		text = r.URL.RawQuery
	}
	// A cheap look first: bodies of other services come by here too.
	if r.URL.Path != "/" || r.Header.Get("X-Amz-Target") != "" || !strings.Contains(text, "Version="+version) {
		return nil
	}
	form, err := url.ParseQuery(text)
	if err != nil || form.Get("Version") != version {
		return nil
	}
	return form
}

// UnknownAction is the error of an operation that the service with that API version does
// not serve.
func UnknownAction(operation, version string) *Error {
	return Errorf("InvalidAction", "Could not find operation %s for version %s", operation, version)
}

// WriteQueryResult writes result as the Query protocol does, as the operation's in the
// service's XML namespace; nil is that of an operation without output, which has no
// element.
func WriteQueryResult(w http.ResponseWriter, namespace, operation string, result any) {
	start := xml.StartElement{
		Name: xml.Name{Local: operation + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	}
	var text strings.Builder
	e := xml.NewEncoder(&text)
	// Writing plain values into memory does not fail.
	_ = e.EncodeToken(start)
	if result != nil {
		_ = e.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: operation + "Result"}})
	}
	_ = e.EncodeElement(struct {
		RequestID string `xml:"RequestId"`
	}{w.Header().Get("X-Amzn-Requestid")}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}})
	_ = e.EncodeToken(start.End())
	_ = e.Close()
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("Content-Length", strconv.Itoa(text.Len()))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(text.String()))
}

// WriteQueryError writes e as the Query protocol does.
func WriteQueryError(w http.ResponseWriter, requestID string, e *Error) {
	type fault struct{ Type, Code, Message string }
	status, side := e.Status, "Sender"
	if status == 0 {
		status = http.StatusBadRequest
	}
	if status >= http.StatusInternalServerError {
		side = "Receiver"
	}
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"ErrorResponse"`
		Error     fault
		RequestId string
	}{Error: fault{side, e.Code, e.Message}, RequestId: requestID})
	if err != nil { // a struct of strings always marshals
		body = nil
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
