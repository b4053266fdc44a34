package aws

import (
	"context"
	"errors"
	"fmt"
	"net"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Fate is what became of an entry that was put once.
type Fate uint8

// The fates.
const (
	Unknown Fate = iota // no answer: it may be on the stream
	Placed              // it is on the stream
	Refused             // it is not
)

// PutOnce puts the entries in one call that is never repeated, not by the SDK
// either, for those to whom a record that is twice on the stream is worse than
// one that has to be looked after. It returns the fate of each entry, and why
// those that are not placed are not. One call takes 500 entries and 5 MiB.
func (s *Stream) PutOnce(ctx context.Context, entries []Entry) ([]Fate, error) {
	doing := fmt.Sprintf("put %s on %s", plural.Of(len(entries), "record"), s.name)
	fates := make([]Fate, len(entries))
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	in := &kinesis.PutRecordsInput{StreamName: s.plainName(), StreamARN: s.arn(), Records: make([]types.PutRecordsRequestEntry, len(entries))}
	for i := range entries {
		e := &entries[i]
		in.Records[i] = types.PutRecordsRequestEntry{Data: e.Data, PartitionKey: &e.PartitionKey, ExplicitHashKey: filled(e.ExplicitHashKey)}
		if e.Data == nil {
			in.Records[i].Data = []byte{} // the SDK asks for data that is there, if empty
		}
	}
	out, err := s.account.kinesis.PutRecords(ctx, in, func(o *kinesis.Options) { o.Retryer = sdk.NopRetryer{} })
	if err != nil {
		if certain(err) {
			for i := range fates {
				fates[i] = Refused
			}
		}
		return fates, kinesisFailed(ctx, doing, err)
	}
	if len(out.Records) != len(entries) {
		return fates, incomplete(doing, "it tells of "+plural.Of(len(out.Records), "record"))
	}
	var first error
	for i, r := range out.Records {
		code := sdk.ToString(r.ErrorCode)
		switch {
		case code != "":
			fates[i] = Refused
		case sdk.ToString(r.SequenceNumber) != "":
			fates[i] = Placed
			continue
		}
		if first == nil {
			first = entryRefused(doing, r)
		}
	}
	return fates, first
}

// certain reports whether a call that failed has surely had no effect: the
// service refused it, or was never reached.
func certain(err error) bool {
	var op *net.OpError
	return !unanswered(err) || errors.As(err, &op) && op.Op == "dial"
}
