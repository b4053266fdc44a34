package aws

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// What Kinesis grants to all polling readers of a shard together.
const (
	callGap        = time.Second / 5 // five calls a second
	bytesPerSecond = 2 << 20
	// callMargin is added to each gap: calls leave evenly, and do not arrive evenly.
	callMargin     = 20 * time.Millisecond
	throttleWindow = time.Second
)

// maxRenewals bounds how often one Next takes a new iterator in place of an
// expired one. More than once means that something else is wrong.
const maxRenewals = 5

// latestSlack is how much before the time of opening a LATEST reader starts
// again when its iterator expired unused: the service's machines have a clock each,
// and delivering a little too much is better than losing a record.
const latestSlack = 5 * time.Second

// ShardReader reads one shard, page by page. It is not safe for concurrent use.
type ShardReader struct {
	// Limit is the largest number of Kinesis records in a page, 1 to 10,000;
	// 0 means 10,000.
	Limit int32

	// room is asked before the memory for a reply of so many bytes is taken. Its
	// error ends the read; the same page can be asked for again. Nil = there is
	// always room.
	room func(bytes int) error

	stream    *Stream
	shard     stream.Shard
	at        stream.Position // everything up to here was delivered
	iterator  string          // empty: take one at `at`
	opened    time.Time       // when the first iterator was taken, by the service's clock; zero before
	expect    string          // sequence number that the iterator points at, until a record shows whether it is there
	notBefore time.Time
	ended     *stream.Page // what Next returns once the shard has ended
}

// Reader returns a reader of the shard that delivers what lies after from. It
// makes no call until Next.
func (s *Stream) Reader(shard stream.Shard, from stream.Position) *ShardReader {
	return &ShardReader{stream: s, shard: shard, at: from}
}

// BoundedReader is Reader with a say in how much is read at a time: room is asked
// before the memory for a reply of so many bytes is taken. Where it returns an
// error, Next gives the read up and returns that error, and the same page can be
// asked for again; for the shard's limits it counts as read.
func (s *Stream) BoundedReader(shard stream.Shard, from stream.Position, room func(bytes int) error) *ShardReader {
	r := s.Reader(shard, from)
	r.room = room
	return r
}

// NotBefore is the earliest time at which the shard's limits of 5 calls/s and
// 2 MiB/s allow the next call of Next. Calling earlier is not an error.
func (r *ShardReader) NotBefore() time.Time { return r.notBefore }

// Next reads one page. The end of the shard is reported once it is shown, and a
// reply that lacks what it must hold is stream.ErrIncomplete. An expired iterator
// is renewed behind the scenes. After an error the same page can be asked for again.
func (r *ShardReader) Next(ctx context.Context) (stream.Page, error) {
	if r.at.Sequence == stream.ShardEnd {
		return stream.Page{Ended: true}, nil
	}
	if r.ended != nil {
		return *r.ended, nil
	}
	for renewals := 0; ; renewals++ {
		page, err := r.next(ctx)
		if !errors.Is(err, errExpired) {
			return page, err
		}
		r.iterator = ""
		if renewals == maxRenewals {
			return stream.Page{}, fmt.Errorf("%w (%d times in a row)", err, renewals)
		}
	}
}

func (r *ShardReader) next(ctx context.Context) (stream.Page, error) {
	got, err := r.fetch(ctx)
	if err == nil && got.next == "" {
		if err = r.ends(ctx, got.children); err != nil {
			got.drop()
		}
	}
	if err == nil {
		return r.deliver(got), nil
	}
	// Nothing of the page was taken, so it is asked for again at the place where it
	// was. With another iterator, where the fault may lie in this one: for a stream
	// that was made anew the new one is refused, long before this one expires.
	if errors.Is(err, stream.ErrIncomplete) || errors.Is(err, stream.ErrGone) {
		r.iterator = ""
	}
	return stream.Page{}, err
}

// fetch makes the calls of one page.
func (r *ShardReader) fetch(ctx context.Context) (*reply, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	if r.iterator == "" {
		if err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	asked, declined := time.Now(), 0
	got, err := r.stream.account.getRecords(ctx, r.shard, r.asking(&declined), &kinesis.GetRecordsInput{
		ShardIterator: &r.iterator,
		StreamARN:     r.stream.arn(),
		Limit:         r.limit(),
	})
	if err != nil {
		err = kinesisFailed(ctx, "read shard "+r.shard.ID+" of "+r.stream.name, err)
		r.pace(asked, declined, err)
		return nil, err
	}
	r.pace(asked, got.read, nil)
	return got, nil
}

// ends returns nil where it is shown that the shard has ended. A reply without a
// next iterator shows it alone as little as an empty one does: whoever believes
// it never reads an open shard again. The children that follow the shard show it,
// and so does the listing, where the shard is closed or past the retention.
func (r *ShardReader) ends(ctx context.Context, children []stream.Shard) error {
	ours := func(c stream.Shard) bool { return slices.Contains(c.Parents, r.shard.ID) }
	if len(children) > 0 && !slices.ContainsFunc(children, func(c stream.Shard) bool { return !ours(c) }) {
		return nil
	}
	doing := "read shard " + r.shard.ID + " of " + r.stream.name + " to its end"
	shards, err := r.stream.Shards(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", incomplete(doing, "it names no next iterator, and whether the shard has ended is not to be learnt"), err)
	}
	at := slices.IndexFunc(shards, func(s stream.Shard) bool { return s.ID == r.shard.ID })
	if at >= 0 && !shards[at].Closed {
		return incomplete(doing, "it names no next iterator, and the shard is listed as open")
	}
	return nil
}

// asking is room that notes how long a reply was that it declined: for the
// shard's limits it was read.
func (r *ShardReader) asking(declined *int) func(bytes int) error {
	if r.room == nil {
		return nil
	}
	return func(bytes int) error {
		err := r.room(bytes)
		if err != nil {
			*declined = bytes
		}
		return err
	}
}

func (r *ShardReader) limit() *int32 {
	if r.Limit <= 0 {
		return nil
	}
	return &r.Limit
}

func (r *ShardReader) pace(asked time.Time, read int, err error) {
	gap := max(callGap, time.Duration(float64(read)/bytesPerSecond*float64(time.Second))) + callMargin
	if errors.Is(err, stream.ErrThrottled) {
		// Spread, so that workers that were throttled together do not come back together.
		gap = throttleWindow + rand.N(throttleWindow/2)
	}
	r.notBefore = asked.Add(gap)
}

// deliver makes a page of the reply and moves on. The records come before the
// iterator is looked at: the last page of a shard may hold some.
func (r *ShardReader) deliver(got *reply) stream.Page {
	page := stream.Page{Behind: got.behind, AsOf: got.asOf, Bytes: got.held, Free: got.free}
	if r.expect != "" && got.first != "" {
		// A sequence position names a record that was there once.
		page.Trimmed = stream.CompareSequence(got.first, r.expect) > 0
		r.expect = ""
	}
	// What is covered comes first, as records come in order.
	page.Records = got.records
	for len(page.Records) > 0 && r.at.Covers(page.Records[0]) {
		page.Records = page.Records[1:]
	}
	if n := len(page.Records); n > 0 {
		r.at = stream.After(page.Records[n-1])
	}
	r.iterator = got.next
	if got.next == "" {
		page.Ended = true
		r.ended = &stream.Page{Ended: true}
	}
	return page
}

// open takes an iterator at r.at. A sequence position is opened at its record,
// not after it: an aggregated record may have been delivered in part, and the
// record's absence shows that it was trimmed.
func (r *ShardReader) open(ctx context.Context) error {
	in := &kinesis.GetShardIteratorInput{
		StreamName: r.stream.plainName(), StreamARN: r.stream.arn(), ShardId: &r.shard.ID,
	}
	r.expect = ""
	switch {
	case r.at.IsSequence():
		in.ShardIteratorType, in.StartingSequenceNumber = types.ShardIteratorTypeAtSequenceNumber, &r.at.Sequence
		if r.at.Sub >= 0 {
			r.expect = r.at.Sequence
		}
	case r.at.Sequence == stream.TrimHorizon:
		in.ShardIteratorType = types.ShardIteratorTypeTrimHorizon
	case r.at.Sequence == stream.AtTimestamp:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, sdk.Time(r.at.Time())
	case r.at.Sequence == stream.Latest && r.opened.IsZero():
		in.ShardIteratorType = types.ShardIteratorTypeLatest
	case r.at.Sequence == stream.Latest:
		in.ShardIteratorType, in.Timestamp = types.ShardIteratorTypeAtTimestamp, sdk.Time(r.opened.Add(-latestSlack))
	default:
		return fmt.Errorf("read shard %s of %s from %q: %w", r.shard.ID, r.stream.name, r.at, stream.ErrBadPosition)
	}
	asked := time.Now()
	out, err := r.stream.account.kinesis.GetShardIterator(ctx, in)
	if err != nil {
		err = kinesisFailed(ctx, fmt.Sprintf("find position %s in shard %s of %s", r.at, r.shard.ID, r.stream.name), err)
		if !r.at.IsSequence() && errors.Is(err, stream.ErrBadPosition) {
			// A place in words is in every shard: something else was wrong.
			err = fmt.Errorf("the service refused the request: %s", err.Error())
		}
		r.pace(asked, 0, err)
		return err
	}
	if sdk.ToString(out.ShardIterator) == "" {
		return incomplete(fmt.Sprintf("find position %s in shard %s of %s", r.at, r.shard.ID, r.stream.name), "it holds no iterator")
	}
	r.iterator = *out.ShardIterator
	if r.opened.IsZero() {
		r.opened = r.stream.account.ServiceTime(asked)
	}
	return nil
}

// Record reads the events of one Kinesis record once more. None are returned
// where the stream has it no longer. They are the caller's to keep.
func (s *Stream) Record(ctx context.Context, shard stream.Shard, sequence string) ([]stream.Record, error) {
	r := s.Reader(shard, stream.BeforeSequence(sequence))
	r.Limit = 1
	for {
		if err := pause(ctx, time.Until(r.NotBefore())); err != nil {
			return nil, err
		}
		page, err := r.Next(ctx)
		switch {
		case err != nil:
			return nil, err
		case len(page.Records) > 0 && page.Records[0].SequenceNumber == sequence:
			return page.Records, nil
		case len(page.Records) > 0 || page.Ended || page.Behind == 0:
			return nil, nil
		}
	}
}
