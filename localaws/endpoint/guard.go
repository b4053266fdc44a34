package endpoint

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Nothing here checks a credential: what keeps others out is that the endpoint is
// reached from this machine alone. A browser on this machine breaks that, since
// any page that it shows may send requests here. It can do so in two ways, and
// both show in the head of the request.

// foreign says why a request is not from a program on this machine, or nil.
func (e *Endpoint) foreign(r *http.Request) *wire.Error {
	switch {
	case !e.answersFor(r.Host):
		// A name that somebody pointed at 127.0.0.1 (DNS rebinding): to the browser
		// the page and this endpoint are one site, and it may read the answers.
		return &wire.Error{
			Code: "MisdirectedRequest", Status: http.StatusMisdirectedRequest,
			Message: "The local AWS answers for 127.0.0.1, localhost and names under .localhost alone, as http://127.0.0.1:4566.",
		}
	case r.Header.Get("Sec-Fetch-Site") == "cross-site", !e.ownOrigin(r.Header.Get("Origin")):
		// A page elsewhere that posts here does not see the answer, but the call
		// takes effect.
		return &wire.Error{
			Code: "AccessDenied", Status: http.StatusForbidden,
			Message: "The local AWS takes no requests that a browser sends for a page of another site.",
		}
	}
	return nil
}

// answersFor reports whether a Host header names this machine. Names under
// localhost are S3's buckets; no resolver may send them elsewhere (RFC 6761).
func (e *Endpoint) answersFor(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || slices.Contains(e.hosts, host) {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}

// ownOrigin reports whether an Origin header is missing, as programs leave it,
// or is that of a page which this machine serves.
func (e *Endpoint) ownOrigin(origin string) bool {
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && e.answersFor(u.Host)
}
