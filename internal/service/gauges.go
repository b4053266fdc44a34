package service

import (
	"context"
	"sync/atomic"
	"time"
)

// measure names where the gauges come from.
func (s *Service) measure() {
	m := s.Metrics
	// A worker that owns no shards has nothing to say of how far behind it is, nor has one
	// of shards that it has not read yet, unless it is known to be behind on others.
	behind := func() (time.Duration, bool) {
		st := s.Worker.Status()
		return st.Behind, st.Behind > 0 || st.Read()
	}
	m.Behind.From(func() (float64, bool) {
		b, known := behind()
		return float64(b.Milliseconds()), known
	})
	lag := func() (time.Duration, bool) {
		st := s.Worker.Status()
		return st.Lag, st.Lag > 0 || st.Read()
	}
	m.BehindCommitted.From(func() (float64, bool) {
		l, known := lag()
		return float64(l.Milliseconds()), known
	})
	// A record is trimmed once it is as old as the retention, however fast or slow
	// the reading is. One that is read and not loaded is lost with its worker, and
	// has to be read again: it counts until it is loaded.
	m.RetentionHeadroom.From(func() (float64, bool) {
		l, known := lag()
		kept := s.retention.get()
		return max(0, kept-l).Seconds(), known && kept > 0
	})
	m.Staged.From(func() (float64, bool) {
		staged := s.Staged()
		return float64(staged.OldestMillis), staged.Loader != ""
	})
	m.Parked.From(func() (float64, bool) { return float64(s.Worker.Status().Parked), true })
	m.ShardLag.From(func() map[string]float64 {
		out := make(map[string]float64)
		for _, sh := range s.Worker.Status().Shards {
			if sh.Lag > 0 || sh.Read {
				out[sh.ID] = float64(sh.Lag.Milliseconds())
			}
		}
		return out
	})
	m.ShardBehind.From(func() map[string]float64 {
		out := make(map[string]float64)
		for _, sh := range s.Worker.Status().Shards {
			if sh.Behind > 0 || sh.Read {
				out[sh.ID] = float64(sh.Behind.Milliseconds())
			}
		}
		return out
	})
}

// retention is how long the stream keeps records, asked now and then: it can be
// raised at any time.
type retention struct{ last atomic.Int64 }

const (
	retentionEvery = 10 * time.Minute
	retentionRetry = 30 * time.Second
)

func (r *retention) get() time.Duration { return time.Duration(r.last.Load()) }

// followRetention asks until ctx ends.
func (s *Service) followRetention(ctx context.Context) {
	for ctx.Err() == nil {
		next := retentionEvery
		if sum, err := s.source.Summary(ctx); err == nil {
			s.retention.last.Store(int64(sum.Retention))
		} else {
			next = retentionRetry
			s.log.Debug("the stream's retention is not known; RetentionHeadroom is not published", "error", err)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}
