package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for the page
	"encoding/base64"
	"errors"
	"net/http"
)

// dashboard is the whole page: one file, no assets.
//
//go:embed dashboard.html
var dashboard []byte

// page is the dashboard and the policy that lets its own script run and no other.
type page struct {
	content []byte
	policy  string
}

func newPage() (page, error) {
	style, script := inner(dashboard, "style"), inner(dashboard, "script")
	if style == nil || script == nil {
		return page{}, errors.New("admin: the dashboard has no <style> or no <script>")
	}
	return page{dashboard, "default-src 'none'; style-src " + source(style) + "; script-src " + source(script) +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}, nil
}

// inner is the text of the only element of a name.
func inner(html []byte, name string) []byte {
	_, after, ok := bytes.Cut(html, []byte("<"+name+">"))
	if !ok {
		return nil
	}
	text, _, ok := bytes.Cut(after, []byte("</"+name+">"))
	if !ok {
		return nil
	}
	return text
}

// source names an inline text in a content security policy by its hash.
func source(text []byte) string {
	sum := sha256.Sum256(text)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (p page) serve(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", p.policy)
	_, _ = w.Write(p.content)
}
