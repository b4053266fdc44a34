package pulse

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		started := time.Now()
		if silent := p.Silent(started.Add(time.Hour)); silent != 0 {
			t.Errorf("silent for %v before it began", silent)
		}
		p.Beat()
		if silent := p.Silent(started.Add(time.Minute)); silent != time.Minute {
			t.Errorf("silent for %v, want a minute", silent)
		}
		if silent := p.Silent(started.Add(-time.Minute)); silent != 0 {
			t.Errorf("silent for %v at a time before its beat", silent)
		}
	})
}

// Work beats the pulse that its context carries, that of other work does not, and
// several goroutines may at once.
func TestBeatsOfTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p Pulse
		ctx := With(context.Background(), &p)
		later := time.Now().Add(time.Minute)
		Beat(context.Background())
		Beat(Without(ctx))
		if silent := p.Silent(later); silent != 0 {
			t.Errorf("other work beat the pulse %v before", silent)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				Beat(ctx)
				p.Silent(later)
			})
		}
		all.Wait()
		if silent := p.Silent(later); silent != time.Minute {
			t.Errorf("silent for %v, want a minute", silent)
		}
	})
}
