package s3

import (
	"encoding/base64"
	"encoding/xml"
	"net/url"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// maxListed is how many entries a page has at most.
const maxListed = 1000

// tokenMark starts the inside of a continuation token, which is opaque to
// clients: the last entry of the page follows.
const tokenMark = "after:"

// listing is the reply of both versions of ListObjects.
type listing struct {
	XMLName      xml.Name `xml:"ListBucketResult"`
	Space        string   `xml:"xmlns,attr"`
	Name         string
	Prefix       string
	Delimiter    string `xml:",omitempty"`
	MaxKeys      int
	EncodingType string `xml:",omitempty"`
	IsTruncated  bool

	// Of version 1.
	Marker     *string
	NextMarker string `xml:",omitempty"`
	// Of version 2.
	KeyCount              *int
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`

	Contents       []listed
	CommonPrefixes []struct{ Prefix string }
}

type listed struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
	StorageClass string
}

// listObjects answers ListObjects and ListObjectsV2.
func (c *call) listObjects() *wire.Error {
	v2 := c.operation == "ListObjectsV2"
	out := listing{Space: namespace, Name: c.bucket, Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"), EncodingType: c.query.Get("encoding-type")}
	if out.EncodingType != "" && out.EncodingType != "url" {
		return wire.Errorf("InvalidArgument", "Invalid Encoding Method specified in Request")
	}
	var err *wire.Error
	if out.MaxKeys, err = c.number("max-keys", 0, maxListed, maxListed); err != nil {
		return err
	}
	after := c.query.Get("marker")
	if v2 {
		out.StartAfter, out.ContinuationToken = c.query.Get("start-after"), c.query.Get("continuation-token")
		if after, err = c.token(out.StartAfter); err != nil {
			return err
		}
	}
	objects, err := c.store.list(c.bucket, out.Prefix)
	if err != nil {
		return err
	}
	last := out.fill(objects, after)
	switch {
	case v2:
		count := len(out.Contents) + len(out.CommonPrefixes)
		out.KeyCount = &count
		if out.IsTruncated {
			out.NextContinuationToken = tokenFor(last)
		}
	default:
		out.Marker = &after
		if out.IsTruncated && out.Delimiter != "" { // without one, the last key is the marker
			out.NextMarker = last
		}
	}
	if out.EncodingType != "" {
		out.encode()
	}
	return c.writeXML(out)
}

// fill lists the objects, which are those under the prefix by their keys, from after
// on. It returns the last entry of the page.
func (l *listing) fill(objects []*object, after string) (last string) {
	group := "" // the common prefix that was listed last
	for _, o := range objects {
		entry, common := o.key, ""
		if i := strings.Index(o.key[len(l.Prefix):], l.Delimiter); l.Delimiter != "" && i >= 0 {
			common = o.key[:len(l.Prefix)+i+len(l.Delimiter)]
			entry = common
		}
		// Where after is a common prefix, it stands for all keys under it.
		if o.key <= after || common != "" && (common == group || common == after) {
			continue
		}
		if len(l.Contents)+len(l.CommonPrefixes) == l.MaxKeys {
			l.IsTruncated = l.MaxKeys > 0 // where nothing was asked for, nothing is missing
			return last
		}
		group, last = common, entry
		if common != "" {
			l.CommonPrefixes = append(l.CommonPrefixes, struct{ Prefix string }{common})
			continue
		}
		l.Contents = append(l.Contents, listed{o.key, stamp(o.modified), o.etag(), o.size, "STANDARD"})
	}
	return last
}

// tokenFor is the continuation token of a page that ends with the entry.
func tokenFor(last string) string { return base64.URLEncoding.EncodeToString([]byte(tokenMark + last)) }

// token is the entry after which a page begins, by its continuation token.
func (c *call) token(fallback string) (string, *wire.Error) {
	if !c.query.Has("continuation-token") {
		return fallback, nil
	}
	inside, err := base64.URLEncoding.DecodeString(c.query.Get("continuation-token"))
	after, ours := strings.CutPrefix(string(inside), tokenMark)
	if err != nil || !ours {
		return "", wire.Errorf("InvalidArgument", "The continuation token provided is incorrect")
	}
	return after, nil
}

// encode writes keys as URLs do: XML cannot hold all that a key may.
func (l *listing) encode() {
	one := func(text *string) {
		*text = strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(*text))
	}
	for _, text := range []*string{&l.Prefix, &l.Delimiter, &l.NextMarker, &l.StartAfter} {
		one(text)
	}
	if l.Marker != nil {
		marker := *l.Marker
		one(&marker)
		l.Marker = &marker
	}
	for i := range l.Contents {
		one(&l.Contents[i].Key)
	}
	for i := range l.CommonPrefixes {
		one(&l.CommonPrefixes[i].Prefix)
	}
}
