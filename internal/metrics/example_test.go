package metrics_test

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
)

// A field with its tags is the whole declaration of a metric.
func ExampleCollector() {
	var baked struct {
		Loaves metrics.Counter      `cloudwatch:"Loaves" prometheus:"loaves_total" help:"Loaves that came out of the oven."`
		Took   metrics.Distribution `cloudwatch:"BakeTime" unit:"Milliseconds" prometheus:"bake_seconds" help:"Time of a loaf in the oven."`
	}
	collector, err := metrics.Collector(&baked)
	if err != nil {
		fmt.Println(err)
		return
	}
	baked.Loaves.Add(3)
	baked.Took.Observe(1500*time.Millisecond, 3)

	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		m := f.GetMetric()[0]
		fmt.Println(f.GetName(), m.GetCounter().GetValue(), m.GetHistogram().GetSampleSum())
	}
	// Output:
	// analytics_worker_bake_seconds 0 4.5
	// analytics_worker_loaves_total 3 0
}
