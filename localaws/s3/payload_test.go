package s3

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func TestChecksumsOfEveryKind(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "sums")
	for _, alg := range []types.ChecksumAlgorithm{
		types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c,
		types.ChecksumAlgorithmCrc64nvme, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256,
	} {
		out, err := c.PutObject(t.Context(), &awss3.PutObjectInput{
			Bucket: aws.String("sums"), Key: aws.String(string(alg)), Body: strings.NewReader("123456789"), ChecksumAlgorithm: alg,
		})
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		got, err := c.GetObject(t.Context(), &awss3.GetObjectInput{
			Bucket: aws.String("sums"), Key: aws.String(string(alg)), ChecksumMode: types.ChecksumModeEnabled,
		})
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		_, _ = io.Copy(io.Discard, got.Body)
		_ = got.Body.Close()
		if alg == types.ChecksumAlgorithmCrc32 {
			if aws.ToString(out.ChecksumCRC32) == "" || aws.ToString(got.ChecksumCRC32) != aws.ToString(out.ChecksumCRC32) {
				t.Errorf("stored %q, read %q", aws.ToString(out.ChecksumCRC32), aws.ToString(got.ChecksumCRC32))
			}
		}
		part, err := c.GetObject(t.Context(), &awss3.GetObjectInput{
			Bucket: aws.String("sums"), Key: aws.String(string(alg)), Range: aws.String("bytes=2-4"), ChecksumMode: types.ChecksumModeEnabled,
		})
		if err != nil {
			t.Errorf("%s: range: %v", alg, err)
			continue
		}
		b, err := io.ReadAll(part.Body)
		_ = part.Body.Close()
		if err != nil || string(b) != "345" {
			t.Errorf("%s: range gave %q, %v", alg, b, err)
		}
	}
}

func TestUploadsAsStreamsWithTrailers(t *testing.T) {
	url, _ := serve(t, open(t, ""))
	c := client(t, url)
	mkBucket(t, c, "stream")
	body := "5\r\nhello\r\n6;chunk-signature=abc\r\n world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n"
	send := func(body string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/stream/k", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Amz-Content-Sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
		req.Header.Set("Content-Encoding", "gzip,aws-chunked")
		req.Header.Set("X-Amz-Decoded-Content-Length", "11")
		req.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32")
		req.Close = true
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	if res := send(body); res.StatusCode != 200 {
		t.Fatalf("status %s", res.Status)
	}
	out, err := c.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: aws.String("stream"), Key: aws.String("k")})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(out.Body)
	_ = out.Body.Close()
	if string(b) != "hello world" || aws.ToString(out.ContentEncoding) != "gzip" {
		t.Errorf("got %q with encoding %q", b, aws.ToString(out.ContentEncoding))
	}
	for _, bad := range []string{
		strings.Replace(body, "DUoRhQ", "AAAAAA", 1), strings.Replace(body, "6;", "9;", 1), "zz\r\n", "", "5\r\nhello",
	} {
		if res := send(bad); res.StatusCode != 400 {
			t.Errorf("%q: status %s, want 400", bad, res.Status)
		}
	}
}

func FuzzDecodeChunks(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"))
	f.Add([]byte("ffffffffffffffff\r\n"))
	f.Add([]byte("7fffffff;chunk-signature=x\r\nab\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		payload, _, ok := decodeChunks(body)
		if ok && len(payload) > len(body) {
			t.Errorf("%d bytes came out of %d", len(payload), len(body))
		}
	})
}
