package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/url"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// maxDelete is how many objects one DeleteObjects call takes.
const maxDelete = 1000

// Bucket is the part of an S3 bucket under a prefix. It is safe for concurrent use.
type Bucket struct {
	client *s3.Client
	name   string
	prefix string // empty, or ends with a slash
	region string
}

// Bucket opens "s3://bucket" or "s3://bucket/prefix". It makes no call.
func (a *Account) Bucket(location string) (*Bucket, error) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("object store %q: not of the form s3://bucket/prefix", location)
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Bucket{client: newS3(a.cfg), name: u.Host, prefix: prefix, region: a.cfg.Region}, nil
}

// newS3 addresses buckets by path at endpoints that are not AWS's own: their
// hosts (127.0.0.1, minio) have no names of the form bucket.host.
func newS3(cfg sdk.Config) *s3.Client {
	client := s3.NewFromConfig(cfg)
	endpoint := client.Options().BaseEndpoint // from AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 or a profile
	if endpoint == nil {
		return client
	}
	u, err := url.Parse(*endpoint)
	if err != nil || strings.HasSuffix(u.Hostname(), ".amazonaws.com") || strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn") {
		return client
	}
	return s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
}

// URL is the object's location, s3://bucket/key.
func (b *Bucket) URL(name string) string { return "s3://" + b.name + "/" + b.prefix + name }

// Put stores an object, replacing one of that name, and returns its URL. body
// must not change until Put returns.
func (b *Bucket) Put(ctx context.Context, name string, body []byte) (string, error) {
	ctx, cancel := bounded(ctx, objectTimeout)
	defer cancel()
	if err := b.put(ctx, name, body, nil); err != nil {
		return "", objectFailed(ctx, "put "+b.URL(name), err)
	}
	return b.URL(name), nil
}

// PutIfAbsent stores an object unless there is one of that name, and reports
// whether it did. After a lost reply that cannot be known: it then reports false
// for an object that this very call made.
func (b *Bucket) PutIfAbsent(ctx context.Context, name string, body []byte) (created bool, err error) {
	const attempts = 6
	ctx, cancel := bounded(ctx, objectTimeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := b.put(ctx, name, body, sdk.String("*"))
		if err == nil {
			return true, nil
		}
		switch code := refusalOf(err).Code; {
		case code == "PreconditionFailed":
			return false, nil
		case code == "ConditionalRequestConflict" && attempt < attempts: // another write of it is under way
			if pause(ctx, jitter(submitAgain)) == nil {
				continue
			}
		}
		return false, objectFailed(ctx, "put "+b.URL(name)+" if absent", err)
	}
}

// Probe finds out whether the caller may put objects, and puts none: the checksum
// that it sends along is wrong, which S3 looks at after the permission.
func (b *Bucket) Probe(ctx context.Context, name string) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(name), Body: bytes.NewReader([]byte{0}), ContentLength: sdk.Int64(1),
		ChecksumCRC32C: sdk.String("AAAAAA=="),
	}, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	switch {
	case err == nil: // a store that looks at no checksums has made it
		return b.Delete(ctx, name)
	case refusalOf(err).Code == "BadDigest":
		return nil
	}
	return objectFailed(ctx, "try to put "+b.URL(name), err)
}

// ProbeDelete finds out whether the caller may remove objects, and removes none: there
// must be none of that name, and it asks for one to be there, which S3 looks at after the
// permission. Without the condition a bucket with versions would keep a delete marker.
func (b *Bucket) ProbeDelete(ctx context.Context, name string) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(name), IfMatch: sdk.String("*")})
	switch refusalOf(err).Code {
	case "NoSuchKey", "PreconditionFailed":
		return nil
	case "NotImplemented": // a store that knows no such condition
		return b.Delete(ctx, name)
	}
	if err != nil {
		return objectFailed(ctx, "try to delete "+b.URL(name), err)
	}
	return nil
}

// put sends the body as it is. Its CRC-32C, which costs next to nothing, guards
// it end to end; the SDK would also hash it with SHA-256 over plain HTTP, and
// encode it in chunks over TLS.
func (b *Bucket) put(ctx context.Context, name string, body []byte, ifNoneMatch *string) error {
	sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)))
	out, err := b.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(name), IfNoneMatch: ifNoneMatch,
		Body: bytes.NewReader(body), ContentLength: sdk.Int64(int64(len(body))),
		ChecksumCRC32C: sdk.String(base64.StdEncoding.EncodeToString(sum)),
	}, s3.WithAPIOptions(v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware))
	if err == nil && sdk.ToString(out.ETag) == "" { // S3 tells what it stored; a letter that is nowhere would be lost
		return fmt.Errorf("%w: it does not say what was stored", stream.ErrIncomplete)
	}
	return err
}

func (b *Bucket) key(name string) *string { return sdk.String(b.prefix + name) }

// Get reads an object. The error is fs.ErrNotExist where there is none.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	ctx, cancel := bounded(ctx, objectTimeout)
	defer cancel()
	doing := "get " + b.URL(name)
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: b.key(name)})
	if err != nil {
		return nil, objectFailed(ctx, doing, err)
	}
	defer out.Body.Close()
	if sdk.ToString(out.ETag) == "" { // an object may be empty, so this is what tells it from no answer
		return nil, incomplete(doing, "it does not say which object it holds")
	}
	// Room to find the end without growing. The size is what the service says, and
	// bounded by the guard on replies, as the body is.
	body := bytes.NewBuffer(make([]byte, 0, max(sdk.ToInt64(out.ContentLength), 0)+bytes.MinRead))
	if _, err := body.ReadFrom(out.Body); err != nil {
		return nil, objectFailed(ctx, doing, err)
	}
	return body.Bytes(), nil
}

// List returns the names, in order, that begin with prefix.
func (b *Bucket) List(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: b.key(prefix)}
	for {
		out, err := b.listPage(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, o := range out.Contents {
			names = append(names, strings.TrimPrefix(sdk.ToString(o.Key), b.prefix))
		}
		if !*out.IsTruncated {
			return names, nil
		}
		in.ContinuationToken = out.NextContinuationToken
	}
}

func (b *Bucket) listPage(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	doing := "list s3://" + b.name + "/" + sdk.ToString(in.Prefix)
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, objectFailed(ctx, doing, err)
	}
	if out.IsTruncated == nil || *out.IsTruncated && sdk.ToString(out.NextContinuationToken) == "" {
		return nil, incomplete(doing, "it does not say whether, and where, the list goes on")
	}
	return out, nil
}

// Delete removes objects; names that are not there are no error.
func (b *Bucket) Delete(ctx context.Context, names ...string) error {
	if len(names) == 1 {
		ctx, cancel := bounded(ctx, callTimeout)
		defer cancel()
		_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(names[0])})
		if err != nil {
			return objectFailed(ctx, "delete "+b.URL(names[0]), err)
		}
		return nil
	}
	for len(names) > 0 {
		n := min(len(names), maxDelete)
		if err := b.deleteBatch(ctx, names[:n]); err != nil {
			return err
		}
		names = names[n:]
	}
	return nil
}

func (b *Bucket) deleteBatch(ctx context.Context, names []string) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	objects := make([]types.ObjectIdentifier, len(names))
	for i, name := range names {
		objects[i].Key = b.key(name)
	}
	out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &b.name, Delete: &types.Delete{Objects: objects, Quiet: sdk.Bool(true)},
	})
	doing := fmt.Sprintf("delete %s from s3://%s/%s", plural.Of(len(names), "object"), b.name, b.prefix)
	if err != nil {
		return objectFailed(ctx, doing, err)
	}
	if len(out.Errors) > 0 {
		e := out.Errors[0]
		r := Refusal{Code: sdk.ToString(e.Code), Message: sdk.ToString(e.Message), Operation: "S3.DeleteObjects"}
		err := fmt.Errorf("%s: %d were not deleted, the first is %s: %w", doing, len(out.Errors), sdk.ToString(e.Key), r)
		return errors.Join(err, objectVerdict(r))
	}
	return nil
}

// EnsureBucket creates the bucket where there is none, for local use.
func (b *Bucket) EnsureBucket(ctx context.Context) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	in := &s3.CreateBucketInput{Bucket: &b.name}
	if b.region != "us-east-1" { // the one region that must not be named
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(b.region)}
	}
	_, err := b.client.CreateBucket(ctx, in)
	switch code := refusalOf(err).Code; {
	case err == nil, code == "BucketAlreadyOwnedByYou":
		return nil
	case code == "BucketAlreadyExists":
		return fmt.Errorf("create bucket %s: the name is taken by another account; choose another", b.name)
	}
	return objectFailed(ctx, "create bucket "+b.name, err)
}
