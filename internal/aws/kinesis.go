package aws

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// openKinesis makes the client, which speaks GetRecords as reading says and
// leaves waiting out a shard's limits to the caller, who knows when more is allowed.
func (a *Account) openKinesis() {
	a.kinesis = kinesis.NewFromConfig(a.cfg, func(o *kinesis.Options) {
		o.APIOptions = append(o.APIOptions, a.reading.install)
		o.Retryer = retry.NewStandard(standard, func(o *retry.StandardOptions) {
			o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(leaveToCaller)}, o.Retryables...)
		})
	})
}

func leaveToCaller(err error) sdk.Ternary {
	if refusalOf(err).Code == "ProvisionedThroughputExceededException" {
		return sdk.FalseTernary
	}
	return sdk.UnknownTernary
}

// Stream is one Kinesis data stream. It is safe for concurrent use.
type Stream struct {
	account *Account
	name    string // as it was given: a name or an ARN
}

// Stream names a stream by its name or its ARN. It makes no call.
func (a *Account) Stream(name string) *Stream { return &Stream{account: a, name: name} }

// Name is the stream's name, also where it was given as an ARN.
func (s *Stream) Name() string { return s.name[strings.LastIndexByte(s.name, '/')+1:] }

// arn is the stream's ARN where that is what was given, else nil. Passing one
// makes the SDK use the account's own endpoint.
func (s *Stream) arn() *string {
	if !strings.HasPrefix(s.name, "arn:") {
		return nil
	}
	return &s.name
}

func (s *Stream) plainName() *string {
	if s.arn() != nil {
		return nil
	}
	return &s.name
}

// Shards lists all shards whose records are within the retention, closed ones
// included.
func (s *Stream) Shards(ctx context.Context) ([]stream.Shard, error) {
	const maxRestarts = 3 // a listing whose pages take over 5 minutes is not ours
	for restarts := 0; ; restarts++ {
		shards, err := s.listShards(ctx)
		var expired *types.ExpiredNextTokenException
		if errors.As(err, &expired) && restarts < maxRestarts {
			continue
		}
		if err != nil {
			return nil, kinesisFailed(ctx, "list the shards of "+s.name, err)
		}
		return shards, nil
	}
}

func (s *Stream) listShards(ctx context.Context) ([]stream.Shard, error) {
	var out []stream.Shard
	in := &kinesis.ListShardsInput{StreamName: s.plainName(), StreamARN: s.arn()}
	for {
		page, err := func() (*kinesis.ListShardsOutput, error) {
			ctx, cancel := bounded(ctx, callTimeout)
			defer cancel()
			page, err := s.account.kinesis.ListShards(ctx, in)
			return page, ended(ctx, err)
		}()
		if err != nil {
			return nil, err
		}
		if page.Shards == nil {
			return nil, fmt.Errorf("%w: it holds no list of shards", stream.ErrIncomplete)
		}
		for _, shard := range page.Shards {
			// Without its numbers a closed shard would look open.
			if sdk.ToString(shard.ShardId) == "" || shard.SequenceNumberRange == nil || shard.HashKeyRange == nil {
				return nil, fmt.Errorf("%w: a shard lacks its name, its hash keys or its sequence numbers", stream.ErrIncomplete)
			}
			out = append(out, toShard(shard))
		}
		if sdk.ToString(page.NextToken) == "" {
			if len(out) == 0 { // a stream has a shard at all times
				return nil, fmt.Errorf("%w: it lists no shard", stream.ErrIncomplete)
			}
			return out, nil
		}
		// The token stands alone: AWS refuses the stream's name beside it, and, which
		// its reference does not say, its ARN.
		in = &kinesis.ListShardsInput{NextToken: page.NextToken}
	}
}

func toShard(in types.Shard) stream.Shard {
	out := stream.Shard{ID: sdk.ToString(in.ShardId)}
	for _, parent := range []*string{in.ParentShardId, in.AdjacentParentShardId} {
		if parent != nil {
			out.Parents = append(out.Parents, *parent)
		}
	}
	if h := in.HashKeyRange; h != nil {
		out.HashStart, out.HashEnd = sdk.ToString(h.StartingHashKey), sdk.ToString(h.EndingHashKey)
	}
	if q := in.SequenceNumberRange; q != nil {
		out.FirstSequence, out.ClosedSequence = sdk.ToString(q.StartingSequenceNumber), sdk.ToString(q.EndingSequenceNumber)
		out.Closed = out.ClosedSequence != ""
	}
	return out
}

// Summary describes a stream.
type Summary struct {
	Name       string
	ARN        string
	Status     string // CREATING, ACTIVE, UPDATING or DELETING
	OnDemand   bool   // Kinesis manages the shards
	Retention  time.Duration
	OpenShards int
	Created    time.Time
}

// Summary describes the stream as it is now.
func (s *Stream) Summary(ctx context.Context) (Summary, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	out, err := s.account.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{
		StreamName: s.plainName(), StreamARN: s.arn(),
	})
	if err != nil {
		return Summary{}, kinesisFailed(ctx, "describe stream "+s.name, err)
	}
	d := out.StreamDescriptionSummary
	if d == nil || d.StreamStatus == "" || sdk.ToString(d.StreamName) == "" || sdk.ToString(d.StreamARN) == "" ||
		d.StreamCreationTimestamp == nil || d.RetentionPeriodHours == nil || d.OpenShardCount == nil {
		return Summary{}, incomplete("describe stream "+s.name, "it lacks a part of the description")
	}
	mode := d.StreamModeDetails
	return Summary{
		Name:       sdk.ToString(d.StreamName),
		ARN:        sdk.ToString(d.StreamARN),
		Status:     string(d.StreamStatus),
		OnDemand:   mode != nil && mode.StreamMode == types.StreamModeOnDemand,
		Retention:  time.Duration(sdk.ToInt32(d.RetentionPeriodHours)) * time.Hour,
		OpenShards: int(sdk.ToInt32(d.OpenShardCount)),
		Created:    sdk.ToTime(d.StreamCreationTimestamp),
	}, nil
}

// Identity tells this stream from others of its name, also from one that was
// deleted before it. The SDK reads the time of creation as a float, whose last
// digits differ: it is rounded to milliseconds.
func (s *Stream) Identity(ctx context.Context) (stream.Identity, error) {
	sum, err := s.Summary(ctx)
	if err != nil {
		return stream.Identity{}, err
	}
	if id := sum.Identity(); !id.IsZero() {
		return id, nil
	}
	return stream.Identity{}, fmt.Errorf("describe stream %s: the reply lacks its ARN or when it was created", s.name)
}

// Identity is which stream was described; zero where the reply lacked something.
func (s Summary) Identity() stream.Identity {
	if s.ARN == "" || s.Created.IsZero() {
		return stream.Identity{}
	}
	return stream.Identity{ARN: s.ARN, Created: s.Created.UTC().Round(time.Millisecond)}
}

// Create asks for the stream; WaitActive waits until it can be used. The error
// is fs.ErrExist where there is one of that name.
func (s *Stream) Create(ctx context.Context, shards int) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	name := s.Name()
	_, err := s.account.kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{
		StreamName: &name, ShardCount: sdk.Int32(int32(shards)),
	})
	if err != nil {
		return kinesisFailed(ctx, "create stream "+s.name, err)
	}
	return nil
}

// Delete asks for the stream's end, with all its records and consumers.
func (s *Stream) Delete(ctx context.Context) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := s.account.kinesis.DeleteStream(ctx, &kinesis.DeleteStreamInput{
		StreamName: s.plainName(), StreamARN: s.arn(), EnforceConsumerDeletion: sdk.Bool(true),
	})
	if err != nil {
		return kinesisFailed(ctx, "delete stream "+s.name, err)
	}
	return nil
}

// WaitActive waits until the stream is ACTIVE: created, or done with the last
// split or merge.
func (s *Stream) WaitActive(ctx context.Context) error {
	for wait := 20 * time.Millisecond; ; wait = min(wait*2, time.Second) {
		sum, err := s.Summary(ctx)
		if err != nil {
			return err
		}
		switch types.StreamStatus(sum.Status) {
		case types.StreamStatusActive:
			return nil
		case types.StreamStatusDeleting:
			return fmt.Errorf("wait for stream %s: it is being deleted: %w", s.name, stream.ErrGone)
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("wait for stream %s, now %s: %w", s.name, sum.Status, err)
		}
	}
}

// Split splits the shard in the middle of its hash range.
func (s *Stream) Split(ctx context.Context, shard stream.Shard) error {
	lo, ok1 := new(big.Int).SetString(shard.HashStart, 10)
	hi, ok2 := new(big.Int).SetString(shard.HashEnd, 10)
	if !ok1 || !ok2 || lo.Cmp(hi) >= 0 {
		return fmt.Errorf("split shard %s of %s: its hash range %q to %q cannot be divided", shard.ID, s.name, shard.HashStart, shard.HashEnd)
	}
	middle := lo.Add(lo, hi)
	middle.Rsh(middle.Add(middle, big.NewInt(1)), 1) // the first hash key of the upper half
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := s.account.kinesis.SplitShard(ctx, &kinesis.SplitShardInput{
		StreamName: s.plainName(), StreamARN: s.arn(),
		ShardToSplit: &shard.ID, NewStartingHashKey: sdk.String(middle.String()),
	})
	if err != nil {
		return kinesisFailed(ctx, "split shard "+shard.ID+" of "+s.name, err)
	}
	return nil
}

// Merge merges two shards whose hash ranges lie side by side.
func (s *Stream) Merge(ctx context.Context, a, b stream.Shard) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := s.account.kinesis.MergeShards(ctx, &kinesis.MergeShardsInput{
		StreamName: s.plainName(), StreamARN: s.arn(), ShardToMerge: &a.ID, AdjacentShardToMerge: &b.ID,
	})
	if err != nil {
		return kinesisFailed(ctx, "merge shards "+a.ID+" and "+b.ID+" of "+s.name, err)
	}
	return nil
}
