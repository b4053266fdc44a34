package s3

import (
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// raw makes an unsigned request and returns the status, the head and the body.
func raw(t *testing.T, method, url string, header ...string) (int, http.Header, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	reply, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	_ = reply.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, reply.Header, string(body)
}

func TestListings(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "list")
	for _, key := range []string{"a/1", "a/2", "b c+d", "e"} {
		put(t, c, "list", key, "v")
	}
	for query, want := range map[string][]string{
		"list-type=2&prefix=zzz":                 {"<KeyCount>0</KeyCount>", "<IsTruncated>false</IsTruncated>"},
		"list-type=2&max-keys=0":                 {"<KeyCount>0</KeyCount>", "<MaxKeys>0</MaxKeys>", "<IsTruncated>false</IsTruncated>"},
		"list-type=2&max-keys=5000":              {"<KeyCount>4</KeyCount>", "<MaxKeys>1000</MaxKeys>"},
		"list-type=2&delimiter=/&max-keys=1":     {"<KeyCount>1</KeyCount>", "<CommonPrefixes><Prefix>a/</Prefix>", "<NextContinuationToken>"},
		"list-type=2&start-after=a/2":            {"<KeyCount>2</KeyCount>", "<Key>b c+d</Key>", "<StartAfter>a/2</StartAfter>"},
		"list-type=2&encoding-type=url&prefix=b": {"<Key>b%20c%2Bd</Key>", "<EncodingType>url</EncodingType>"},
		"max-keys=1":                             {"<Marker></Marker>", "<IsTruncated>true</IsTruncated>", "<Key>a/1</Key>"},
		"marker=b%20c%2Bd":                       {"<Marker>b c+d</Marker>", "<Key>e</Key>"},
		"delimiter=/&max-keys=1":                 {"<NextMarker>a/</NextMarker>"},
		"list-type=2&continuation-token=junk":    {"<Code>InvalidArgument</Code>"},
		"list-type=2&max-keys=-1":                {"<Code>InvalidArgument</Code>"},
		"encoding-type=base64":                   {"<Code>InvalidArgument</Code>"},
	} {
		_, _, body := raw(t, http.MethodGet, url+"/list?"+query)
		if err := xml.Unmarshal([]byte(body), new(struct{})); err != nil {
			t.Errorf("%s: %v", query, err)
		}
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s: no %s in %s", query, text, body)
			}
		}
	}
	if _, _, body := raw(t, http.MethodGet, url+"/list?max-keys=1"); strings.Contains(body, "NextMarker") {
		t.Errorf("a NextMarker without a delimiter: %s", body)
	}
}

func TestConditionalReads(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "cond")
	put(t, c, "cond", "k", "hello")
	_, head, _ := raw(t, http.MethodHead, url+"/cond/k")
	tag, modified := head.Get("ETag"), head.Get("Last-Modified")
	const longAgo = "Mon, 02 Jan 2006 15:04:05 GMT"
	for _, test := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"If-Match", tag}, 200, "hello"},
		{[]string{"If-Match", `"other"`}, 412, "PreconditionFailed"},
		{[]string{"If-Match", tag, "If-Unmodified-Since", longAgo}, 200, "hello"},
		{[]string{"If-Unmodified-Since", longAgo}, 412, "PreconditionFailed"},
		{[]string{"If-None-Match", tag}, 304, ""},
		{[]string{"If-None-Match", `"other"`}, 200, "hello"},
		{[]string{"If-Modified-Since", modified}, 304, ""},
		{[]string{"If-Modified-Since", longAgo}, 200, "hello"},
		{[]string{"Range", "bytes=1-2"}, 206, "el"},
		{[]string{"Range", "junk"}, 200, "hello"},
		{[]string{"Range", "bytes=0-1,3-4"}, 200, "hello"},
		{[]string{"Range", "bytes=9-"}, 416, "InvalidRange"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			status, head, body := raw(t, method, url+"/cond/k", append(test.header, "X-Amz-Checksum-Mode", "ENABLED")...)
			if status != test.status || method == http.MethodGet && !strings.Contains(body, test.body) {
				t.Errorf("%s with %v: %d %q", method, test.header, status, body)
			}
			// A client checks what it is given, and here is nothing to check.
			if status >= 300 && head.Get("X-Amz-Checksum-Crc32") != "" {
				t.Errorf("%s with %v: a checksum beside status %d", method, test.header, status)
			}
		}
	}
}

// The SDK for Python shows the names as they are written.
func TestMetadataNamesAreInLowerCase(t *testing.T) {
	s := open(t, "")
	url, _ := serve(t, s)
	c := client(t, url)
	mkBucket(t, c, "meta")
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: aws.String("meta"), Key: aws.String("k"), Body: strings.NewReader("v"), Metadata: map[string]string{"made-by": "me"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &written{header: http.Header{}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/meta/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(w, r, "GetObject", nil)
	found := false
	for name, values := range w.header { // by name, as written
		found = found || name == "x-amz-meta-made-by" && slices.Equal(values, []string{"me"})
	}
	if !found {
		t.Errorf("headers %v", w.header)
	}
	out, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String("meta"), Key: aws.String("k")})
	if err != nil || out.Metadata["made-by"] != "me" {
		t.Errorf("metadata %v, %v", out, err)
	}
}

// written keeps the headers of a reply as they are written.
type written struct{ header http.Header }

func (w *written) Header() http.Header         { return w.header }
func (w *written) WriteHeader(int)             {}
func (w *written) Write(b []byte) (int, error) { return len(b), nil }
