package metrics

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Collector shows a set of metrics (a pointer to a struct like Metrics) to
// Prometheus. What CloudWatch gets in milliseconds is shown in seconds, as is
// the custom there.
func Collector(set any) (prometheus.Collector, error) {
	declared, err := Declared(set)
	if err != nil {
		return nil, err
	}
	c := &collector{}
	for _, d := range declared {
		if d.Prometheus == "" {
			continue
		}
		var labels []string
		if d.Label != "" {
			labels = []string{d.Label}
		}
		scale := 1.0
		if d.Unit == "Milliseconds" {
			scale = 1e-3
		}
		c.shown = append(c.shown, shown{d, prometheus.NewDesc(d.Prometheus, d.Help, labels, nil), scale})
	}
	return c, nil
}

type collector struct{ shown []shown }

type shown struct {
	Declaration
	desc  *prometheus.Desc
	scale float64 // from the unit that CloudWatch gets
}

// Describe lists the metrics.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, s := range c.shown {
		out <- s.desc
	}
}

// Collect reads them.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c.shown {
		s.collect(out)
	}
}

func (s shown) collect(out chan<- prometheus.Metric) {
	tell := func(kind prometheus.ValueType, v float64, labels ...string) {
		m, err := prometheus.NewConstMetric(s.desc, kind, v, labels...)
		if err != nil {
			m = prometheus.NewInvalidMetric(s.desc, err)
		}
		out <- m
	}
	switch i := s.instrument.(type) {
	case *Counter:
		tell(prometheus.CounterValue, float64(i.Value()))
	case *CounterBy:
		for label, n := range i.Values() {
			tell(prometheus.CounterValue, float64(n), label)
		}
	case *Gauge:
		if v, ok := i.Value(); ok {
			tell(prometheus.GaugeValue, v*s.scale)
		}
	case *GaugeBy:
		for label, v := range i.Values() {
			tell(prometheus.GaugeValue, v*s.scale, label)
		}
	case *Distribution:
		out <- histogram(s.desc, i.read())
	}
}

// edges are the histograms' buckets, in seconds: from a fast INSERT to a day's
// backlog.
var edges = [...]float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600}

// histogram counts a fine bucket to the first edge that it does not pass by more
// than 2 %: half a bucket, which is how exact the fine ones are.
func histogram(desc *prometheus.Desc, fine []tally) prometheus.Metric {
	coarse := make(map[float64]uint64, len(edges))
	count, sum, next := uint64(0), 0.0, 0
	for _, edge := range edges {
		for ; next < len(fine) && bucketTop(next) <= edge*1000*math.Sqrt(growth); next++ {
			count += uint64(fine[next].n)
			sum += fine[next].sum
		}
		coarse[edge] = count
	}
	for ; next < len(fine); next++ {
		count += uint64(fine[next].n)
		sum += fine[next].sum
	}
	m, err := prometheus.NewConstHistogram(desc, count, sum/1000, coarse)
	if err != nil {
		return prometheus.NewInvalidMetric(desc, err)
	}
	return m
}
