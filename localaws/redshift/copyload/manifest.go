package copyload

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Entry is one file of a manifest.
type Entry struct {
	URL       string
	Mandatory bool // a missing file is an error; else it is passed over
}

// Manifest reads a manifest: {"entries":[{"url":"s3://bucket/key","mandatory":true}]}.
func Manifest(data []byte) ([]Entry, error) {
	var m struct {
		Entries []struct {
			URL       string `json:"url"`
			Mandatory bool   `json:"mandatory"`
		} `json:"entries"`
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("problem reading manifest file: %w", err)
	}
	if len(m.Entries) == 0 {
		return nil, fmt.Errorf(`problem reading manifest file: no "entries"`)
	}
	entries := make([]Entry, len(m.Entries))
	for i, e := range m.Entries {
		rest, ok := strings.CutPrefix(e.URL, "s3://")
		if bucket, key, _ := strings.Cut(rest, "/"); !ok || bucket == "" || key == "" {
			return nil, fmt.Errorf("problem reading manifest file: entry %d: %q is not s3://bucket/key", i+1, e.URL)
		}
		entries[i] = Entry{URL: e.URL, Mandatory: e.Mandatory}
	}
	return entries, nil
}
