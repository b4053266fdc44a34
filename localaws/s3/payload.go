package s3

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strconv"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// checksumHeader starts the headers, and trailers, that carry a checksum.
const checksumHeader = "X-Amz-Checksum-"

// checksums are the checksums that a request claims for its payload, in base64
// by header name.
type checksums map[string]string

// algorithms compute the checksums that S3 knows. A checksum of another kind
// is not verified.
var algorithms = map[string]func([]byte) []byte{
	"Crc32":  func(b []byte) []byte { return binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) },
	"Crc32c": func(b []byte) []byte { return binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)) },
	"Crc64nvme": func(b []byte) []byte {
		return binary.BigEndian.AppendUint64(nil, crc64.Checksum(b, nvme))
	},
	"Sha1":   func(b []byte) []byte { s := sha1.Sum(b); return s[:] },
	"Sha256": func(b []byte) []byte { s := sha256.Sum256(b); return s[:] },
}

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	nvme       = crc64.MakeTable(0x9a6c9329ac4bc9b5) // reflected, from the NVM Express specification
)

// verify compares the checksums with the payload.
func (c checksums) verify(payload []byte) *wire.Error {
	for name, want := range c {
		algorithm := strings.TrimPrefix(name, checksumHeader)
		sum, err := base64.StdEncoding.DecodeString(want)
		if got := algorithms[algorithm](payload); err != nil || len(sum) != len(got) {
			return wire.Errorf("InvalidRequest", "Value for %s header is invalid.", strings.ToLower(name))
		} else if !bytes.Equal(sum, got) {
			return wire.Errorf("BadDigest", "The %s you specified did not match the calculated checksum.",
				strings.ToUpper(algorithm))
		}
	}
	return nil
}

// take keeps the checksum if its algorithm is known.
func (c checksums) take(name, value string) {
	name = http.CanonicalHeaderKey(strings.TrimSpace(name))
	algorithm, ok := strings.CutPrefix(name, checksumHeader)
	if ok && algorithms[algorithm] != nil {
		c[name] = strings.TrimSpace(value)
	}
}

// checkDigest compares the Content-MD5 that a request may have with its payload.
func checkDigest(h http.Header, payload []byte) *wire.Error {
	want := h.Get("Content-Md5")
	if want == "" {
		return nil
	}
	sum, err := base64.StdEncoding.DecodeString(want)
	got := md5.Sum(payload)
	if err != nil || len(sum) != len(got) {
		return wire.Errorf("InvalidDigest", "The Content-MD5 you specified was invalid.")
	}
	if !bytes.Equal(sum, got[:]) {
		return wire.Errorf("BadDigest", "The Content-MD5 you specified did not match what we received.")
	}
	return nil
}

// decodePayload takes the payload out of the body, which may be framed as
// aws-chunked, and gathers the checksums of headers and trailers.
func decodePayload(h http.Header, body []byte) ([]byte, checksums, *wire.Error) {
	sums := checksums{}
	for name := range h {
		sums.take(name, h.Get(name))
	}
	chunked := strings.HasPrefix(h.Get("X-Amz-Content-Sha256"), "STREAMING-") ||
		withoutChunked(h.Get("Content-Encoding")) != h.Get("Content-Encoding")
	if !chunked {
		return body, sums, nil
	}
	payload, trailers, ok := decodeChunks(body)
	if !ok {
		return nil, nil, wire.Errorf("IncompleteBody", "The body is not well-formed aws-chunked data.")
	}
	if want := h.Get("X-Amz-Decoded-Content-Length"); want != "" && want != strconv.Itoa(len(payload)) {
		return nil, nil, wire.Errorf("IncompleteBody",
			"The chunks hold %d bytes, and x-amz-decoded-content-length says %s.", len(payload), want)
	}
	for _, line := range trailers {
		name, value, _ := strings.Cut(line, ":")
		sums.take(name, value)
	}
	return payload, sums, nil
}

// decodeChunks undoes aws-chunked framing: chunks of a size in hexadecimal, an
// optional signature, and data; then an empty chunk and trailer lines. The
// signatures are not checked: any credentials are good here.
func decodeChunks(body []byte) (payload []byte, trailers []string, ok bool) {
	payload = make([]byte, 0, len(body))
	for {
		line, rest, found := bytes.Cut(body, []byte("\r\n"))
		if !found {
			return nil, nil, false
		}
		size, _, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return nil, nil, false
		}
		if n == 0 {
			body = rest
			break
		}
		if uint64(len(rest)) < n+2 || string(rest[n:n+2]) != "\r\n" {
			return nil, nil, false
		}
		payload = append(payload, rest[:n]...)
		body = rest[n+2:]
	}
	for line := range strings.SplitSeq(string(body), "\r\n") {
		if line != "" {
			trailers = append(trailers, line)
		}
	}
	return payload, trailers, true
}

// withoutChunked drops aws-chunked from a Content-Encoding: it is framing on
// the wire, no part of the object.
func withoutChunked(encoding string) string {
	if !strings.Contains(encoding, "aws-chunked") {
		return encoding
	}
	var kept []string
	for part := range strings.SplitSeq(encoding, ",") {
		if part = strings.TrimSpace(part); part != "aws-chunked" && part != "" {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, ",")
}
