package vitals

import (
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// telling is what the log was told last.
type telling struct {
	at     time.Time
	cause  verdict.Cause
	loaded int64
}

// tellEvery is how often it is worth a line, while something goes on or is not well.
const tellEvery = 10 * time.Second

// tell writes the log's periodic line: the verdict, and the figures behind it. A new
// verdict is told at once.
func (w *Watch) tell(now time.Time) {
	total, v := w.c.Metrics.RecordsProcessed.Value(), w.Verdict()
	last := w.told
	since := now.Sub(last.at)
	quiet := total == last.loaded && v.State == verdict.Fine
	if v.Cause == last.cause && (since < tellEvery || quiet) {
		return
	}
	rate := int64(0)
	if !last.at.IsZero() && since > 0 {
		rate = int64(float64(total-last.loaded) / since.Seconds())
	}
	w.told = telling{now, v.Cause, total}
	s := w.c.Status()
	args := []any{
		"state", v.State.String(), "cause", string(v.Cause), "verdict", v.Says, "records", total, "rate", rate,
		"rejected", w.c.Metrics.RecordsRejected.Value(), "behind", s.Lag.Round(time.Millisecond).String(), "waiting", s.Waiting,
		"shards", len(s.Shards), "load_p99", w.c.Metrics.WriteDuration.Quantile(0.99).Round(time.Millisecond).String(),
	}
	if next := v.Step(); next != "" {
		args = append(args, "next", next)
	}
	w.c.Log.Info("progress", args...)
}
