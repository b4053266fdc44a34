package aws

import (
	"context"
	"fmt"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

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
		left, why, err := s.putOnce(ctx, entries, todo)
		if err != nil {
			return todo, err
		}
		if len(left) == 0 {
			return nil, nil
		}
		todo = left
		doing := fmt.Sprintf("put %d records on %s", len(todo), s.name)
		r := refusal{Code: sdk.ToString(why.ErrorCode), Message: sdk.ToString(why.ErrorMessage), Operation: "Kinesis.PutRecords"}
		verdict := kinesisVerdict(r)
		if verdict == nil { // InternalFailure: as good as a full shard
			verdict = stream.ErrThrottled
		}
		if verdict != stream.ErrThrottled || attempt == maxPuts {
			return todo, fmt.Errorf("%s, refused %d times: %w: %s: %s%s", doing, attempt, verdict, r.Code, r.Message, advice(r))
		}
		if err := pause(ctx, jitter(min(putAgain<<min(attempt-1, 4), putMax))); err != nil {
			return todo, fmt.Errorf("%s: %w", doing, err)
		}
	}
}

// putOnce makes one call and returns which entries were refused, and why the
// first of them was.
func (s *Stream) putOnce(ctx context.Context, entries []Entry, todo []int) ([]int, types.PutRecordsResultEntry, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	var why types.PutRecordsResultEntry
	in := &kinesis.PutRecordsInput{StreamName: s.plainName(), StreamARN: s.arn(), Records: make([]types.PutRecordsRequestEntry, len(todo))}
	for i, at := range todo {
		e := &entries[at]
		in.Records[i] = types.PutRecordsRequestEntry{Data: e.Data, PartitionKey: &e.PartitionKey, ExplicitHashKey: filled(e.ExplicitHashKey)}
		if e.Data == nil {
			in.Records[i].Data = []byte{} // the SDK asks for data that is there, if empty
		}
	}
	doing := fmt.Sprintf("put %d records on %s", len(todo), s.name)
	out, err := s.account.kinesis.PutRecords(ctx, in)
	if err != nil {
		return nil, why, kinesisFailed(ctx, doing, err)
	}
	if len(out.Records) != len(todo) {
		return nil, why, fmt.Errorf("%s: the reply tells of %d records", doing, len(out.Records))
	}
	var left []int
	for i, r := range out.Records {
		if sdk.ToString(r.ErrorCode) == "" {
			continue
		}
		if left == nil {
			why = r
		}
		left = append(left, todo[i])
	}
	return left, why, nil
}
