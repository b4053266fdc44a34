package kinesis

import (
	"slices"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// shardFilter chooses shards by the time at which they were open.
type shardFilter struct {
	Type      *string
	ShardId   *string  `json:",omitempty"`
	Timestamp *float64 `json:",omitempty"` // unix s
}

var filterTypes = []string{"AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP"}

// after leaves the shards that come after the one with the id, which itself
// may be gone: ids are in order.
func after(shards []*shard, id string) []*shard {
	return slices.DeleteFunc(shards, func(s *shard) bool { return s.id <= id })
}

func describeAll(shards []*shard) []shardDescription {
	out := make([]shardDescription, 0, len(shards))
	for _, s := range shards {
		out = append(out, s.description())
	}
	return out
}

type listShardsInput struct {
	target
	NextToken               *string
	MaxResults              *int64
	ExclusiveStartShardId   *string
	StreamCreationTimestamp *float64
	ShardFilter             *shardFilter
}

func (c *call) listShards() *wire.Error {
	var in listShardsInput
	if err := c.read(&in); err != nil {
		return err
	}
	var check checks
	size := int64(1000)
	limit := check.number(in.MaxResults, "maxResults", 1, 10_000, &size)
	if in.ShardFilter != nil {
		check.oneOf(in.ShardFilter.Type, "shardFilter.type", filterTypes...)
	}
	if err := check.err(); err != nil {
		return err
	}
	st, from, bad := c.listFrom(in)
	if bad != nil {
		return bad
	}
	shards := st.listed(c.now)
	if from.Filter != nil {
		if shards, bad = st.filter(shards, from.Filter, c); bad != nil {
			return bad
		}
	}
	if from.After != "" {
		shards = after(shards, from.After)
	}
	out := struct {
		Shards    []shardDescription
		NextToken string `json:",omitempty"`
	}{Shards: describeAll(shards[:min(limit, len(shards))])}
	if len(shards) > limit {
		from.After, from.Issued = shards[limit-1].id, c.now.UnixMilli()
		out.NextToken = c.service.seal.close(shardsToken, from)
	}
	return c.reply(out)
}

// listFrom is the stream to list and where to go on, from the token of the
// last page or from the request itself.
func (c *call) listFrom(in listShardsInput) (*stream, page, *wire.Error) {
	if in.NextToken == nil {
		st, err := c.stream(in.target)
		if err != nil {
			return nil, page{}, err
		}
		from := page{Stream: st.name, Created: st.created, Filter: in.ShardFilter}
		if in.ExclusiveStartShardId != nil {
			from.After = *in.ExclusiveStartShardId
		}
		return st, from, nil
	}
	if in.StreamARN != nil { // AWS's words; its API reference names StreamName alone
		return nil, page{}, wire.Errorf(codeArgument, "NextToken and StreamARN cannot be provided together.")
	}
	if in.StreamName != nil || in.ExclusiveStartShardId != nil || in.StreamCreationTimestamp != nil || in.ShardFilter != nil {
		return nil, page{}, wire.Errorf(codeArgument, "NextToken cannot be given together with StreamName, ExclusiveStartShardId, StreamCreationTimestamp or ShardFilter.")
	}
	var from page
	if !c.service.seal.open(shardsToken, *in.NextToken, &from) {
		return nil, page{}, wire.Errorf(codeArgument, "NextToken is invalid.")
	}
	if c.now.UnixMilli()-from.Issued > tokenLifetime {
		return nil, page{}, wire.Errorf("ExpiredNextTokenException", "NextToken expired: it was given more than %d ms ago.", tokenLifetime)
	}
	st, err := c.service.stream(from.Stream)
	if err == nil && st.created != from.Created {
		err = wire.Errorf(codeArgument, "NextToken is of a stream %s that was deleted.", from.Stream)
	}
	return st, from, err
}

// filter leaves the shards that the filter chooses.
func (st *stream) filter(shards []*shard, f *shardFilter, c *call) ([]*shard, *wire.Error) {
	kind := *f.Type
	st.mu.RLock()
	at := max(st.horizon(c.now), st.created)
	st.mu.RUnlock()
	switch kind {
	case "AFTER_SHARD_ID":
		if f.ShardId == nil {
			return nil, wire.Errorf(codeArgument, "ShardFilter of type AFTER_SHARD_ID needs a ShardId.")
		}
		return after(shards, *f.ShardId), nil
	case "AT_LATEST":
		return slices.DeleteFunc(shards, (*shard).isClosed), nil
	case "AT_TIMESTAMP", "FROM_TIMESTAMP":
		if f.Timestamp == nil {
			return nil, wire.Errorf(codeArgument, "ShardFilter of type %s needs a Timestamp.", kind)
		}
		if *f.Timestamp > float64(c.now.UnixMilli()+1)/1000 {
			return nil, wire.Errorf(codeArgument, "The Timestamp of a ShardFilter must not be in the future.")
		}
		at = max(at, milliseconds(*f.Timestamp))
	}
	open := kind == "AT_TRIM_HORIZON" || kind == "AT_TIMESTAMP"
	return slices.DeleteFunc(shards, func(s *shard) bool {
		opened, closed := s.lifetime()
		return closed > 0 && closed <= at || open && opened > at
	}), nil
}

func (c *call) listStreams() *wire.Error {
	var in struct {
		ExclusiveStartStreamName *string
		NextToken                *string
		Limit                    *int64
	}
	if err := c.read(&in); err != nil {
		return err
	}
	var check checks
	size := int64(defaultListSize)
	limit := check.number(in.Limit, "limit", 1, 10_000, &size)
	if err := check.err(); err != nil {
		return err
	}
	var from page
	if in.ExclusiveStartStreamName != nil {
		from.After = *in.ExclusiveStartStreamName
	}
	if in.NextToken != nil && !c.service.seal.open(streamsToken, *in.NextToken, &from) {
		return wire.Errorf(codeArgument, "NextToken is invalid.")
	}
	names := slices.DeleteFunc(c.service.names(), func(n string) bool { return n <= from.After })
	out := struct {
		StreamNames     []string
		StreamSummaries []streamSummary
		HasMoreStreams  bool
		NextToken       string `json:",omitempty"`
	}{StreamNames: []string{}, StreamSummaries: []streamSummary{}, HasMoreStreams: len(names) > limit}
	for _, name := range names[:min(limit, len(names))] {
		st, err := c.service.stream(name)
		if err != nil {
			continue // deleted meanwhile
		}
		out.StreamNames = append(out.StreamNames, name)
		st.mu.RLock()
		out.StreamSummaries = append(out.StreamSummaries, streamSummary{name, st.arn(), "ACTIVE", streamMode{st.mode}, seconds(st.created)})
		st.mu.RUnlock()
	}
	if out.HasMoreStreams {
		out.NextToken = c.service.seal.close(streamsToken, page{After: names[limit-1], Issued: c.now.UnixMilli()})
	}
	return c.reply(out)
}

// listConsumers lists who reads with enhanced fan-out: nobody, as it is not served.
func (c *call) listConsumers() *wire.Error {
	var in struct {
		StreamARN               *string
		MaxResults              *int64
		NextToken               *string
		StreamCreationTimestamp *float64
	}
	if err := c.read(&in); err != nil {
		return err
	}
	var check checks
	size := int64(100)
	check.number(in.MaxResults, "maxResults", 1, 10_000, &size)
	switch err := check.err(); {
	case err != nil:
		return err
	case in.StreamARN == nil:
		return wire.Errorf(codeArgument, "StreamARN must be given.")
	case in.NextToken != nil:
		return wire.Errorf(codeArgument, "NextToken is of no list of consumers.")
	}
	if _, err := c.stream(target{StreamARN: in.StreamARN}); err != nil {
		return err
	}
	return c.reply(struct{ Consumers []struct{} }{[]struct{}{}})
}
