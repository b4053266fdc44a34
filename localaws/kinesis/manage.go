package kinesis

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	// quota of open shards of an account; AWS's own differ by region and can
	// be raised. It always holds: it bounds the memory of a mistyped count.
	shardQuota      = 20_000
	onDemandShards  = 4 // of a new on-demand stream
	maxTags         = 50
	minRecordKiB    = 1024
	maxRecordKiB    = 10240
	defaultListSize = 100
)

type modeInput struct{ StreamMode *string }

func (c *call) createStream() *wire.Error {
	var in struct {
		StreamName         *string
		ShardCount         *int64
		StreamModeDetails  *modeInput
		MaxRecordSizeInKiB *int64
		Tags               map[string]string
	}
	if err := c.read(&in); err != nil {
		return err
	}
	var check checks
	name := check.text(in.StreamName, "streamName", streamNames)
	mode := modeProvisioned
	if in.StreamModeDetails != nil {
		mode = check.oneOf(in.StreamModeDetails.StreamMode, "streamModeDetails.streamMode", modeProvisioned, modeOnDemand)
	}
	var fallback *int64
	if mode == modeOnDemand {
		fallback = new(int64)
		*fallback = onDemandShards
	}
	count := check.number(in.ShardCount, "shardCount", 1, 100_000, fallback)
	size := int64(minRecordKiB)
	recordKiB := check.number(in.MaxRecordSizeInKiB, "maxRecordSizeInKiB", minRecordKiB, maxRecordKiB, &size)
	if len(in.Tags) > maxTags {
		check.fail(len(in.Tags), "tags", "have length less than or equal to 50")
	}
	if err := check.err(); err != nil {
		return err
	}
	return c.service.add(name, c.region(), count, c.now, func(st *stream) {
		st.mode, st.maxRecord = mode, recordKiB<<10
		maps.Copy(st.tags, in.Tags)
	})
}

// add makes a stream of so many open shards, as edit would have it.
func (s *Service) add(name, region string, count int, now time.Time, edit func(*stream)) *wire.Error {
	open := s.openShards()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[name] != nil {
		return wire.Errorf(codeInUse, "Stream %s under account %s already exists.", name, accountID)
	}
	if open+count > shardQuota {
		return wire.Errorf(codeLimit, "This request would exceed the shard limit for the account %s in %s. Current shard count for the account: %d. Limit: %d. Number of additional shards that would have resulted from this request: %d.",
			accountID, region, open, shardQuota, count)
	}
	st := newStream(name, region, count, s.birth(now))
	edit(st)
	if s.root != "" {
		st.dir = streamDir(s.root, name, st.created)
	}
	if err := st.saved(); err != nil {
		return err
	}
	s.streams[name] = st
	return nil
}

// Create makes a provisioned stream of so many shards, under CreateStream's rules but
// for its rate, and in no call log. A stream of that name that is there already, from
// an earlier run on the same DataDir say, stays as it is.
func (s *Service) Create(name string, shards int) error {
	var check checks
	count := int64(shards)
	check.text(&name, "streamName", streamNames)
	check.number(&count, "shardCount", 1, shardQuota, nil)
	err := check.err()
	if err == nil {
		err = s.add(name, defaultRegion, shards, s.now(), func(*stream) {})
	}
	if err != nil && err.Code != codeInUse {
		return fmt.Errorf("create the stream %q: %w", name, err)
	}
	return nil
}

// birth is when a stream is made, a millisecond that no other stream has:
// sequence numbers and iterators tell by it whose they are. The caller holds s.mu.
func (s *Service) birth(now time.Time) time.Time {
	if now = now.Truncate(time.Millisecond); !now.After(s.born) {
		now = s.born.Add(time.Millisecond)
	}
	s.born = now
	return now
}

// openShards counts the open shards of all streams.
func (s *Service) openShards() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, st := range s.streams {
		st.mu.RLock()
		n += len(st.open)
		st.mu.RUnlock()
	}
	return n
}

func (c *call) deleteStream() *wire.Error {
	var in struct{ target }
	st, bad := c.about(&in, nil)
	if bad != nil {
		return bad
	}
	s := c.service
	s.mu.Lock()
	delete(s.streams, st.name)
	s.mu.Unlock()
	st.mu.Lock() // waits for the puts under way
	defer st.mu.Unlock()
	var errs []error
	for _, sh := range st.shards {
		errs = append(errs, sh.closeLog())
	}
	if st.dir != "" {
		errs = append(errs, os.RemoveAll(st.dir))
		st.dir = ""
	}
	if err := errors.Join(errs...); err != nil {
		return wire.Internal("delete the stream's files: " + err.Error())
	}
	return nil
}

// describe is what both Describe calls show. The caller holds st.mu.
func (st *stream) describe() streamDescription {
	return streamDescription{
		StreamName: st.name, StreamARN: st.arn(), StreamStatus: "ACTIVE", StreamModeDetails: streamMode{st.mode},
		StreamCreationTimestamp: seconds(st.created), RetentionPeriodHours: st.retention,
		EnhancedMonitoring: []monitoring{{ShardLevelMetrics: []string{}}}, EncryptionType: "NONE",
		MaxRecordSizeInKiB: st.maxRecord >> 10,
	}
}

func (c *call) describeStream() *wire.Error {
	var in struct {
		target
		Limit                 *int64
		ExclusiveStartShardId *string
	}
	limit := 0
	st, bad := c.about(&in, func(check *checks) {
		size := int64(defaultListSize)
		limit = min(check.number(in.Limit, "limit", 1, 10_000, &size), defaultListSize)
		if in.ExclusiveStartShardId != nil {
			check.text(in.ExclusiveStartShardId, "exclusiveStartShardId", shardIDs)
		}
	})
	if bad != nil {
		return bad
	}
	shards := st.listed(c.now)
	if in.ExclusiveStartShardId != nil {
		shards = after(shards, *in.ExclusiveStartShardId)
	}
	more := len(shards) > limit
	st.mu.RLock()
	d := st.describe()
	st.mu.RUnlock()
	d.HasMoreShards = &more
	d.Shards = describeAll(shards[:min(limit, len(shards))])
	return c.reply(struct{ StreamDescription streamDescription }{d})
}

func (c *call) describeStreamSummary() *wire.Error {
	var in struct{ target }
	st, bad := c.about(&in, nil)
	if bad != nil {
		return bad
	}
	st.mu.RLock()
	d := st.describe()
	open := len(st.open)
	st.mu.RUnlock()
	d.OpenShardCount, d.ConsumerCount = &open, new(int)
	return c.reply(struct{ StreamDescriptionSummary streamDescription }{d})
}

func (c *call) describeLimits() *wire.Error {
	onDemand := 0
	s := c.service
	for _, name := range s.names() {
		if st, err := s.stream(name); err == nil && st.provisioned() != nil {
			onDemand++
		}
	}
	return c.reply(struct{ ShardLimit, OpenShardCount, OnDemandStreamCount, OnDemandStreamCountLimit int }{
		shardQuota, s.openShards(), onDemand, 50,
	})
}

func (c *call) splitShard() *wire.Error {
	var in struct {
		target
		ShardToSplit       *string
		NewStartingHashKey *string
	}
	var id string
	st, bad := c.about(&in, func(check *checks) {
		id = check.text(in.ShardToSplit, "shardToSplit", shardIDs)
		if in.NewStartingHashKey == nil {
			check.missing("newStartingHashKey")
		}
	})
	if bad != nil {
		return bad
	}
	return st.split(id, *in.NewStartingHashKey, c.now)
}

func (c *call) mergeShards() *wire.Error {
	var in struct {
		target
		ShardToMerge         *string
		AdjacentShardToMerge *string
	}
	var id, adjacent string
	st, bad := c.about(&in, func(check *checks) {
		id = check.text(in.ShardToMerge, "shardToMerge", shardIDs)
		adjacent = check.text(in.AdjacentShardToMerge, "adjacentShardToMerge", shardIDs)
	})
	if bad != nil {
		return bad
	}
	return st.merge(id, adjacent, c.now)
}

func (c *call) updateShardCount() *wire.Error {
	var in struct {
		target
		TargetShardCount *int64
		ScalingType      *string
	}
	var n int
	st, bad := c.about(&in, func(check *checks) {
		n = check.number(in.TargetShardCount, "targetShardCount", 1, shardQuota, nil)
		check.oneOf(in.ScalingType, "scalingType", "UNIFORM_SCALING")
	})
	if bad != nil {
		return bad
	}
	before, bad := st.updateCount(n, c.now, c.service.limits)
	if bad != nil {
		return bad
	}
	return c.reply(struct {
		StreamName, StreamARN               string
		CurrentShardCount, TargetShardCount int
	}{st.name, st.arn(), before, n})
}

func (c *call) updateMaxRecordSize() *wire.Error {
	var in struct {
		target
		MaxRecordSizeInKiB *int64
	}
	var size int
	st, bad := c.about(&in, func(check *checks) {
		size = check.number(in.MaxRecordSizeInKiB, "maxRecordSizeInKiB", minRecordKiB, maxRecordKiB, nil)
	})
	if bad != nil {
		return bad
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.maxRecord = size << 10
	return st.saved()
}

func (c *call) increaseRetention() *wire.Error {
	return c.changeRetention(func(st *stream, asked, now int) *wire.Error {
		if asked < now {
			return wire.Errorf(codeArgument, "Requested retention period (%d hours) for stream %s can not be shorter than existing retention period (%d hours). Use DecreaseRetentionPeriod API.", asked, st.name, now)
		}
		return nil
	})
}

func (c *call) decreaseRetention() *wire.Error {
	return c.changeRetention(func(st *stream, asked, now int) *wire.Error {
		if asked > now {
			return wire.Errorf(codeArgument, "Requested retention period (%d hours) for stream %s can not be longer than existing retention period (%d hours). Use IncreaseRetentionPeriod API.", asked, st.name, now)
		}
		return nil
	})
}

func (c *call) changeRetention(allowed func(st *stream, asked, now int) *wire.Error) *wire.Error {
	var in struct {
		target
		RetentionPeriodHours *int64
	}
	st, bad := c.about(&in, func(check *checks) {
		if in.RetentionPeriodHours == nil {
			check.missing("retentionPeriodHours")
		}
	})
	if bad != nil {
		return bad
	}
	hours := *in.RetentionPeriodHours
	if hours < defaultRetentionHours || hours > maxRetentionHours {
		return wire.Errorf(codeArgument, "Retention period hours %d for stream %s must be from %d to %d.", hours, st.name, defaultRetentionHours, maxRetentionHours)
	}
	return st.changeRetention(int(hours), c.now, allowed)
}

func (c *call) addTags() *wire.Error {
	var in struct {
		target
		Tags map[string]string
	}
	st, bad := c.about(&in, nil)
	if bad != nil {
		return bad
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	tags := maps.Clone(st.tags)
	maps.Copy(tags, in.Tags)
	if len(tags) > maxTags {
		return wire.Errorf(codeArgument, "Failed to add tags to stream %s under account %s because a given stream cannot have more than %d tags associated with it.", st.name, accountID, maxTags)
	}
	st.tags = tags
	return st.saved()
}

func (c *call) removeTags() *wire.Error {
	var in struct {
		target
		TagKeys []string
	}
	st, bad := c.about(&in, nil)
	if bad != nil {
		return bad
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, key := range in.TagKeys {
		delete(st.tags, key)
	}
	return st.saved()
}

func (c *call) listTags() *wire.Error {
	var in struct {
		target
		ExclusiveStartTagKey *string
		Limit                *int64
	}
	limit := 0
	st, bad := c.about(&in, func(check *checks) {
		size := int64(maxTags)
		limit = check.number(in.Limit, "limit", 1, maxTags, &size)
	})
	if bad != nil {
		return bad
	}
	names := st.tagNames()
	if in.ExclusiveStartTagKey != nil {
		names = slices.DeleteFunc(names, func(n string) bool { return n <= *in.ExclusiveStartTagKey })
	}
	out := struct {
		Tags        []tag
		HasMoreTags bool
	}{Tags: []tag{}, HasMoreTags: len(names) > limit}
	st.mu.RLock()
	for _, name := range names[:min(limit, len(names))] {
		out.Tags = append(out.Tags, tag{name, st.tags[name]})
	}
	st.mu.RUnlock()
	return c.reply(out)
}
