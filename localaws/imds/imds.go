// Package imds stands in for the EC2 instance metadata service, version 2, so
// that a worker on a laptop can be told of a Spot interruption, a rebalance
// recommendation or an Auto Scaling termination. An SDK is pointed at it with
// AWS_EC2_METADATA_SERVICE_ENDPOINT.
package imds

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	tokenPath    = "/latest/api/token"
	metadataPath = "/latest/meta-data"
	documentPath = "/latest/dynamic/instance-identity/document"

	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"

	longestTTL = 6 * 3600 // seconds
)

// Service is the instance metadata of one instance. It is safe for concurrent use.
type Service struct {
	secret []byte // signs tokens

	mu       sync.Mutex // guards what follows
	settings map[string]string
}

var _ wire.Service = (*Service)(nil)

// defaults is what an instance that nothing happens to has. What is not here
// (spot/instance-action, iam/info) is 404 until it is set.
func defaults() map[string]string {
	return map[string]string{
		"instance-id":                 "i-0123456789abcdef0",
		"instance-type":               "m7g.large",
		"instance-life-cycle":         "spot",
		"ami-id":                      "ami-0123456789abcdef0",
		"local-ipv4":                  "127.0.0.1",
		"local-hostname":              "localhost",
		"placement/region":            "us-east-1",
		"placement/availability-zone": "us-east-1a",
	}
}

// New makes an instance with the default settings.
func New() *Service {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails, as of Go 1.24
	return &Service{secret: secret, settings: defaults()}
}

// Name returns "imds".
func (s *Service) Name() string { return "imds" }

// Operations are those that are served.
func (s *Service) Operations() []string {
	return []string{"GetToken", "GetMetadata", "GetDynamicData"}
}

// Match takes what is under /latest. A signed request is none of this service's:
// a bucket may be called "latest".
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	if r.Header.Get("Authorization") != "" || r.URL.Query().Has("X-Amz-Signature") {
		return "", false
	}
	switch p := r.URL.Path; {
	case p == tokenPath:
		return "GetToken", true
	case p == metadataPath || strings.HasPrefix(p, metadataPath+"/"):
		return "GetMetadata", true
	case strings.HasPrefix(p, "/latest/dynamic"):
		return "GetDynamicData", true
	case p == "/latest/user-data":
		return "GetUserData", true
	}
	return "", false
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, _ []byte) {
	if operation == "GetToken" {
		s.token(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.Refuse(w, r, &wire.Error{Code: "Method Not Allowed", Status: http.StatusMethodNotAllowed})
		return
	}
	// Version 1, which needs no token, is off here as on a well-kept instance.
	if !s.valid(r.Header.Get(tokenHeader), time.Now()) {
		s.Refuse(w, r, &wire.Error{Code: "Unauthorized", Status: http.StatusUnauthorized})
		return
	}
	text, ok := s.read(r.URL.Path)
	if !ok {
		s.Refuse(w, r, &wire.Error{Code: "Not Found", Status: http.StatusNotFound})
		return
	}
	write(w, http.StatusOK, "text/plain", text)
}

// token hands out a session token.
func (s *Service) token(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	switch {
	case r.Method != http.MethodPut:
		s.Refuse(w, r, &wire.Error{Code: "Method Not Allowed", Status: http.StatusMethodNotAllowed})
	case r.Header.Get("X-Forwarded-For") != "":
		// A token must not leave the instance through a proxy.
		s.Refuse(w, r, &wire.Error{Code: "Forbidden", Status: http.StatusForbidden})
	case err != nil || ttl < 1 || ttl > longestTTL:
		s.Refuse(w, r, wire.Errorf("Bad Request", "%s must be a number of seconds from 1 to %d", ttlHeader, longestTTL))
	default:
		w.Header().Set(ttlHeader, strconv.Itoa(ttl))
		write(w, http.StatusOK, "text/plain", s.sign(time.Now().Add(time.Duration(ttl)*time.Second)))
	}
}

// sign makes a token: the time at which it ends, and a signature. Nothing is
// kept of it, so no number of tokens fills the memory.
func (s *Service) sign(until time.Time) string {
	body := binary.BigEndian.AppendUint64(nil, uint64(until.UnixMilli()))
	return base64.URLEncoding.EncodeToString(append(body, s.mac(body)...))
}

func (s *Service) mac(body []byte) []byte {
	h := hmac.New(sha256.New, s.secret)
	h.Write(body)
	return h.Sum(nil)
}

func (s *Service) valid(token string, now time.Time) bool {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil || len(raw) <= 8 || !hmac.Equal(raw[8:], s.mac(raw[:8])) {
		return false
	}
	return now.UnixMilli() < int64(binary.BigEndian.Uint64(raw))
}

// read is the text at a path; at a folder, the names in it.
func (s *Service) read(path string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.TrimSuffix(path, "/") == documentPath {
		return s.document(), true
	}
	rest, ok := strings.CutPrefix(path, metadataPath)
	if !ok {
		return "", false
	}
	name := strings.Trim(rest, "/")
	if text, ok := s.settings[name]; ok {
		return text, true
	}
	return s.folder(name)
}

// folder lists what is in a folder: names, with a slash after those of folders.
func (s *Service) folder(name string) (string, bool) {
	if name != "" {
		name += "/"
	}
	var entries []string
	for _, key := range slices.Sorted(maps.Keys(s.settings)) {
		rest, ok := strings.CutPrefix(key, name)
		if !ok {
			continue
		}
		if first, _, deeper := strings.Cut(rest, "/"); deeper {
			rest = first + "/"
		}
		if !slices.Contains(entries, rest) {
			entries = append(entries, rest)
		}
	}
	return strings.Join(entries, "\n"), len(entries) > 0
}

// document is the instance identity document, from which SDKs take the region.
func (s *Service) document() string {
	text, err := json.MarshalIndent(map[string]any{
		"accountId": "000000000000", "architecture": "arm64", "version": "2017-09-30",
		"instanceId": s.settings["instance-id"], "instanceType": s.settings["instance-type"], "imageId": s.settings["ami-id"],
		"region": s.settings["placement/region"], "availabilityZone": s.settings["placement/availability-zone"],
		"privateIp": s.settings["local-ipv4"], "pendingTime": "2026-01-01T00:00:00Z",
	}, "", "  ")
	if err != nil { // strings always marshal
		return "{}"
	}
	return string(text)
}

func write(w http.ResponseWriter, status int, contentType, text string) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// Refuse writes e as the metadata service does: a small page.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, e *wire.Error) {
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	title := fmt.Sprintf("%d - %s", status, html.EscapeString(e.Code))
	write(w, status, "text/html", fmt.Sprintf("<html><head><title>%[1]s</title></head><body><h1>%[1]s</h1><p>%[2]s</p></body></html>\n",
		title, html.EscapeString(e.Message)))
}

// Throttled is what an instance that asks too often gets.
func (s *Service) Throttled() *wire.Error {
	return &wire.Error{Code: "Service Unavailable", Message: "Too many requests.", Status: http.StatusServiceUnavailable}
}
