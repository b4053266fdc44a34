package aws

import (
	"context"
	"errors"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// What one PutRecords call takes. Newer documents allow 10 MiB; 5 MiB goes
// through everywhere and is no slower.
const (
	maxPutRecords = 500
	maxPutBytes   = 5 << 20
)

// Refused records are put again: a shard takes 1 MiB and 1,000 records a second,
// so a full one has room again within a second.
const (
	maxPuts  = 12
	putAgain = 100 * time.Millisecond // doubles up to a second
	putMax   = time.Second
)

// Entry is a record to put.
type Entry struct {
	PartitionKey    string // 1 to 256 characters
	ExplicitHashKey string // decimal; places the record in place of the key's hash; may be empty
	Data            []byte
}

// Put puts the entries on the stream. Those that Kinesis refuses for lack of
// room are put again before any later entry is, so that entries of one key
// change places only within one call of PutRecords, where Kinesis itself may
// refuse the first and take the second. failed holds the indices of the entries
// not known to be on the stream, in order; err is not nil if there are any.
func (s *Stream) Put(ctx context.Context, entries []Entry) (failed []int, err error) {
	for start := 0; start < len(entries); {
		end := start + fitting(entries[start:])
		left, err := s.putAll(ctx, entries, indices(start, end))
		if err != nil {
			return append(left, indices(end, len(entries))...), err
		}
		start = end
	}
	return nil, nil
}

// fitting is how many of the entries one call takes, at least one.
func fitting(entries []Entry) int {
	bytes := 0
	for i, e := range entries {
		bytes += len(e.Data) + len(e.PartitionKey) + len(e.ExplicitHashKey)
		if i > 0 && (i == maxPutRecords || bytes > maxPutBytes) {
			return i
		}
	}
	return len(entries)
}

func indices(from, to int) []int {
	out := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out
}

// putAll puts the entries of the given indices, until all are in.
func (s *Stream) putAll(ctx context.Context, entries []Entry, todo []int) ([]int, error) {
	for attempt := 1; ; attempt++ {
		left, err := s.putOnce(ctx, entries, todo)
		if err == nil {
			return nil, nil
		}
		todo = left
		if !errors.Is(err, stream.ErrThrottled) || ctx.Err() != nil {
			return todo, err
		}
		if attempt == maxPuts {
			return todo, fmt.Errorf("refused %s: %w", plural.Of(attempt, "time"), err)
		}
		if err := pause(ctx, jitter(min(putAgain<<min(attempt-1, 4), putMax))); err != nil {
			return todo, fmt.Errorf("put %s on %s: %w", plural.Of(len(todo), "record"), s.name, err)
		}
	}
}

// putOnce makes one call. It returns the entries that are not on the stream, and
// why the first of them is not; Kinesis may refuse the call or single entries.
func (s *Stream) putOnce(ctx context.Context, entries []Entry, todo []int) (left []int, err error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	in := &kinesis.PutRecordsInput{StreamName: s.plainName(), StreamARN: s.arn(), Records: make([]types.PutRecordsRequestEntry, len(todo))}
	for i, at := range todo {
		e := &entries[at]
		in.Records[i] = types.PutRecordsRequestEntry{Data: e.Data, PartitionKey: &e.PartitionKey, ExplicitHashKey: filled(e.ExplicitHashKey)}
		if e.Data == nil {
			in.Records[i].Data = []byte{} // the SDK asks for data that is there, if empty
		}
	}
	doing := fmt.Sprintf("put %s on %s", plural.Of(len(todo), "record"), s.name)
	out, err := s.account.kinesis.PutRecords(ctx, in)
	if err != nil {
		return todo, kinesisFailed(ctx, doing, err)
	}
	if len(out.Records) != len(todo) {
		return todo, incomplete(doing, "it tells of "+plural.Of(len(out.Records), "record"))
	}
	for i, r := range out.Records {
		if sdk.ToString(r.ErrorCode) == "" && sdk.ToString(r.SequenceNumber) != "" {
			continue
		}
		if left == nil {
			err = entryRefused(doing, r)
		}
		left = append(left, todo[i])
	}
	return left, err
}

// entryRefused is why one entry of a call was not taken.
func entryRefused(doing string, r types.PutRecordsResultEntry) error {
	if sdk.ToString(r.ErrorCode) == "" {
		return incomplete(doing, "a record has neither a place on the stream nor an error")
	}
	why := Refusal{Code: sdk.ToString(r.ErrorCode), Message: sdk.ToString(r.ErrorMessage), Operation: "Kinesis.PutRecords"}
	verdict := kinesisVerdict(why)
	if verdict == nil { // InternalFailure: as good as a full shard
		verdict = stream.ErrThrottled
	}
	return fmt.Errorf("%s: %w: %w", doing, verdict, why)
}
