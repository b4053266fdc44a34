package kinesis

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// tokenLifetime is how long an iterator or a page token may be used, in ms.
const tokenLifetime = 300_000

// seal makes the tokens that clients carry: shard iterators and page tokens.
// They hold all that the service must know, so it keeps no table of them, and
// a MAC, so that a client cannot make or bend one.
type seal struct{ key []byte }

// iterator is what a shard iterator says.
type iterator struct {
	Stream  string `json:"n"`
	Created int64  `json:"c"` // of the stream, unix ms: a new stream of the same name refuses old iterators
	Shard   int    `json:"s"`
	Ordinal uint64 `json:"o"` // of the record to read next
	Issued  int64  `json:"t"` // unix ms
}

// page is what the NextToken of a list says.
type page struct {
	Stream  string       `json:"n,omitempty"` // of ListShards
	Created int64        `json:"c,omitempty"`
	After   string       `json:"a"` // last name or shard id that was listed
	Filter  *shardFilter `json:"f,omitempty"`
	Issued  int64        `json:"t"`
}

// newSeal returns a seal with a fresh key, or with the one under dir: iterators
// outlive a restart where streams do.
func newSeal(dir string) (seal, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return seal{}, fmt.Errorf("make the key of iterators: %w", err)
	}
	if dir == "" {
		return seal{key}, nil
	}
	path := filepath.Join(dir, "iterator.key")
	if kept, err := os.ReadFile(path); err == nil && len(kept) == len(key) {
		return seal{kept}, nil
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return seal{}, fmt.Errorf("keep the key of iterators: %w", err)
	}
	return seal{key}, nil
}

const macBytes = 16

// close makes a token of v. kind keeps one kind of token from passing for another.
func (s seal) close(kind byte, v any) string {
	text, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers always marshal
		return ""
	}
	text = append([]byte{kind}, text...)
	return base64.StdEncoding.EncodeToString(append(s.mac(text), text...))
}

// open reads a token of the kind into v and reports whether it is one of ours.
func (s seal) open(kind byte, token string, v any) bool {
	text, err := base64.StdEncoding.DecodeString(token)
	if err != nil || len(text) <= macBytes || text[macBytes] != kind {
		return false
	}
	if !hmac.Equal(text[:macBytes], s.mac(text[macBytes:])) {
		return false
	}
	return json.Unmarshal(text[macBytes+1:], v) == nil
}

func (s seal) mac(text []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(text)
	return h.Sum(make([]byte, 0, sha256.Size))[:macBytes]
}

const (
	iteratorToken = 'i'
	shardsToken   = 's'
	streamsToken  = 'n'
)
