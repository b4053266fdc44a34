package admin

import "github.com/cloudcafe/analytics-worker/internal/verdict"

// manual is where the operator's handbook is read.
const manual = "https://github.com/cloudcafe/analytics-worker/blob/main/docs/OPERATIONS.md"

// sections says which section of the handbook a cause is explained in.
var sections = map[verdict.Cause]string{
	verdict.Hangs:            "log-messages",
	verdict.OtherStream:      "re-created-stream",
	verdict.StreamGone:       "re-created-stream",
	verdict.StreamFailing:    "log-messages",
	verdict.ClockOff:         "log-messages",
	verdict.LeasesGone:       "contradictions",
	verdict.LeasesThrottled:  "log-messages",
	verdict.LeasesFailing:    "log-messages",
	verdict.Contradiction:    "contradictions",
	verdict.NoWorker:         "start",
	verdict.WorkerDead:       "stop",
	verdict.WorkerMissed:     "stop",
	verdict.Unowned:          "scale",
	verdict.LettersFull:      "dead-letters",
	verdict.LettersFailing:   "dead-letters",
	verdict.StagingFailing:   "loads-of-the-fleet",
	verdict.WarehouseFull:    "log-messages",
	verdict.WarehouseDenied:  "log-messages",
	verdict.NoTables:         "schema",
	verdict.EndpointDown:     "log-messages",
	verdict.WarehousePaused:  "paused-warehouse",
	verdict.WarehouseLocked:  "somebody-holds-worker_load_lock",
	verdict.WarehouseSlow:    "how-a-loads-time-grows",
	verdict.WarehouseSilent:  "log-messages",
	verdict.WarehouseFailing: "log-messages",
	verdict.StagedLate:       "loads-of-the-fleet",
	verdict.LoadsApart:       "loads-of-the-fleet",
	verdict.ReadsDenied:      "log-messages",
	verdict.ReadsThrottled:   "scale",
	verdict.ReadsFailing:     "log-messages",
	verdict.RejectedAll:      "dead-letters",
	verdict.RejectedSome:     "dead-letters",
	verdict.HotShard:         "scale",
	verdict.Trimming:         "expired-records",
	verdict.Behind:           "scale",
	verdict.Stuck:            "scale",
	verdict.MetricsFailing:   "metrics",
	verdict.Logged:           "log-messages",
	verdict.Starting:         "what-a-start-waits-for",
	verdict.Mute:             "upgrade",
	verdict.Unknown:          "log-messages",
}

// docs are the sections about what was found, by cause; what is fine has none.
func docs(v verdict.Verdict) map[verdict.Cause]string {
	out := make(map[verdict.Cause]string)
	for _, f := range v.All() {
		if section := sections[f.Cause]; section != "" {
			out[f.Cause] = manual + "#" + section
		}
	}
	return out
}
