package s3

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// opened is a client of an S3 with one bucket, "box".
func opened(t *testing.T) (c *awss3.Client, url string) {
	t.Helper()
	url, _ = serve(t, open(t, ""))
	c = client(t, url)
	mkBucket(t, c, "box")
	return c, url
}

// inParts uploads an object in one part and returns its tag, which is no MD5.
func inParts(t *testing.T, c *awss3.Client, key, body string) (etag *string) {
	t.Helper()
	up, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String("box"), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	part, err := c.UploadPart(t.Context(), &awss3.UploadPartInput{
		Bucket: aws.String("box"), Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader(body),
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.CompleteMultipartUpload(t.Context(), &awss3.CompleteMultipartUploadInput{
		Bucket: aws.String("box"), Key: &key, UploadId: up.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: part.ETag}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.ETag
}

// TestWritesUnderConditions: each kind of write heeds If-Match and If-None-Match, on
// objects in one piece and in parts.
func TestWritesUnderConditions(t *testing.T) {
	c, _ := opened(t)
	ctx, b := t.Context(), aws.String("box")
	put(t, c, "box", "source", "s")
	type condition struct{ match, noneMatch *string }
	writes := map[string]func(key string, when condition) error{
		"PutObject": func(key string, when condition) error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: &key, IfMatch: when.match, IfNoneMatch: when.noneMatch, Body: strings.NewReader("x")})
			return err
		},
		"CopyObject": func(key string, when condition) error {
			_, err := c.CopyObject(ctx, &awss3.CopyObjectInput{Bucket: b, Key: &key, IfMatch: when.match, IfNoneMatch: when.noneMatch, CopySource: aws.String("box/source")})
			return err
		},
		"CompleteMultipartUpload": func(key string, when condition) error {
			up, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: &key})
			if err != nil {
				return err
			}
			part, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: &key, UploadId: up.UploadId, PartNumber: aws.Int32(3), Body: strings.NewReader("x")})
			if err != nil {
				return err
			}
			_, err = c.CompleteMultipartUpload(ctx, &awss3.CompleteMultipartUploadInput{
				Bucket: b, Key: &key, UploadId: up.UploadId, IfMatch: when.match, IfNoneMatch: when.noneMatch,
				MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(3), ETag: part.ETag}}},
			})
			return err
		},
		"DeleteObject": func(key string, when condition) error {
			_, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: &key, IfMatch: when.match})
			return err
		},
	}
	other := aws.String(`"0123456789abcdef0123456789abcdef"`)
	for name, write := range writes {
		for _, test := range []struct {
			what string
			when condition
			want string
		}{
			{"another tag", condition{match: other}, "PreconditionFailed"},
			{"nothing may be there", condition{noneMatch: aws.String("*")}, "PreconditionFailed"},
			{"a tag that must not be", condition{noneMatch: other}, "NotImplemented"},
		} {
			if name == "DeleteObject" && test.when.noneMatch != nil {
				continue
			}
			inParts(t, c, "k", "first")
			if err := write("k", test.when); code(err) != test.want {
				t.Errorf("%s, %s: %v, want %s", name, test.what, err, test.want)
			}
			if got := get(t, c, "box", "k"); got != "first" {
				t.Errorf("%s, %s: refused, and left %q", name, test.what, got)
			}
		}
		if err := write("none", condition{match: other}); code(err) != "NoSuchKey" {
			t.Errorf("%s, where nothing is: %v", name, err)
		}
		if err := write("k", condition{match: inParts(t, c, "k", "first")}); err != nil {
			t.Errorf("%s with the tag of an object in parts: %v", name, err)
		}
	}
}

func TestCopies(t *testing.T) {
	c, _ := opened(t)
	ctx, b := t.Context(), aws.String("box")
	_, err := c.PutObject(ctx, &awss3.PutObjectInput{
		Bucket: b, Key: aws.String("a b+ü"), Body: strings.NewReader("v"), ContentType: aws.String("text/csv"), Metadata: map[string]string{"who": "me"},
	})
	if err != nil {
		t.Fatal(err)
	}
	source := "/box/a%20b%2B%C3%BC"
	for _, test := range []struct {
		what string
		edit func(*awss3.CopyObjectInput)
		want string
	}{
		{"onto itself", func(in *awss3.CopyObjectInput) { in.Key = aws.String("a b+ü") }, "InvalidRequest"},
		{"of what is not there", func(in *awss3.CopyObjectInput) { in.CopySource = aws.String("box/none") }, "NoSuchKey"},
		{"out of no bucket", func(in *awss3.CopyObjectInput) { in.CopySource = aws.String("none/k") }, "NoSuchBucket"},
		{"into no bucket", func(in *awss3.CopyObjectInput) { in.Bucket = aws.String("none") }, "NoSuchBucket"},
		{"of no key", func(in *awss3.CopyObjectInput) { in.CopySource = b }, "InvalidArgument"},
		{"of a version", func(in *awss3.CopyObjectInput) { in.CopySource = aws.String(source + "?versionId=7") }, "NotImplemented"},
		{"of another tag", func(in *awss3.CopyObjectInput) { in.CopySourceIfMatch = aws.String(`"other"`) }, "PreconditionFailed"},
		{"of any but this tag", func(in *awss3.CopyObjectInput) { in.CopySourceIfNoneMatch = aws.String("*") }, "PreconditionFailed"},
	} {
		in := &awss3.CopyObjectInput{Bucket: b, Key: aws.String("copy"), CopySource: &source}
		test.edit(in)
		if _, err := c.CopyObject(ctx, in); code(err) != test.want {
			t.Errorf("%s: %v, want %s", test.what, err, test.want)
		}
	}
	for _, test := range []struct {
		directive     types.MetadataDirective
		to, who, kind string
	}{
		{"", "copy", "me", "text/csv"},
		{types.MetadataDirectiveReplace, "copy", "you", "binary/octet-stream"},
		{types.MetadataDirectiveReplace, "a b+ü", "you", "binary/octet-stream"}, // onto itself
	} {
		out, err := c.CopyObject(ctx, &awss3.CopyObjectInput{
			Bucket: b, Key: &test.to, CopySource: &source, MetadataDirective: test.directive, Metadata: map[string]string{"who": "you"},
		})
		if err != nil || aws.ToString(out.CopyObjectResult.ETag) == "" || out.CopyObjectResult.LastModified == nil {
			t.Fatalf("%q to %s: %+v, %v", test.directive, test.to, out, err)
		}
		head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: &test.to})
		if err != nil || head.Metadata["who"] != test.who || aws.ToString(head.ContentType) != test.kind {
			t.Errorf("%q to %s: %v %v, %v", test.directive, test.to, head.Metadata, aws.ToString(head.ContentType), err)
		}
		if got := get(t, c, "box", test.to); got != "v" {
			t.Errorf("%q to %s: the copy is %q", test.directive, test.to, got)
		}
	}
}

// TestWhatIsRefused by S3, and would be found out there only.
func TestWhatIsRefused(t *testing.T) {
	c, _ := opened(t)
	ctx, b, k := t.Context(), aws.String("box"), aws.String("k")
	put(t, c, "box", "k", "v")
	up, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	long := aws.String(strings.Repeat("k", 1025))
	for _, test := range []struct {
		what, want string
		call       func() error
	}{
		{"a key of 1,025 bytes", "KeyTooLongError", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: long, Body: strings.NewReader("v")})
			return err
		}},
		{"metadata of more than 2 KB", "MetadataTooLarge", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("v"), Metadata: map[string]string{"m": strings.Repeat("v", 2048)}})
			return err
		}},
		{"a digest of another body", "BadDigest", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("v"), ContentMD5: aws.String(base64.StdEncoding.EncodeToString(make([]byte, 16)))})
			return err
		}},
		{"what is no digest", "InvalidDigest", func() error {
			_, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: b, Key: k, Body: strings.NewReader("v"), ContentMD5: aws.String("nonsense")})
			return err
		}},
		{"part 0", "InvalidArgument", func() error {
			_, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: aws.Int32(0), Body: strings.NewReader("v")})
			return err
		}},
		{"part 10,001", "InvalidArgument", func() error {
			_, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: aws.Int32(10_001), Body: strings.NewReader("v")})
			return err
		}},
		{"an upload into no bucket", "NoSuchBucket", func() error {
			_, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: aws.String("none"), Key: k})
			return err
		}},
		{"one part of an object", "NotImplemented", func() error {
			_, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(1)})
			var re interface{ HTTPStatusCode() int } // a HEAD has no document
			if errors.As(err, &re) && re.HTTPStatusCode() == http.StatusNotImplemented {
				_, err = c.GetObject(ctx, &awss3.GetObjectInput{Bucket: b, Key: k, PartNumber: aws.Int32(1)})
			}
			return err
		}},
		{"a version", "NotImplemented", func() error {
			_, err := c.DeleteObject(ctx, &awss3.DeleteObjectInput{Bucket: b, Key: k, VersionId: aws.String("7")})
			return err
		}},
		{"deleting out of no bucket", "NoSuchBucket", func() error {
			_, err := c.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: aws.String("none"), Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: k}}}})
			return err
		}},
	} {
		if err := test.call(); code(err) != test.want {
			t.Errorf("%s: %v, want %s", test.what, err, test.want)
		}
	}
	if got := get(t, c, "box", "k"); got != "v" {
		t.Errorf("what was refused left %q", got)
	}
}

func TestDeleteObjectsHeedsEach(t *testing.T) {
	c, _ := opened(t)
	for _, key := range []string{"a", "b", "c"} {
		put(t, c, "box", key, "v")
	}
	out, err := c.DeleteObjects(t.Context(), &awss3.DeleteObjectsInput{Bucket: aws.String("box"), Delete: &types.Delete{
		Quiet: aws.Bool(true),
		Objects: []types.ObjectIdentifier{
			{Key: aws.String("a"), ETag: aws.String(`"other"`)}, {Key: aws.String("b"), VersionId: aws.String("7")}, {Key: aws.String("c")}, {Key: aws.String("never there")},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	for _, e := range out.Errors {
		failed = append(failed, *e.Key+" "+*e.Code)
	}
	if want := []string{"a PreconditionFailed", "b NoSuchVersion"}; !slices.Equal(failed, want) || len(out.Deleted) != 0 {
		t.Errorf("failed %q, deleted %+v; want %q and, as it is quiet, nothing", failed, out.Deleted, want)
	}
	left, err := c.ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String("box")})
	if err != nil || len(left.Contents) != 2 {
		t.Errorf("left %+v, %v", left, err)
	}
}

func TestSpans(t *testing.T) {
	for _, test := range []struct {
		header        string
		size          int64
		start, length int64
		partial, ok   bool
	}{
		{"", 5, 0, 5, false, true},
		{"bytes=-", 5, 0, 5, false, true},
		{"bytes=0-", 5, 0, 5, true, true},
		{"bytes=1-2", 5, 1, 2, true, true},
		{"bytes=3-99", 5, 3, 2, true, true},
		{"bytes=-2", 5, 3, 2, true, true},
		{"bytes=-99", 5, 0, 5, true, true},
		{"bytes=-0", 5, 0, 0, true, false},
		{"bytes=5-", 5, 0, 0, true, false},
		{"bytes=0-", 0, 0, 0, true, false},
		{"bytes=3-2", 5, 0, 5, false, true},
		{"bytes=0-1,3-4", 5, 0, 5, false, true},
		{"bytes=99999999999999999999-", 5, 0, 5, false, true},
	} {
		start, length, partial, ok := span(test.header, test.size)
		if start != test.start || length != test.length || partial != test.partial || ok != test.ok {
			t.Errorf("%q of %d: %d %d %v %v", test.header, test.size, start, length, partial, ok)
		}
	}
}

func TestListsByPages(t *testing.T) {
	c, url := opened(t)
	mkBucket(t, c, "a-first")
	mkBucket(t, c, "c-last")
	var buckets []string
	for p := awss3.NewListBucketsPaginator(c, &awss3.ListBucketsInput{MaxBuckets: aws.Int32(2)}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Buckets) > 2 {
			t.Errorf("%d buckets on a page of 2", len(out.Buckets))
		}
		for _, b := range out.Buckets {
			buckets = append(buckets, *b.Name)
		}
	}
	if want := []string{"a-first", "box", "c-last"}; !slices.Equal(buckets, want) {
		t.Errorf("buckets %q, want %q", buckets, want)
	}
	var uploads []string
	for _, key := range []string{"x", "y", "x", "z"} {
		up, err := c.CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: aws.String("box"), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		uploads = append(uploads, key+" "+*up.UploadId)
	}
	uploads[1], uploads[2] = uploads[2], uploads[1] // by key, and then by age
	var listed []string
	for p := awss3.NewListMultipartUploadsPaginator(c, &awss3.ListMultipartUploadsInput{Bucket: aws.String("box"), MaxUploads: aws.Int32(1)}); p.HasMorePages(); {
		out, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range out.Uploads {
			listed = append(listed, *u.Key+" "+*u.UploadId)
		}
	}
	if !slices.Equal(listed, uploads) {
		t.Errorf("uploads %q, want %q", listed, uploads)
	}
	if status, _, body := raw(t, http.MethodGet, url+"/box?uploads&delimiter=/"); status != http.StatusNotImplemented {
		t.Errorf("uploads by a delimiter: %d %s", status, body)
	}
}

func TestHeadersOfAnObject(t *testing.T) {
	c, url := opened(t)
	put(t, c, "box", "k", "hello")
	_, head, _ := raw(t, http.MethodHead, url+"/box/k")
	for name, want := range map[string]string{"Content-Type": "application/octet-stream", "Content-Length": "5", "Accept-Ranges": "bytes", "ETag": `"5d41402abc4b2a76b9719d911017c592"`} {
		if head.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, head.Get(name), want)
		}
	}
	raw(t, http.MethodPut, url+"/box/bare")
	if _, head, _ := raw(t, http.MethodHead, url+"/box/bare"); head.Get("Content-Type") != "binary/octet-stream" {
		t.Errorf("an object without a type: %v", head)
	}
	if _, head, _ := raw(t, http.MethodGet, url+"/box/k?response-content-type=text/plain&response-content-disposition=inline"); head.Get("Content-Type") != "text/plain" || head.Get("Content-Disposition") != "inline" {
		t.Errorf("headers that the query asks for: %v", head)
	}
	status, head, _ := raw(t, http.MethodGet, url+"/box/k", "If-None-Match", head.Get("ETag"))
	if status != http.StatusNotModified || head.Get("ETag") == "" || head.Get("Last-Modified") == "" {
		t.Errorf("not modified: %d %v", status, head)
	}
	if out, err := c.HeadBucket(t.Context(), &awss3.HeadBucketInput{Bucket: aws.String("box")}); err != nil || aws.ToString(out.BucketRegion) != "us-east-1" {
		t.Errorf("the bucket's region: %+v, %v", out, err)
	}
	whole := bytes.Repeat([]byte("0123456789"), 1000)
	put(t, c, "box", "long", string(whole))
	if _, head, body := raw(t, http.MethodGet, url+"/box/long", "Range", "bytes=-15"); body != string(whole[len(whole)-15:]) || head.Get("Content-Range") != "bytes 9985-9999/10000" {
		t.Errorf("the last 15 bytes: %q, %v", body, head)
	}
}
