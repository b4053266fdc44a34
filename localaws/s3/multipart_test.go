package s3

import (
	"bytes"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestMultipart(t *testing.T) {
	url, ops := serve(t, open(t, ""))
	c := client(t, url)
	ctx := t.Context()
	mkBucket(t, c, "multi")
	b, k := aws.String("multi"), aws.String("k")
	up, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	var parts []types.CompletedPart
	for i := int32(1); i <= 2; i++ {
		out, err := c.UploadPart(ctx, &awss3.UploadPartInput{
			Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: &i, Body: bytes.NewReader(bytes.Repeat([]byte{'0' + byte(i)}, 10)),
		})
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: aws.Int32(i), ETag: out.ETag})
	}
	done := &awss3.CompleteMultipartUploadInput{
		Bucket: b, Key: k, UploadId: up.UploadId, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	}
	put(t, c, "multi", "k", "first")
	if _, err := c.CompleteMultipartUpload(ctx, done); code(err) != "PreconditionFailed" {
		t.Errorf("over another object: %v", err)
	}
	done.IfNoneMatch = nil
	// What is refused does not end the upload.
	for want, wrong := range map[string][]types.CompletedPart{
		"InvalidPartOrder": {parts[1], parts[0]},
		"InvalidPart":      {{PartNumber: aws.Int32(1), ETag: aws.String(`"none"`)}},
		"MalformedXML":     {},
	} {
		done.MultipartUpload.Parts = wrong
		if _, err := c.CompleteMultipartUpload(ctx, done); code(err) != want {
			t.Errorf("want %s: %v", want, err)
		}
	}
	done.MultipartUpload.Parts = parts
	out, err := c.CompleteMultipartUpload(ctx, done)
	if err != nil {
		t.Fatal(err)
	}
	head, err := c.HeadObject(ctx, &awss3.HeadObjectInput{Bucket: b, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	// The MD5 of the MD5s of the parts.
	if want := `"b3d8e5fd417161d33300ead1bd2a0668-2"`; *out.ETag != want || *head.ETag != want {
		t.Errorf("tags %s and %s, want %s", *out.ETag, *head.ETag, want)
	}
	if _, err := c.CompleteMultipartUpload(ctx, done); code(err) != "NoSuchUpload" {
		t.Errorf("completed twice: %v", err)
	}
	if got := get(t, c, "multi", "k"); got != "11111111112222222222" {
		t.Errorf("got %q", got)
	}
	for _, want := range []string{"CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} {
		if !slices.Contains(ops(), want) {
			t.Errorf("%s is not in %v", want, ops())
		}
	}
}

// An upload under way is listed, its parts put out of order and one of them twice.
func TestMultipartUnderWay(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	ctx := t.Context()
	mkBucket(t, c, "multi")
	b, k := aws.String("multi"), aws.String("k")
	up, err := c.CreateMultipartUpload(ctx, &awss3.CreateMultipartUploadInput{Bucket: b, Key: k})
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range []int32{5, 2, 2} {
		_, err := c.UploadPart(ctx, &awss3.UploadPartInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumber: &number, Body: bytes.NewReader([]byte("x"))})
		if err != nil {
			t.Fatal(err)
		}
	}
	for marker, want := range map[string][]int32{"0": {2, 5}, "2": {5}, "9": nil} {
		out, err := c.ListParts(ctx, &awss3.ListPartsInput{Bucket: b, Key: k, UploadId: up.UploadId, PartNumberMarker: &marker})
		if err != nil {
			t.Fatal(err)
		}
		var got []int32
		for _, p := range out.Parts {
			got = append(got, *p.PartNumber)
		}
		if !slices.Equal(got, want) {
			t.Errorf("parts after %s: %v, want %v", marker, got, want)
		}
	}
	uploads, err := c.ListMultipartUploads(ctx, &awss3.ListMultipartUploadsInput{Bucket: b})
	if err != nil || len(uploads.Uploads) != 1 || *uploads.Uploads[0].UploadId != *up.UploadId {
		t.Errorf("uploads %v, %v", uploads, err)
	}
	abort := &awss3.AbortMultipartUploadInput{Bucket: b, Key: k, UploadId: up.UploadId}
	if _, err := c.AbortMultipartUpload(ctx, abort); err != nil {
		t.Error(err)
	}
	if _, err := c.AbortMultipartUpload(ctx, abort); code(err) != "NoSuchUpload" {
		t.Errorf("aborted twice: %v", err)
	}
}

func TestVirtualHosts(t *testing.T) {
	s := open(t, "")
	url, _ := serve(t, s)
	mkBucket(t, client(t, url, func(o *awss3.Options) { o.UsePathStyle = true }), "by-path")
	c := client(t, url, func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://localhost:4566") })
	put(t, c, "by-path", "a/b", "v") // goes to by-path.localhost
	c = client(t, url, func(o *awss3.Options) { o.BaseEndpoint = aws.String("http://s3.us-east-1.amazonaws.com") })
	if got := get(t, c, "by-path", "a/b"); got != "v" {
		t.Errorf("got %q", got)
	}
	for host, want := range map[string]string{
		"127.0.0.1:4566": "", "localhost:4566": "", "[::1]:80": "", "s3.amazonaws.com": "", "s3.localhost": "",
		"s3.us-east-1.localhost": "", "b.localhost:4566": "b", "a.b.s3.localhost": "a.b", "b.s3-eu-west-1.amazonaws.com": "b",
	} {
		if got := bucketOfHost(host); got != want {
			t.Errorf("%s: bucket %q, want %q", host, got, want)
		}
	}
}
