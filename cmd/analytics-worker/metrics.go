package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
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

// openPublisher returns what publishes the worker's metrics; nil = they are not sent.
func openPublisher(c config, account *aws.Account, m *metrics.Metrics, log *slog.Logger) (*metrics.Publisher, error) {
	if c.MetricsInterval == 0 {
		return nil, nil
	}
	return metrics.NewPublisher(cloudWatch{account.Metrics(metricsNamespace), c.MetricsInterval}, c.MetricsInterval, log,
		metrics.Set{Metrics: m, Dimensions: []metrics.Dimension{{Name: "Environment", Value: c.Environment}}})
}
