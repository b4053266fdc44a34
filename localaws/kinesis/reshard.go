package kinesis

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func sortByRange(shards []*shard) {
	slices.SortFunc(shards, func(a, b *shard) int {
		if a.low.less(b.low) {
			return -1
		}
		return 1
	})
}

// checkCover reports an error unless the open shards, by hash range, hold every
// hash key exactly once.
func checkCover(open []*shard) error {
	want := hashKey{}
	for i, s := range open {
		if s.low != want || s.high.less(s.low) {
			return fmt.Errorf("stream.json: open shard %s starts at %s instead of %s", s.id, s.low, want)
		}
		if i == len(open)-1 && s.high == lastHashKey {
			return nil
		}
		want = s.high.next()
	}
	return errors.New("stream.json: the open shards do not cover the hash range")
}

// replace closes the parents and opens shards for the ranges in their place.
// The caller holds st.mu for writing.
func (st *stream) replace(parents []*shard, now time.Time, ranges ...[2]hashKey) {
	// Later than any record of a parent, so that "the shards open at time T"
	// never leaves out a parent with records at T.
	at := now.UnixMilli()
	for _, p := range parents {
		opened, _ := p.lifetime()
		at = max(at, opened+1, p.newest()+1)
	}
	var children []*shard
	for _, r := range ranges {
		children = append(children, st.addShard(r[0], r[1], at, parents...))
	}
	for _, p := range parents {
		p.close(at, children)
		st.open = slices.DeleteFunc(st.open, func(s *shard) bool { return s == p })
	}
	st.open = append(st.open, children...)
	sortByRange(st.open)
}

// newest is the arrival of the newest record, unix ms.
func (s *shard) newest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// openShard finds a shard that can be split or merged. The caller holds st.mu.
func (st *stream) openShard(id string) (*shard, *wire.Error) {
	for _, s := range st.shards {
		if s.id != id {
			continue
		}
		if s.isClosed() {
			return nil, wire.Errorf(codeArgument, "Shard %s in stream %s under account %s has already been merged or split, and thus is not eligible for merging or splitting.", id, st.name, accountID)
		}
		return s, nil
	}
	return nil, wire.Errorf(codeNotFound, "Could not find shard %s in stream %s under account %s.", id, st.name, accountID)
}

// split divides a shard in two at the hash key, which starts the second.
func (st *stream) split(id, newStart string, now time.Time) *wire.Error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.provisioned(); err != nil {
		return err
	}
	s, bad := st.openShard(id)
	if bad != nil {
		return bad
	}
	at, ok := parseHashKey(newStart)
	if !ok || !s.low.next().less(at) || s.low == lastHashKey || !at.less(s.high) {
		return wire.Errorf(codeArgument, "NewStartingHashKey %s used in SplitShard() on shard %s in stream %s under account %s is not both greater than one plus the shard's StartingHashKey %s and less than the shard's EndingHashKey %s.",
			newStart, id, st.name, accountID, s.low, s.high)
	}
	st.replace([]*shard{s}, now, [2]hashKey{s.low, at.previous()}, [2]hashKey{at, s.high})
	return st.saved()
}

// merge makes one shard of two neighbours.
func (st *stream) merge(id, adjacent string, now time.Time) *wire.Error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.provisioned(); err != nil {
		return err
	}
	a, bad := st.openShard(id)
	if bad != nil {
		return bad
	}
	b, bad := st.openShard(adjacent)
	if bad != nil {
		return bad
	}
	low, high := a, b
	if high.low.less(low.low) {
		low, high = high, low
	}
	if a == b || low.high == lastHashKey || low.high.next() != high.low {
		return wire.Errorf(codeArgument, "Shards %s and %s in stream %s under account %s are not an adjacent pair of shards eligible for merging", id, adjacent, st.name, accountID)
	}
	st.replace([]*shard{a, b}, now, [2]hashKey{low.low, high.high})
	return st.saved()
}

// resize makes the open shards n even parts of the hash range: first it splits
// them wherever a part begins, then it merges those within one part, so each
// step is one that SplitShard or MergeShards could have made.
func (st *stream) resize(n int, now time.Time) {
	for k := 1; k < n; k++ {
		at := share(k, n)
		if s := st.route(at); s.low != at {
			st.replace([]*shard{s}, now, [2]hashKey{s.low, at.previous()}, [2]hashKey{at, s.high})
		}
	}
	for k := range n {
		start := share(k, n)
		for {
			s := st.route(start)
			if s.high == lastHashKey || (k+1 < n && s.high.next() == share(k+1, n)) {
				break
			}
			next := st.route(s.high.next())
			st.replace([]*shard{s, next}, now, [2]hashKey{s.low, next.high})
		}
	}
}

// updateCount is UpdateShardCount with its documented bounds.
func (st *stream) updateCount(n int, now time.Time, limits bool) (before int, _ *wire.Error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.provisioned(); err != nil {
		return 0, err
	}
	before = len(st.open)
	if n > 2*before || 2*n < before {
		return 0, wire.Errorf(codeArgument, "UpdateShardCount cannot more than double or less than halve the open shard count at once. Current count is %d, target is %d.", before, n)
	}
	st.resized = slices.DeleteFunc(st.resized, func(at int64) bool { return at <= now.Add(-24*time.Hour).UnixMilli() })
	if limits && len(st.resized) >= 10 {
		return 0, wire.Errorf(codeLimit, "UpdateShardCount was called 10 times in the last 24 hours for stream %s under account %s.", st.name, accountID)
	}
	st.resized = append(st.resized, now.UnixMilli())
	st.resize(n, now)
	return before, st.saved()
}

// provisioned refuses calls that on-demand streams do not take.
func (st *stream) provisioned() *wire.Error {
	if st.mode == modeProvisioned {
		return nil
	}
	return wire.Errorf(codeValidation, "The stream %s under account %s is in the on-demand capacity mode, in which the service manages the shards.", st.name, accountID)
}

// saved keeps the stream's description. The caller holds st.mu.
func (st *stream) saved() *wire.Error {
	if err := st.save(); err != nil {
		return wire.Internal(err.Error())
	}
	return nil
}
