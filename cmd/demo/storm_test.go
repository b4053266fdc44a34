package main

import (
	"strings"
	"testing"
	"time"
)

// ages returns a part with a sample every half second.
func ages(ms ...int) part {
	p := part{from: time.Unix(1_700_000_000, 0)}
	for i, n := range ms {
		p.samples = append(p.samples, sample{p.from.Add(time.Duration(i) * sampleTime), time.Duration(n) * time.Millisecond})
	}
	return p
}

func TestThePipelineIsJudged(t *testing.T) {
	for name, c := range map[string]struct {
		before, during, after part
		say                   []string
	}{
		"rides it out": {ages(900, 1000, 800), ages(1000, 2000, 2900), ages(2900, 1600, 900, 1000), []string{"2.90 times that before (at most", "back to normal 500ms after"}},
		"lags":         {ages(900, 1000, 800), ages(1000, 2000, 3100), ages(900), []string{"THE PIPELINE LAGGED: the p99 during the storm is 3.10 times", "back to normal 0s after"}},
		"stays behind": {ages(1000), ages(1000), ages(900, 1600), []string{"NOT BACK TO NORMAL"}},
		"is not known": {ages(), ages(1000), ages(900), []string{"FRESHNESS NOT KNOWN"}},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			judge(c.before, c.during, c.after).write(&b)
			for _, want := range c.say {
				if !strings.Contains(b.String(), want) {
					t.Errorf("want %q in:\n%s", want, b.String())
				}
			}
		})
	}
}
