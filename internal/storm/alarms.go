package storm

import "time"

// Alarm is a rule of the deployed alarms and scaling policies, as far as a storm
// can hold it against what it measured itself.
type Alarm struct {
	Name      string        `json:"name"`
	Of        Signal        `json:"of"`
	Above     float64       `json:"above"`   // percent, or seconds
	Period    time.Duration `json:"-"`       // over which values are averaged
	Periods   int           `json:"periods"` // that must be above in a row
	FiredAt   int           `json:"fired_at_second"`
	Fired     bool          `json:"fired"`
	PeriodSec int           `json:"period_seconds"`
}

// Signal is what an Alarm watches.
type Signal string

// The signals.
const (
	SignalCPU       Signal = "CPU"       // percent
	SignalFreshness Signal = "freshness" // seconds since the completeness watermark
)

// Alarms are those of the deployment: scaling out when the CPU has been at 70 %
// for three minutes, and when the pipeline lags for three minutes.
func Alarms() []Alarm {
	return []Alarm{
		{Name: "scale out on CPU", Of: SignalCPU, Above: 70, Period: time.Minute, Periods: 3},
		{Name: "pipeline lags", Of: SignalFreshness, Above: 60, Period: time.Minute, Periods: 3},
		{Name: "pipeline lags badly", Of: SignalFreshness, Above: 300, Period: time.Minute, Periods: 1},
	}
}

// judge tells which alarms would have fired, and at which second, from a value of
// each second; freshness below 0 is not known.
func judge(alarms []Alarm, seconds []Second) []Alarm {
	out := make([]Alarm, len(alarms))
	for i, a := range alarms {
		per := int(a.Period / time.Second)
		a.PeriodSec = per
		above := 0
		for end := per; end <= len(seconds); end += per {
			mean, known := a.mean(seconds[end-per : end])
			if !known || mean <= a.Above {
				above = 0
				continue
			}
			if above++; above == a.Periods {
				a.Fired, a.FiredAt = true, end
				break
			}
		}
		out[i] = a
	}
	return out
}

func (a Alarm) mean(seconds []Second) (mean float64, known bool) {
	sum, n := 0.0, 0
	for _, s := range seconds {
		v := s.CPU
		if a.Of == SignalFreshness {
			v = s.Freshness
		}
		if v >= 0 {
			sum += v
			n++
		}
	}
	return sum / float64(max(n, 1)), n > 0
}
