package kinesis

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	accountID       = "000000000000"
	modeProvisioned = "PROVISIONED"
	modeOnDemand    = "ON_DEMAND"

	defaultRetentionHours = 24
	maxRetentionHours     = 8760
	defaultMaxRecordBytes = 1 << 20
)

// stream is one data stream.
type stream struct {
	name    string
	region  string // of the call that created it; only its ARN shows it
	created int64  // unix ms
	dir     string // "" in memory

	// mu is held for reading while records are put, so that none lands in a
	// shard after it was closed. It guards what follows; a shard's own lock
	// guards what is in the shard.
	mu        sync.RWMutex
	shards    []*shard // every one there ever was, by index
	open      []*shard // by hash range
	mode      string
	retention int // hours
	maxRecord int // bytes, key and data
	tags      map[string]string
	resized   []int64 // when UpdateShardCount was called in the last day, unix ms
}

// newStream makes a stream of n open shards that divide the hash range evenly.
func newStream(name, region string, n int, now time.Time) *stream {
	st := &stream{
		name: name, region: region, created: now.UnixMilli(), mode: modeProvisioned,
		retention: defaultRetentionHours, maxRecord: defaultMaxRecordBytes, tags: map[string]string{},
	}
	for i := range n {
		high := lastHashKey
		if i+1 < n {
			high = share(i+1, n).previous()
		}
		st.open = append(st.open, st.addShard(share(i, n), high, st.created))
	}
	return st
}

// addShard makes a shard at the next index. The caller puts it among the open
// ones.
func (st *stream) addShard(low, high hashKey, opened int64, parents ...*shard) *shard {
	s := &shard{
		id: shardID(len(st.shards)), index: len(st.shards), low: low, high: high, parents: parents,
		created: st.created, opened: opened, records: newJournal(),
	}
	st.shards = append(st.shards, s)
	return s
}

func (st *stream) arn() string {
	return fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", st.region, accountID, st.name)
}

// horizon is the time at or before which records are past the retention. The
// caller holds st.mu.
func (st *stream) horizon(now time.Time) int64 {
	return now.UnixMilli() - int64(st.retention)*time.Hour.Milliseconds()
}

// route is the open shard for a hash key. The caller holds st.mu.
func (st *stream) route(h hashKey) *shard {
	i := sort.Search(len(st.open), func(i int) bool { return h.less(st.open[i].low) })
	return st.open[i-1] // the first starts at 0
}

// put stores the records, or marks those that it refused.
func (st *stream) put(puts []put, now time.Time, limits bool) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	for i := range puts {
		puts[i].shard = st.route(puts[i].hash)
	}
	for i := range puts {
		if puts[i].ordinal == 0 && puts[i].refused == "" { // the first of its shard
			puts[i].shard.append(puts[i:], now, limits)
		}
	}
}

// shard finds a shard that is not expired.
func (st *stream) shard(id string, now time.Time) (*shard, *wire.Error) {
	st.mu.RLock()
	defer st.mu.RUnlock()
	for _, s := range st.shards {
		if s.id == id && !s.expired(st.horizon(now)) {
			return s, nil
		}
	}
	return nil, wire.Errorf(codeNotFound, "Shard %s in stream %s under account %s does not exist", id, st.name, accountID)
}

// listed are the shards that a list shows: all but the expired ones.
func (st *stream) listed(now time.Time) []*shard {
	st.mu.RLock()
	defer st.mu.RUnlock()
	horizon := st.horizon(now)
	return slices.DeleteFunc(slices.Clone(st.shards), func(s *shard) bool { return s.expired(horizon) })
}

// changeRetention sets how long records are kept, if allowed agrees.
func (st *stream) changeRetention(hours int, now time.Time, allowed func(st *stream, asked, now int) *wire.Error) *wire.Error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := allowed(st, hours, st.retention); err != nil {
		return err
	}
	// What is past the old retention goes first: a longer one does not bring
	// it back.
	horizon := st.horizon(now)
	for _, s := range st.shards {
		s.trim(horizon)
	}
	st.retention = hours
	return st.saved()
}

func (st *stream) tagNames() []string {
	st.mu.RLock()
	defer st.mu.RUnlock()
	return slices.Sorted(maps.Keys(st.tags))
}

// streamOfARN is the name in a stream's ARN.
func streamOfARN(arn string) (string, bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "kinesis" {
		return "", false
	}
	name, ok := strings.CutPrefix(parts[5], "stream/")
	return name, ok && name != ""
}
