package service

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

func TestADrainTakesWhatANoticeLeaves(t *testing.T) {
	now := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	const set = 25 * time.Second
	for name, c := range map[string]struct {
		cause error
		want  time.Duration
	}{
		"a signal":                     {context.Canceled, set},
		"a group, which does not tell": {noticed{aws.Termination, time.Time{}}, set},
		"Spot":                         {noticed{aws.SpotInterruption, now.Add(115 * time.Second)}, 105 * time.Second},
		"Spot, found late":             {noticed{aws.SpotInterruption, now.Add(22 * time.Second)}, 12 * time.Second},
		"Spot, found too late":         {noticed{aws.SpotInterruption, now.Add(3 * time.Second)}, set},
		"a clock that is off":          {noticed{aws.SpotInterruption, now.Add(time.Hour)}, set},
		"a cause around the notice":    {fmt.Errorf("stop: %w", noticed{aws.SpotInterruption, now.Add(time.Minute)}), 50 * time.Second},
	} {
		if got := drainTime(c.cause, now, set); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
