package aws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// What answers at an endpoint need not be the service: a proxy, a load balancer
// or a half-started emulator says 200 as well. So every reply is bounded, by
// what its operation can hold, and one that is empty where its operation has an
// output is an error: the SDK takes it for an output of which nothing is set.
// What a reply must hold beyond that is looked at where it is used.

// Bounds of replies, in bytes.
const (
	usualReply = 1 << 20  // far above what most operations answer with
	maxRefusal = 1 << 20  // of an error; DynamoDB's may hold a row
	maxHeader  = 64 << 10 // of the head of a reply
	maxObject  = 32 << 20 // of an S3 object; a letter of a record of 10 MiB has 14
	maxReply   = 32 << 20 // of GetRecords: 10 MiB of data and 10,000 records, whose keys have up to 256 characters and other parts 200 bytes
	maxResult  = 32 << 20 // of a page of a result
	maxStatus  = 24 << 20 // of DescribeStatement, which repeats up to 40 statements of 100 KB, escaped
	maxPage    = 8 << 20  // of a page of a listing: 1,000 names or shards, or 1 MB of a table, with what a protocol adds
	maxMetrics = 64 << 10 // of PutMetricData, which has no output
)

// replyBound is the most that a good reply of the operation may have.
func replyBound(operation string) int64 {
	switch operation {
	case "GetRecords":
		return maxReply
	case "GetStatementResult":
		return maxResult
	case "DescribeStatement":
		return maxStatus
	case "GetObject":
		return maxObject
	case "ListShards", "Scan", "ListObjectsV2", "DeleteObjects":
		return maxPage
	case "PutMetricData":
		return maxMetrics
	}
	return usualReply
}

// hasNoOutput: operations whose good replies have no body, or may have none.
func hasNoOutput(operation string) bool {
	switch operation {
	case "CreateStream", "DeleteStream", "SplitShard", "MergeShards", "PutMetricData",
		"PutObject", "DeleteObject", "CreateBucket", "HeadBucket",
		"GetObject",   // of an empty object; its header is looked at
		"GetMetadata": // of an instance
		return true
	}
	return false
}

// guardReplies puts the guard next to the wire, before anything reads a reply.
func guardReplies(stack *middleware.Stack) error {
	if err := stack.Deserialize.Add(replyGuard{operation: stack.ID()}, middleware.After); err != nil {
		return fmt.Errorf("guard the replies of %s: %w", stack.ID(), err)
	}
	return nil
}

type replyGuard struct{ operation string }

func (replyGuard) ID() string { return "ReplyGuard" }

func (g replyGuard) HandleDeserialize(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error,
) {
	out, meta, err := next.HandleDeserialize(ctx, in)
	response, isHTTP := out.RawResponse.(*smithyhttp.Response)
	if err != nil || !isHTTP || response.Body == nil {
		return out, meta, err
	}
	good := response.StatusCode >= 200 && response.StatusCode <= 299
	body := &boundedBody{ReadCloser: response.Body, left: maxRefusal, tooLong: tooLongError{g.operation, maxRefusal}}
	if good {
		bound := replyBound(g.operation)
		body.left, body.tooLong = bound, tooLongError{g.operation, bound}
	}
	response.Body = body
	switch {
	case response.ContentLength > body.left:
		err = body.tooLong
	case good && response.StatusCode != http.StatusNoContent && !hasNoOutput(g.operation):
		if response.ContentLength == 0 || response.ContentLength < 0 && body.isEmpty() {
			err = emptyReplyError(g)
		}
	}
	if err != nil {
		err = errors.Join(err, body.ReadCloser.Close())
	}
	return out, meta, err
}

// emptyReplyError is a good reply without a body where the operation has an
// output. It says nothing of what became of the call, like a connection that was
// lost, and the SDK makes the call again as it does then.
type emptyReplyError struct{ operation string }

func (e emptyReplyError) Error() string {
	return fmt.Sprintf("%s was answered with success and an empty body; what answers at the endpoint is not the service, or is broken", e.operation)
}

func (emptyReplyError) ConnectionError() bool { return true }

// Unwrap makes it one of the replies that lack what they must hold.
func (emptyReplyError) Unwrap() error { return stream.ErrIncomplete }

type tooLongError struct {
	operation string
	bound     int64
}

func (e tooLongError) Error() string {
	return fmt.Sprintf("the reply to %s has more than %d bytes; what answers at the endpoint is not the service, or is broken", e.operation, e.bound)
}

// boundedBody is a body that fails once it is longer than it may be.
type boundedBody struct {
	io.ReadCloser
	left    int64 // bytes that may still come
	tooLong error
	first   []byte // read ahead
	err     error  // that came with it
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if len(b.first) > 0 {
		n := copy(p, b.first)
		b.first = b.first[n:]
		return n, nil
	}
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		b.err = b.tooLong
		return n - 1, b.err
	}
	return n, err
}

// isEmpty looks at the first byte.
func (b *boundedBody) isEmpty() bool {
	var first [1]byte
	n, err := io.ReadFull(b, first[:])
	b.first = first[:n]
	if err != nil {
		b.err = err
	}
	return err == io.EOF
}

// incomplete is the error of a reply that lacks what it holds in truth,
// whatever the model of the service allows.
func incomplete(doing, what string) error {
	return fmt.Errorf("%s: %w: %s", doing, stream.ErrIncomplete, what)
}
