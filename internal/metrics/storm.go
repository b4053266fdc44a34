package metrics

// Storm is everything that one Query Storm measures. It is published beside
// Metrics, with the dimension Scenario. The zero value is ready.
type Storm struct {
	CPU        Percent `cloudwatch:"QueryStormCPU" unit:"Percent" help:"CPU of the machine, or of the container's quota, as it was measured, over each second."`
	Iterations Counter `cloudwatch:"QueryStormIterations" help:"Pages of results that were turned into reports."`
	Completed  Gauge   `cloudwatch:"QueryStormCompleted" unit:"Count" help:"1 at the end of a storm that ran its full time, 0 at the end of one that was cut short."`

	Started  Counter `cloudwatch:"QueryStormQueriesStarted" help:"Queries that the warehouse took."`
	Finished Counter `cloudwatch:"QueryStormQueriesFinished" help:"Queries whose results were processed whole."`
	Failed   Counter `cloudwatch:"QueryStormQueriesFailed" help:"Queries that failed, or could not be started."`
	Refused  Counter `cloudwatch:"QueryStormQueriesRefused" help:"Calls that the Data API throttled, or refused as too many statements were active."`
	Rows     Counter `cloudwatch:"QueryStormRows" help:"Rows of results processed."`
	Bytes    Counter `cloudwatch:"QueryStormBytes" help:"Bytes of results processed."`

	QueueTime     Distribution `cloudwatch:"QueryStormQueueTime" unit:"Milliseconds" help:"Time of a query from its submission until it ran."`
	ExecutionTime Distribution `cloudwatch:"QueryStormExecutionTime" unit:"Milliseconds" help:"Time that a query ran in the warehouse."`
}
