package s3

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// The listings are written here: the library leaves out a KeyCount of 0, which
// clients read, takes any text for a continuation token, and lists everything
// where nothing is asked for.

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
	MaxKeys      int64
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

// list answers ListObjects and ListObjectsV2.
func (s *Service) list(w http.ResponseWriter, r *http.Request, bucket string, v2 bool) *wire.Error {
	q := r.URL.Query()
	out := listing{
		Space: "http://s3.amazonaws.com/doc/2006-03-01/", Name: bucket, Prefix: q.Get("prefix"), Delimiter: q.Get("delimiter"),
		EncodingType: q.Get("encoding-type"), StartAfter: q.Get("start-after"), ContinuationToken: q.Get("continuation-token"),
	}
	if out.EncodingType != "" && out.EncodingType != "url" {
		return wire.Errorf("InvalidArgument", "Invalid Encoding Method specified in Request")
	}
	var err *wire.Error
	if out.MaxKeys, err = maxKeys(q); err != nil {
		return err
	}
	after := q.Get("marker")
	if v2 {
		if after, err = startOf(q); err != nil {
			return err
		}
	}
	page := gofakes3.ListBucketPage{Marker: after, HasMarker: after != "", MaxKeys: out.MaxKeys}
	found, failed := s.store.ListBucket(bucket, &gofakes3.Prefix{Prefix: out.Prefix, Delimiter: out.Delimiter}, page)
	switch {
	case failed != nil:
		return &wire.Error{Code: "NoSuchBucket", Message: "The specified bucket does not exist", Status: http.StatusNotFound}
	case out.MaxKeys == 0: // nothing was asked for, so nothing is missing
		found = gofakes3.NewObjectList()
	}
	out.IsTruncated = found.IsTruncated
	for _, c := range found.Contents {
		out.Contents = append(out.Contents, listed{
			c.Key, c.LastModified.UTC().Format("2006-01-02T15:04:05.000Z"), c.ETag, c.Size, string(c.StorageClass),
		})
	}
	for _, p := range found.CommonPrefixes {
		out.CommonPrefixes = append(out.CommonPrefixes, struct{ Prefix string }{p.Prefix})
	}
	switch {
	case v2:
		count := len(out.Contents) + len(out.CommonPrefixes)
		out.KeyCount = &count
		if out.IsTruncated {
			out.NextContinuationToken = base64.URLEncoding.EncodeToString([]byte(tokenMark + found.NextMarker))
		}
	default:
		out.StartAfter, out.ContinuationToken, out.Marker = "", "", &after
		if out.Delimiter != "" { // without one, the last key is the marker
			out.NextMarker = found.NextMarker
		}
	}
	if out.EncodingType != "" {
		out.encode()
	}
	return writeXML(w, out)
}

// maxKeys is the number of entries that the request wants.
func maxKeys(q url.Values) (int64, *wire.Error) {
	text := q.Get("max-keys")
	if text == "" {
		return maxListed, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || n < 0 {
		return 0, wire.Errorf("InvalidArgument", "Argument max-keys must be an integer between 0 and 2147483647")
	}
	return min(n, maxListed), nil
}

// startOf is the entry after which a page of version 2 starts.
func startOf(q url.Values) (string, *wire.Error) {
	if !q.Has("continuation-token") {
		return q.Get("start-after"), nil
	}
	inside, err := base64.URLEncoding.DecodeString(q.Get("continuation-token"))
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

// writeXML answers with a document.
func writeXML(w http.ResponseWriter, document any) *wire.Error {
	text, err := xml.Marshal(document)
	if err != nil {
		return wire.Internal("write the reply: " + err.Error())
	}
	text = append([]byte(xml.Header), text...)
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(text)
	return nil
}

// checkRead refuses a GET or HEAD whose conditions do not hold, as S3 does:
// If-Match before If-None-Match, and dates only where there is no tag.
func (s *Service) checkRead(r *http.Request, bucket, key string) *wire.Error {
	tag, modified, ok := s.store.stamp(bucket, key)
	if !ok {
		return nil // the read itself says what is missing
	}
	failed := &wire.Error{
		Code: "PreconditionFailed", Status: http.StatusPreconditionFailed,
		Message: "At least one of the pre-conditions you specified did not hold",
	}
	same := &wire.Error{Code: "NotModified", Message: "Not Modified", Status: http.StatusNotModified}
	since := func(header string) (time.Time, bool) {
		t, err := http.ParseTime(r.Header.Get(header))
		return t, err == nil
	}
	modified = modified.Truncate(time.Second) // as Last-Modified shows it
	if match := r.Header.Get("If-Match"); match != "" {
		if !names(match, tag) {
			return failed
		}
	} else if t, given := since("If-Unmodified-Since"); given && modified.After(t) {
		return failed
	}
	if match := r.Header.Get("If-None-Match"); match != "" {
		if names(match, tag) {
			return same
		}
	} else if t, given := since("If-Modified-Since"); given && !modified.After(t) {
		return same
	}
	return nil
}

// names reports whether a list of entity tags has this one.
func names(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || strings.Trim(one, `"`) == strings.Trim(tag, `"`) {
			return true
		}
	}
	return false
}
