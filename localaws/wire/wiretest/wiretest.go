// Package wiretest helps tests that speak to the local AWS through the SDK.
package wiretest

import (
	"bytes"
	"io"
	"net/http"
)

// Whole sends request bodies that the SDK cannot close. The SDK closes a body
// once the reply's head is in, and net/http, if it is still looking for the
// body's end by then, drops the connection in the middle of the reply. On
// loopback that happens, and a test that repeats no call would fail by it.
type Whole struct{ Next http.RoundTripper }

// RoundTrip sends the request with its body read in advance.
func (t Whole) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return t.Next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(bytes.NewReader(body))
	return t.Next.RoundTrip(r)
}
