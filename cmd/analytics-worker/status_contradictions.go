package main

import (
	"maps"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// identity is which stream was asked; zero = it did not answer.
func (s *survey) identity() stream.Identity { return s.summary.Identity() }

// foreign reports whether the position is of another stream of this name.
func (s *survey) foreign(c warehouse.Checkpoint) bool {
	return !c.Stream.IsZero() && !s.identity().IsZero() && !c.Stream.Equal(s.identity())
}

// over reports whether the shard was read to its end, and has one.
func (s *survey) over(sh stream.Shard) bool {
	c := s.checkpoints[sh.ID]
	return c.Position.Sequence == stream.ShardEnd && !s.foreign(c) && !s.open(sh)
}

// open reports whether the shard takes records still: neither the listing nor
// reading it shows an end, and no child of it is listed.
func (s *survey) open(sh stream.Shard) bool {
	followed := slices.ContainsFunc(s.shards, func(o stream.Shard) bool { return slices.Contains(o.Parents, sh.ID) })
	return !sh.Closed && !s.closed[sh.ID] && !followed
}

// judgement is what shards, positions and leases say of each other.
type judgement struct {
	told []told
	idle int // shards that nobody works on, without another reason
}

// told is one thing that contradicts itself.
type told struct {
	lease.Contradiction
	Other bool // the stream is another one than the positions are of
}

// names reports whether something is told of the shard, or of all shards.
func (j judgement) names(shard string) bool {
	return slices.ContainsFunc(j.told, func(c told) bool { return c.Shard == "" || c.Shard == shard })
}

// judge goes by the judgement of the workers. The warehouse's positions stand in
// for the leases' copies of them.
func (s *survey) judge(now time.Time) (j judgement) {
	if other := s.otherStream(); other != nil {
		j.told = append(j.told, told{Contradiction: lease.Contradiction{What: other.Error(), Err: other}, Other: true})
	}
	rows := maps.Clone(s.leases)
	for id, c := range s.checkpoints {
		if r := rows[id]; r.Unreadable == "" && !s.foreign(c) {
			r.Shard, r.Checkpoint = id, c.Position
			if rows == nil {
				rows = make(map[string]lease.Row)
			}
			rows[id] = r
		}
	}
	shards := slices.Clone(s.shards)
	for i := range shards {
		shards[i].Closed = !s.open(shards[i])
	}
	view := lease.Glance(s.identity(), shards, slices.Collect(maps.Values(rows)), s.alive, now)
	for _, c := range view.Contradictions() {
		if c.Wrong == lease.NoOwner { // without a worker there are many
			j.idle++
			continue
		}
		j.told = append(j.told, told{Contradiction: c})
	}
	return j
}

// otherStream says so where positions are of another stream of this name.
func (s *survey) otherStream() *worker.OtherStreamError {
	for _, c := range s.checkpoints {
		if s.foreign(c) {
			return &worker.OtherStreamError{Name: s.summary.Name, Ours: s.identity(), Theirs: c.Stream}
		}
	}
	return nil
}
