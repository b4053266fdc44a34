package lease_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// everyNth counts the calls of each kind for each shard, and reports which of
// them are an nth one. By lot, some lease would now and then have no luck for a
// whole lease time.
func everyNth(n int) func(lease.Call) bool {
	var mu sync.Mutex
	calls := make(map[string]int)
	return func(c lease.Call) bool {
		mu.Lock()
		defer mu.Unlock()
		calls[c.Op+c.Shard]++
		return calls[c.Op+c.Shard]%n == 0
	}
}

func TestFaultyTableCostsNoLease(t *testing.T) {
	second, third := everyNth(2), everyNth(3)
	for _, c := range []struct {
		name string
		hook func(ctx context.Context, c lease.Call, do func() error) error
	}{
		{"throttled", func(_ context.Context, c lease.Call, do func() error) error {
			if second(c) {
				return stream.ErrThrottled
			}
			return do()
		}},
		{"replies lost", func(_ context.Context, c lease.Call, do func() error) error {
			if err := do(); err != nil || !third(c) {
				return err
			}
			return errors.New("connection reset")
		}},
		{"slow", func(ctx context.Context, _ lease.Call, do func() error) error {
			time.Sleep(rand.N(ttl / 6))
			return do()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T) {
				f := newFleet(t, open(12)...)
				w := f.start("w")
				w.behave(c.hook)
				f.within(3*ttl, "all taken", func() bool { return sum(f.loads(w)) == 12 })
				f.mu.Lock()
				takes := f.takes
				f.mu.Unlock()
				time.Sleep(10 * ttl)
				f.mu.Lock()
				if f.takes != takes {
					t.Errorf("%d leases were lost and taken again", f.takes-takes)
				}
				f.mu.Unlock()
				w.behave(nil)
				w.end()
			})
		})
	}
}
