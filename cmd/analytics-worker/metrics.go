package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// metricsNamespace is where alarms and scaling policies look.
const metricsNamespace = "CloudCafe/Analytics"

// cloudWatch sends what package metrics measures by what package aws offers:
// neither knows the other.
type cloudWatch struct {
	to    *aws.Metrics
	every time.Duration // below a minute, what is sent more often is kept apart
}

// PutMetricData sends the data.
func (c cloudWatch) PutMetricData(ctx context.Context, data []metrics.Datum) error {
	out := make([]aws.Datum, len(data))
	for i, d := range data {
		out[i] = aws.Datum{Name: d.Name, Unit: d.Unit, Time: d.Time, Values: d.Values, Counts: d.Counts, BySecond: c.every < time.Minute}
		for _, dim := range d.Dimensions {
			out[i].Dimensions = append(out[i].Dimensions, aws.Dimension(dim))
		}
	}
	err := c.to.PutMetricData(ctx, out)
	if errors.Is(err, aws.ErrUnsettled) {
		return fmt.Errorf("%w: %w", err, metrics.ErrUnsettled)
	}
	return err
}

// measure names where the gauges come from.
func measure(m *metrics.Metrics, status func() worker.Status, retention func() time.Duration) {
	// A worker that owns no shards has nothing to say of how far behind it is.
	behind := func() (time.Duration, bool) {
		s := status()
		return s.Behind, len(s.Shards) > 0
	}
	m.Behind.From(func() (float64, bool) {
		b, known := behind()
		return float64(b.Milliseconds()), known
	})
	lag := func() (time.Duration, bool) {
		s := status()
		return s.Lag, len(s.Shards) > 0
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
		kept := retention()
		return max(0, kept-l).Seconds(), known && kept > 0
	})
	m.Parked.From(func() (float64, bool) { return float64(status().Parked), true })
	m.ShardLag.From(func() map[string]float64 {
		out := make(map[string]float64)
		for _, s := range status().Shards {
			out[s.ID] = float64(s.Lag.Milliseconds())
		}
		return out
	})
	m.ShardBehind.From(func() map[string]float64 {
		out := make(map[string]float64)
		for _, s := range status().Shards {
			out[s.ID] = float64(s.Behind.Milliseconds())
		}
		return out
	})
}

// registry is what /metrics shows: the worker's metrics, the process and Go.
func registry(m *metrics.Metrics) (*prometheus.Registry, error) {
	ours, err := metrics.Collector(m)
	if err != nil {
		return nil, err
	}
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		ours, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

// retention is how long the stream keeps records, asked now and then: it can be
// raised at any time.
type retention struct{ last atomic.Int64 }

const (
	retentionEvery = 10 * time.Minute
	retentionRetry = 30 * time.Second
)

func (r *retention) get() time.Duration { return time.Duration(r.last.Load()) }

// follow asks until ctx ends.
func (r *retention) follow(ctx context.Context, source *aws.Stream, log *slog.Logger) {
	for ctx.Err() == nil {
		next := retentionEvery
		if s, err := source.Summary(ctx); err == nil {
			r.last.Store(int64(s.Retention))
		} else {
			next = retentionRetry
			log.Debug("the stream's retention is not known; RetentionHeadroom is not published", "error", err)
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// startMetrics publishes until the returned function is called. That function
// waits for the last publication, a few seconds at most.
func (s *service) startMetrics(ctx context.Context, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { s.retention.follow(ctx, s.source, log) })
	if s.publisher != nil {
		running.Go(func() { s.publisher.Run(ctx) })
	}
	return func() { cancel(); running.Wait() }
}

// openMetrics connects the worker's metrics to whoever reads them.
func (s *service) openMetrics(c config, account *aws.Account, log *slog.Logger) (err error) {
	measure(s.metrics, s.worker.Status, s.retention.get)
	if c.MetricsInterval == 0 {
		return nil
	}
	s.publisher, err = metrics.NewPublisher(cloudWatch{account.Metrics(metricsNamespace), c.MetricsInterval}, c.MetricsInterval, log,
		metrics.Set{Metrics: s.metrics, Dimensions: []metrics.Dimension{{Name: "Environment", Value: c.Environment}}})
	return err
}
