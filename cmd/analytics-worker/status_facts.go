package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// question is one to the warehouse. A warehouse that has not even started it is
// not waited for as long as one that is slow.
type question struct {
	cancel context.CancelCauseFunc
	timers [2]*time.Timer

	mu    sync.Mutex // guards what follows
	began time.Time
	last  *warehouse.Progress
}

var errNotStarted = errors.New("the warehouse has taken it and not started it within " + quickTime.String())

// ask returns a context for a question to the warehouse.
func ask(ctx context.Context) (context.Context, *question) {
	q := &question{began: time.Now()}
	ctx, q.cancel = context.WithCancelCause(ctx)
	q.timers[0] = time.AfterFunc(quickTime, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		switch {
		case q.last == nil:
			q.cancel(errQuickTime)
		case !q.last.Started && q.last.Err == nil:
			q.cancel(errNotStarted)
		}
	})
	q.timers[1] = time.AfterFunc(warehouseTime, func() { q.cancel(errWarehouseTime) })
	return warehouse.Watched(ctx, func(p warehouse.Progress) {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.last = &p
		if errors.Is(p.Err, warehouse.ErrDenied) {
			q.cancel(p.Err) // asking again would not change it
		}
	}), q
}

func (q *question) end() {
	for _, t := range q.timers {
		t.Stop()
	}
	q.cancel(nil)
}

// unanswered is for how long the warehouse was waited for, and how far it got, where
// time ran out.
func (q *question) unanswered(ctx context.Context) (waited time.Duration, phase verdict.Phase) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errNotStarted):
		phase = verdict.Queued
	case errors.Is(cause, errWarehouseTime) && q.last != nil && q.last.Started:
		phase = verdict.Running
	case !errors.Is(cause, errWarehouseTime):
		return 0, verdict.NotKnown // it failed, or nothing answers
	}
	return time.Since(q.began), phase
}

// facts are what the survey knows, and what the workers say. lag is that of the
// shards that are known.
func (s *survey) facts(r statusReport, lag *int64, now time.Time) verdict.Facts {
	f := verdict.Facts{
		Now: now, Names: s.config.verdictNames(s.account), Clock: verdict.Clock{Known: true, Skew: now.Sub(s.account.ServiceTime(now))},
		Stream: verdict.Stream{
			Source: verdict.Source{Asked: true, Trouble: vitals.Trouble(vitals.Kinesis, s.asked.stream, time.Time{}, nextStepOf)}, Status: s.summary.Status, Retention: s.summary.Retention,
		},
		Lag: verdict.Lag{Known: r.LagMillis != nil, Shards: len(s.shards)},
	}
	if lag != nil {
		f.Lag.Committed = time.Duration(*lag) * time.Millisecond
	}
	if s.asked.stream == nil {
		f.Stream.At = now
	}
	f.Loads.Write = verdict.Write{Known: true, Waiting: s.asked.waited, Phase: s.asked.phase}
	if r.Staged != nil {
		f.Loads.Staged = *r.Staged
	}
	if s.asked.waited == 0 {
		f.Loads.Trouble = vitals.Trouble(vitals.DataAPI, s.asked.warehouse, time.Time{}, nextStepOf)
	}
	s.leaseFacts(&f, r, now)
	s.readFacts(&f, r)
	return f
}

func (s *survey) leaseFacts(f *verdict.Facts, r statusReport, now time.Time) {
	l := &f.Leases
	l.Shared = s.config.LeaseTable != service.NoLeaseTable
	l.Source = verdict.Source{Asked: l.Shared, Trouble: vitals.Trouble(vitals.DynamoDB, s.asked.leases, time.Time{}, nextStepOf)}
	if l.Shared && s.asked.leases == nil {
		l.At = now
	}
	l.Live = len(s.alive)
	j := s.judge(now)
	for _, c := range j.told {
		l.Alarms = append(l.Alarms, verdict.Alarm{What: c.Error(), Next: nextStep(&c.Contradiction), Stream: c.Other})
	}
	l.Lost = s.noLeases && len(s.checkpoints) > 0
	l.Never = s.checkpoints != nil && len(s.checkpoints) == 0
	dead := make(map[string]int)
	for _, sh := range r.Shards {
		if sh.State == "loaded" || sh.State == "waiting" {
			continue
		}
		l.Shards++
		switch {
		case j.names(sh.ID):
		case s.asked.leases != nil, !l.Shared && sh.Position != "":
		case sh.Owner == "":
			l.Unowned++
		case sh.OwnerAlive != nil && !*sh.OwnerAlive:
			dead[sh.Owner]++
		}
	}
	for _, owner := range slices.Sorted(maps.Keys(dead)) {
		l.Dead = append(l.Dead, verdict.Dead{Worker: owner, Shards: dead[owner]})
	}
	var rows []lease.Seen
	for _, row := range s.leases {
		rows = append(rows, lease.Seen{Row: row})
	}
	f.Told = vitals.Told(rows, func(row lease.Seen) bool { return s.alive[row.Owner] })
}

func (s *survey) readFacts(f *verdict.Facts, r statusReport) {
	f.Reads = verdict.Reads{Known: true, Shards: len(s.places) + len(s.asked.reads), Failing: len(s.asked.reads), Window: quickTime}
	f.Reads.Failed, f.Reads.Done = int64(len(s.asked.reads)), int64(len(s.places))
	for _, id := range slices.Sorted(maps.Keys(s.asked.reads)) {
		f.Reads.Trouble, f.Reads.Longest = vitals.Trouble(vitals.Kinesis, s.asked.reads[id], time.Time{}, nextStepOf), quickTime
	}
	for _, sh := range r.Shards {
		if sh.LagMillis != nil {
			f.Lag.By = append(f.Lag.By, verdict.ShardLag{Shard: sh.ID, Owner: sh.Owner, Lag: time.Duration(*sh.LagMillis) * time.Millisecond})
		}
	}
	if r.CompleteUntil != nil {
		f.Lag.Until = *r.CompleteUntil
	}
}
