package storm

import "time"

// Alarm is a rule of the deployed alarms and scaling policies: it fires when the
// metric's statistic over Period has been above Threshold Periods times in a row.
type Alarm struct {
	Name      string        `json:"name"`   // in the template, behind the stack's name
	Metric    string        `json:"metric"` // in CloudWatch
	Statistic Statistic     `json:"statistic"`
	Threshold float64       `json:"threshold"` // in the metric's unit: percent, or milliseconds
	Period    time.Duration `json:"-"`
	Seconds   int           `json:"period_seconds"` // the same as Period
	Periods   int           `json:"periods"`

	Fired   bool `json:"fired"`
	FiredAt int  `json:"fired_at_second"` // of the storm; 0 = it did not
	Seen    int  `json:"periods_seen"`    // that could be judged; with fewer than Periods nothing can fire
	Unknown int  `json:"unknown_seconds"` // for which the metric was not known

	of func(Second) float64 // what the storm measured of it; below 0 = not known
}

// Statistic is how an Alarm makes one value of those of a period.
type Statistic string

// The statistics.
const (
	Average Statistic = "Average"
	Maximum Statistic = "Maximum"
)

// Alarms are those of deploy/cloudformation/analytics-worker.yaml that a storm can
// hold against what it measured. CPU is of this machine, where the group's average
// counts there; target tracking scales out when its target has been passed three
// minutes. Lag is the age of the completeness watermark, which is never less than
// what MillisBehindLatest and MillisBehindCommitted say.
func Alarms() []Alarm {
	cpu := func(s Second) float64 { return s.CPU }
	lag := func(s Second) float64 { return 1000 * s.Freshness }
	return []Alarm{
		{Name: "scale-out-on-cpu", Metric: "CPUUtilization", Statistic: Average, Threshold: 70, Period: time.Minute, Periods: 3, of: cpu},
		{Name: "scale-out-on-lag", Metric: "MillisBehindLatest", Statistic: Maximum, Threshold: 60_000, Period: time.Minute, Periods: 3, of: lag},
		{Name: "lag", Metric: "MillisBehindCommitted", Statistic: Maximum, Threshold: 300_000, Period: time.Minute, Periods: 1, of: lag},
	}
}

// judge tells which alarms would have fired, and at which second, from what was
// measured in each second since began. CloudWatch's periods are minutes of the clock,
// so the first one has seconds from before the storm: an average over it is not known,
// and a maximum that is above the threshold is above it whatever came before. The last
// one counts if it is whole. A period of which nothing is known tells nothing: it is not
// one without data, as the metric comes from elsewhere.
func judge(alarms []Alarm, began time.Time, seconds []Second) []Alarm {
	out := make([]Alarm, len(alarms))
	for i, a := range alarms {
		a.Seconds = int(a.Period / time.Second)
		for _, s := range seconds {
			if a.of(s) < 0 {
				a.Unknown++
			}
		}
		above := 0
		into := int(began.Sub(began.Truncate(a.Period)) / time.Second)
		for end := a.Seconds - into; end <= len(seconds); end += a.Seconds {
			value, known := a.value(seconds[max(0, end-a.Seconds):end])
			known = known && (end >= a.Seconds || a.Statistic == Maximum)
			if known {
				a.Seen++
			}
			if !known || value <= a.Threshold {
				above = 0
				continue
			}
			if above++; above == a.Periods && !a.Fired {
				a.Fired, a.FiredAt = true, end
			}
		}
		out[i] = a
	}
	return out
}

// value is the statistic over the seconds of a period.
func (a Alarm) value(seconds []Second) (value float64, known bool) {
	sum, most, n := 0.0, 0.0, 0
	for _, s := range seconds {
		if v := a.of(s); v >= 0 {
			sum, most = sum+v, max(most, v)
			n++
		}
	}
	if a.Statistic == Maximum {
		return most, n > 0
	}
	return sum / float64(max(n, 1)), n > 0
}
