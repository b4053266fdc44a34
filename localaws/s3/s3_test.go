package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
	"github.com/cloudcafe/analytics-worker/localaws/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves s alone, and tells the operations that were called.
func serve(t *testing.T, s *Service) (url string, operations func() []string) {
	t.Helper()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{s}, Hosts: []string{"by-path.s3.us-east-1.amazonaws.com"}}).Start(t)
	return local.URL, func() (out []string) {
		for _, call := range local.Calls("s3", "") {
			out = append(out, call.Operation)
		}
		return out
	}
}

func open(t *testing.T, dir string) *Service {
	t.Helper()
	s, err := New(Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func client(t *testing.T, url string, edit ...func(*awss3.Options)) *awss3.Client {
	t.Helper()
	transport := &http.Transport{
		// Every name is this machine: virtual hosts need no resolver.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, strings.TrimPrefix(url, "http://"))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return awss3.New(awss3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(url),
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""),
		HTTPClient:  &http.Client{Transport: wiretest.Whole{Next: transport}},
		Retryer:     aws.NopRetryer{},
	}, edit...)
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func put(t *testing.T, c *awss3.Client, bucket, key, body string) {
	t.Helper()
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: &bucket, Key: &key, Body: strings.NewReader(body),
	})
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func get(t *testing.T, c *awss3.Client, bucket, key string) string {
	t.Helper()
	out, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	return string(b)
}

func mkBucket(t *testing.T, c *awss3.Client, name string) {
	t.Helper()
	if _, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("create bucket %s: %v", name, err)
	}
}

func TestObjectsComeBackAsTheyWent(t *testing.T) {
	for _, where := range []string{"memory", "files"} {
		t.Run(where, func(t *testing.T) {
			dir := ""
			if where == "files" {
				dir = t.TempDir()
			}
			url, ops := serve(t, open(t, dir))
			c := client(t, url)
			mkBucket(t, c, "orders")
			for _, key := range []string{"a", "deep/er/b c+d%20é", "/leading", "a//b/"} {
				body := "body of " + key + "\r\n\x00\xff"
				put(t, c, "orders", key, body)
				if got := get(t, c, "orders", key); got != body {
					t.Errorf("%q came back as %q", key, got)
				}
			}
			put(t, c, "orders", "empty", "")
			if got := get(t, c, "orders", "empty"); got != "" {
				t.Errorf("the empty object came back as %q", got)
			}
			if want := []string{"CreateBucket", "PutObject", "GetObject"}; !slices.Equal(ops()[:3], want) {
				t.Errorf("operations %v, want %v first", ops(), want)
			}
		})
	}
}

func TestGzipObjectKeepsItsEncodingAndMetadata(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "zipped")
	bucket, key := aws.String("zipped"), aws.String("k")
	_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
		Bucket: bucket, Key: key, Body: strings.NewReader("x"),
		ContentEncoding: aws.String("gzip"), ContentType: aws.String("text/csv"), Metadata: map[string]string{"who": "me"},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, c, "zipped", "k2", "y")
	_, err = c.CopyObject(t.Context(), &awss3.CopyObjectInput{Bucket: bucket, Key: aws.String("k3"), CopySource: aws.String("zipped/k")})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"k", "k3"} {
		got, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: bucket, Key: &k})
		if err != nil {
			t.Fatal(err)
		}
		if aws.ToString(got.ContentEncoding) != "gzip" || aws.ToString(got.ContentType) != "text/csv" || got.Metadata["who"] != "me" {
			t.Errorf("%s: head gave %+v", k, got)
		}
		if len(got.Metadata) != 1 {
			t.Errorf("%s: kept headers of the request: %v", k, got.Metadata)
		}
	}
}

func TestErrors(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	ctx := t.Context()
	mkBucket(t, c, "here")
	put(t, c, "here", "k", "v")
	key := aws.String("k")
	for _, tt := range []struct {
		name, want string
		call       func() error
	}{
		{"put without a bucket", "NoSuchBucket", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: aws.String("none"), Key: key, Body: strings.NewReader("x")})
			return err
		}},
		{"get without a bucket", "NoSuchBucket", func() error {
			_, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("none"), Key: key})
			return err
		}},
		{"list without a bucket", "NoSuchBucket", func() error {
			_, err := c.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{Bucket: aws.String("none")})
			return err
		}},
		{"get without a key", "NoSuchKey", func() error {
			_, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("here"), Key: aws.String("gone")})
			return err
		}},
		{"head without a bucket", "NotFound", func() error {
			_, err := c.HeadBucket(ctx, &awss3.HeadBucketInput{Bucket: aws.String("none")})
			return err
		}},
		{"delete of a full bucket", "BucketNotEmpty", func() error {
			_, err := c.DeleteBucket(ctx, &awss3.DeleteBucketInput{Bucket: aws.String("here")})
			return err
		}},
		{"a bad name", "InvalidBucketName", func() error {
			_, err := c.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String("No_Good")})
			return err
		}},
		{"not served", "NotImplemented", func() error {
			_, err := c.PutObjectTagging(ctx, &awss3.PutObjectTaggingInput{
				Bucket: aws.String("here"), Key: key,
				Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}},
			})
			return err
		}},
		{"a wrong checksum", "BadDigest", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{
				Bucket: aws.String("here"), Key: key, Body: strings.NewReader("x"), ChecksumSHA256: aws.String("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
			})
			return err
		}},
		{"a range past the end", "InvalidRange", func() error {
			_, err := c.GetObject(ctx, &awss3.GetObjectInput{Bucket: aws.String("here"), Key: key, Range: aws.String("bytes=5-9")})
			return err
		}},
		{"parts of nothing", "NoSuchUpload", func() error {
			_, err := c.ListParts(ctx, &awss3.ListPartsInput{Bucket: aws.String("here"), Key: key, UploadId: aws.String("7")})
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := code(tt.call()); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	if got := get(t, c, "here", "k"); got != "v" {
		t.Errorf("a refused call changed the object to %q", got)
	}
}

func TestCreateBucketTwice(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	mkBucket(t, client(t, url), "twice")
	mkBucket(t, client(t, url), "twice") // us-east-1 says yes
	_, err := client(t, url, func(o *awss3.Options) { o.Region = "eu-west-1" }).
		CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: aws.String("twice")})
	if code(err) != "BucketAlreadyOwnedByYou" {
		t.Errorf("elsewhere: %v", err)
	}
}

func TestIfNoneMatchLetsOneWriterIn(t *testing.T) {
	url, _ := serve(t, open(t, t.TempDir()))
	c := client(t, url)
	mkBucket(t, c, "race")
	var wg sync.WaitGroup
	var in, refused atomic.Int32
	for i := range 16 {
		wg.Go(func() {
			_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
				Bucket: aws.String("race"), Key: aws.String("k"), IfNoneMatch: aws.String("*"),
				Body: strings.NewReader(fmt.Sprint(i)),
			})
			var re interface{ HTTPStatusCode() int }
			switch {
			case err == nil:
				in.Add(1)
			case code(err) == "PreconditionFailed" && errors.As(err, &re) && re.HTTPStatusCode() == 412:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if in.Load() != 1 || refused.Load() != 15 {
		t.Errorf("%d writers went in and %d were refused, want 1 and 15", in.Load(), refused.Load())
	}
}

func TestListPages(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "list")
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("load/%02d/part-%d", i/5, i))
	}
	keys = append(keys, "other", "load/top")
	for _, k := range keys {
		put(t, c, "list", k, k)
	}
	slices.Sort(keys)
	read := func(prefix, delimiter string, page int32) (found, common []string, pages int) {
		p := awss3.NewListObjectsV2Paginator(c, &awss3.ListObjectsV2Input{
			Bucket: aws.String("list"), Prefix: &prefix, Delimiter: &delimiter, MaxKeys: &page,
		})
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, o := range out.Contents {
				found = append(found, *o.Key)
			}
			for _, o := range out.CommonPrefixes {
				common = append(common, *o.Prefix)
			}
		}
		return found, common, pages
	}
	if found, _, pages := read("", "", 10); !slices.Equal(found, keys) || pages != 3 {
		t.Errorf("%d pages: %v", pages, found)
	}
	for _, page := range []int32{1, 2, 3, 100} {
		found, common, _ := read("load/", "/", page)
		if !slices.Equal(found, []string{"load/top"}) ||
			!slices.Equal(common, []string{"load/00/", "load/01/", "load/02/", "load/03/", "load/04/"}) {
			t.Errorf("by %d: %v and %v", page, found, common)
		}
	}
}

func TestDeleteObjectsFreesThem(t *testing.T) {
	s := open(t, "")
	url, ops := serve(t, s)
	c := client(t, url)
	mkBucket(t, c, "del")
	var ids []types.ObjectIdentifier
	big := strings.Repeat("x", 2<<20)
	for i := range 8 {
		key := fmt.Sprint("k", i)
		put(t, c, "del", key, big)
		ids = append(ids, types.ObjectIdentifier{Key: &key})
	}
	before := heap()
	out, err := c.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: aws.String("del"), Delete: &types.Delete{Objects: ids}})
	if err != nil || len(out.Deleted) != 8 || len(out.Errors) != 0 {
		t.Fatalf("deleted %+v: %v", out, err)
	}
	if last := ops()[len(ops())-1]; last != "DeleteObjects" {
		t.Errorf("logged as %s", last)
	}
	if keys, err := s.List(t.Context(), "del", ""); err != nil || len(keys) != 0 {
		t.Errorf("left: %v, %v", keys, err)
	}
	if after := heap(); before-after < 12<<20 {
		t.Errorf("the heap went from %d to %d bytes after 16 MiB were deleted", before, after)
	}
	if _, err := c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: aws.String("del"), Key: aws.String("k1")}); err != nil {
		t.Errorf("deleting what is gone: %v", err)
	}
}

// A list of objects to delete must carry a checksum; a page of another site that
// posts one cannot set any.
func TestDeleteObjectsWantsAChecksum(t *testing.T) {
	s := open(t, "")
	url, _ := serve(t, s)
	c := client(t, url)
	mkBucket(t, c, "del")
	put(t, c, "del", "victim", "v")
	const list = "<Delete><Object><Key>victim</Key></Object></Delete>"
	sum := md5.Sum([]byte(list))
	for _, try := range []struct {
		header, value, want string
	}{
		{"", "", "InvalidRequest"},
		{"Content-Md5", "nonsense", "InvalidDigest"},
		{"Content-Md5", base64.StdEncoding.EncodeToString(make([]byte, 16)), "BadDigest"},
		{"X-Amz-Checksum-Crc32", "AAAAAA==", "BadDigest"},
		{"X-Amz-Checksum-Unknown", "AAAAAA==", "InvalidRequest"},
		{"Content-Md5", base64.StdEncoding.EncodeToString(sum[:]), "<Deleted>"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/del?delete", strings.NewReader(list))
		if err != nil {
			t.Fatal(err)
		}
		if try.header != "" {
			r.Header.Set(try.header, try.value)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !strings.Contains(string(text), try.want) {
			t.Errorf("%s: answered %s, %v; want %s", try.header, text, err, try.want)
		}
		keys, err := s.List(t.Context(), "del", "")
		if gone := len(keys) == 0; err != nil || gone != (try.want == "<Deleted>") {
			t.Errorf("%s %s: left %v, %v", try.header, try.value, keys, err)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestFilesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	url, _ := serve(t, open(t, dir))
	c := client(t, url)
	mkBucket(t, c, "kept")
	mkBucket(t, c, "bare")
	long := strings.Repeat("k/", 500)
	for _, k := range []string{"a", long, "gone"} {
		_, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
			Bucket: aws.String("kept"), Key: &k, Body: strings.NewReader("v\n" + k), Metadata: map[string]string{"who": "me"},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.DeleteObject(t.Context(), &awss3.DeleteObjectInput{Bucket: aws.String("kept"), Key: aws.String("gone")}); err != nil {
		t.Fatal(err)
	}

	again := open(t, dir)
	url, _ = serve(t, again)
	c = client(t, url)
	if got := get(t, c, "kept", long); got != "v\n"+long {
		t.Errorf("got %q", got)
	}
	head, err := c.HeadObject(t.Context(), &awss3.HeadObjectInput{Bucket: aws.String("kept"), Key: aws.String("a")})
	if err != nil || head.Metadata["who"] != "me" || *head.ContentLength != 3 {
		t.Errorf("head %+v, %v", head, err)
	}
	if keys, _ := again.List(t.Context(), "kept", ""); len(keys) != 2 {
		t.Errorf("keys %v", keys)
	}
	if _, err := c.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String("bare")}); err != nil {
		t.Errorf("the empty bucket: %v", err)
	}
}

func TestOpenNamesWhatIsMissing(t *testing.T) {
	s := open(t, "")
	url, _ := serve(t, s)
	c := client(t, url)
	mkBucket(t, c, "stage")
	put(t, c, "stage", "m/1", "one")
	r, err := s.Open(t.Context(), "stage", "m/1")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(r); string(b) != "one" {
		t.Errorf("read %q", b)
	}
	_ = r.Close()
	if _, err := s.Open(t.Context(), "stage", "m/2"); err == nil || !strings.Contains(err.Error(), "s3://stage/m/2") {
		t.Errorf("missing key: %v", err)
	}
	if _, err := s.List(t.Context(), "nowhere", "p"); err == nil || !strings.Contains(err.Error(), "s3://nowhere/p") {
		t.Errorf("missing bucket: %v", err)
	}
}
