package verdict

// Cause is the name of what was found. Names stay: scripts and documents go by them.
type Cause string

// The causes, in the order in which they explain each other: of two that are equally
// bad, the earlier one is told first.
const (
	Hangs            Cause = "worker-hangs"
	OtherStream      Cause = "stream-replaced"
	EndpointDown     Cause = "endpoint-down"
	StreamGone       Cause = "stream-gone"
	StreamFailing    Cause = "stream-failing"
	ClockOff         Cause = "clock-off"
	LeasesGone       Cause = "lease-table-gone"
	LeasesThrottled  Cause = "lease-table-throttled"
	LeasesFailing    Cause = "lease-table-failing"
	Contradiction    Cause = "contradiction"
	NoWorker         Cause = "no-worker"
	WorkerDead       Cause = "worker-dead"
	WorkerMissed     Cause = "worker-lost"
	Unowned          Cause = "shards-unowned"
	LettersFull      Cause = "dead-letters-full"
	LettersFailing   Cause = "dead-letters-failing"
	StagingFailing   Cause = "staging-failing"
	WarehouseFull    Cause = "warehouse-full"
	WarehouseDenied  Cause = "warehouse-denied"
	NoTables         Cause = "tables-missing"
	WarehousePaused  Cause = "warehouse-paused"
	WarehouseLocked  Cause = "warehouse-locked"
	WarehouseSlow    Cause = "warehouse-slow"
	WarehouseSilent  Cause = "warehouse-unreached"
	WarehouseFailing Cause = "warehouse-refuses"
	StagedLate       Cause = "staged-late"
	LoadsApart       Cause = "loads-apart"
	ReadsDenied      Cause = "reads-denied"
	ReadsThrottled   Cause = "reads-throttled"
	ReadsFailing     Cause = "reads-failing"
	RejectedAll      Cause = "rejected-most"
	RejectedSome     Cause = "rejected-some"
	HotShard         Cause = "hot-shard"
	Trimming         Cause = "retention-short"
	Behind           Cause = "behind"
	Stuck            Cause = "worker-stuck"
	MetricsFailing   Cause = "metrics-failing"
	Logged           Cause = "problem-logged"
	Starting         Cause = "starting"
	Mute             Cause = "workers-mute"
	Unknown          Cause = "not-known"

	Arriving Cause = "orders-arrive"
	Quiet    Cause = "caught-up"
	Standby  Cause = "stands-by"
)

// says has the sentences that need no figures.
var says = map[Cause]string{
	Unknown: "It is not known whether orders arrive",
}

// Causes are all of them.
func Causes() []Cause {
	return []Cause{
		Hangs, OtherStream, EndpointDown, StreamGone, StreamFailing, ClockOff, LeasesGone, LeasesThrottled, LeasesFailing, Contradiction, NoWorker,
		WorkerDead, WorkerMissed, Unowned, LettersFull, LettersFailing, StagingFailing, WarehouseFull, WarehouseDenied, NoTables, WarehousePaused,
		WarehouseLocked, WarehouseSlow, WarehouseSilent, WarehouseFailing, StagedLate, LoadsApart, ReadsDenied, ReadsThrottled, ReadsFailing, RejectedAll,
		RejectedSome, HotShard, Trimming, Behind, Stuck, MetricsFailing, Logged, Starting, Mute, Unknown, Arriving, Quiet, Standby,
	}
}
