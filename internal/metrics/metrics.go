// Package metrics declares what the worker measures, once, as fields of one
// struct. Whoever publishes them (CloudWatch, Prometheus, the status page)
// reads the same values.
//
// A field's tags are its whole declaration:
//
//	cloudwatch  name in CloudWatch; without it the metric is for Prometheus alone
//	unit        unit in CloudWatch's own list; a Counter's is Count
//	prometheus  name there, after the prefix analytics_worker_
//	label       what tells the series of a CounterBy or GaugeBy apart
//	help        what it says, for people
package metrics

import "sync/atomic"

// Metrics is everything that one worker measures. The zero value is ready.
// Counts are settled counts: a record is counted once, after its commit.
type Metrics struct {
	RecordsProcessed Counter `cloudwatch:"RecordsProcessed" prometheus:"records_processed_total" help:"Records loaded or dead-lettered, counted once, after the commit."`
	RecordsRejected  Counter `cloudwatch:"RecordsRejected" prometheus:"records_rejected_total" help:"Records dead-lettered, counted once, after the commit. A row that the warehouse refused counts here when its position moves on, and stays counted when it goes in later: see records_recovered_total."`
	EventsWritten    Counter `cloudwatch:"RedshiftEventsWritten" prometheus:"redshift_events_written_total" help:"Events in committed loads, those superseded by a newer event of the same order included."`
	DuplicateEvents  Counter `cloudwatch:"DuplicateEvents" prometheus:"duplicate_events_total" help:"Written events that changed nothing: repeats, and events older than what the warehouse held."`
	RecordsRecovered Counter `prometheus:"records_recovered_total" help:"Records that the warehouse refused at first, counted as rejected, and that went in at a later try. They are counted in no other metric again."`
	RecordsRead      Counter `prometheus:"records_read_total" help:"Records read from the stream; more than processed after restarts."`

	ShardErrors  Counter `cloudwatch:"ShardProcessingError" prometheus:"shard_processing_errors_total" help:"Reads of a shard that failed, throttles included; they are repeated."`
	WriteErrors  Counter `cloudwatch:"RedshiftWriteError" prometheus:"redshift_write_errors_total" help:"Loads and claims that failed; they are repeated."`
	WorkerErrors Counter `cloudwatch:"WorkerError" prometheus:"worker_errors_total" help:"Anything else that went wrong."`

	WriteDuration Distribution `cloudwatch:"RedshiftWriteDuration" unit:"Milliseconds" prometheus:"redshift_write_duration_seconds" help:"Time of a committed load, from the first call to the answer."`
	EndToEnd      Distribution `cloudwatch:"EndToEndLatency" unit:"Milliseconds" prometheus:"end_to_end_latency_seconds" help:"Time of a record from its arrival on the stream to being queryable."`

	// The maximum over the shards that this worker owns; the statistic Maximum
	// makes of it the maximum over the stream.
	Behind            Gauge `cloudwatch:"MillisBehindLatest" unit:"Milliseconds" prometheus:"behind_latest_seconds" help:"How far reading is behind the newest record, of the owned shard that is furthest behind."`
	BehindCommitted   Gauge `cloudwatch:"MillisBehindCommitted" unit:"Milliseconds" prometheus:"behind_committed_seconds" help:"Age of the oldest record that is not loaded, be it read or not, over the owned shards; 0 = there is none."`
	RetentionHeadroom Gauge `cloudwatch:"RetentionHeadroom" unit:"Seconds" prometheus:"retention_headroom_seconds" help:"Time until the oldest record that is not loaded is trimmed from the stream: the retention less that record's age."`

	Staged Gauge `cloudwatch:"StagedBatchAge" unit:"Milliseconds" prometheus:"oldest_staged_batch_seconds" help:"Age of the oldest batch that is staged for the load of all workers and is not in, as far as this worker knows; 0 = none waits. Without a bucket, or alone, there is none."`
	Parked Gauge `unit:"Count" prometheus:"records_parked" help:"Rows that the warehouse refused and that are tried again by this worker."`

	ShardBehind  GaugeBy   `prometheus:"shard_behind_latest_seconds" unit:"Milliseconds" label:"shard" help:"How far the reading of a shard is behind its newest record."`
	ShardLag     GaugeBy   `prometheus:"shard_behind_committed_seconds" unit:"Milliseconds" label:"shard" help:"Age of a shard's oldest record that is not loaded; 0 = there is none."`
	EventsBy     CounterBy `prometheus:"redshift_events_by_family_total" label:"family" help:"Events in committed loads, by the family that they are of."`
	RejectedFrom CounterBy `prometheus:"records_rejected_by_family_total" label:"family" help:"Records dead-lettered, by the family that they are of; none = it could not be told."`
	RejectedBy   CounterBy `prometheus:"records_rejected_by_reason_total" label:"reason" help:"Records dead-lettered, by reason."`
}

// Counter counts events. It is safe for concurrent use.
type Counter struct{ n atomic.Int64 }

// Add adds n.
func (c *Counter) Add(n int) { c.n.Add(int64(n)) }

// Value is the count so far.
func (c *Counter) Value() int64 { return c.n.Load() }

// cursor tells the growth since it was last asked. Growth of 0 is told too:
// alarms and scaling take silence for missing data.
func (c *Counter) cursor() cursor {
	last := int64(0)
	return func() (values, counts []float64) {
		now := c.Value()
		grown := now - last
		last = now
		return []float64{float64(grown)}, []float64{1}
	}
}
