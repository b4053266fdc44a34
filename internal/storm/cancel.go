package storm

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// cancelAll ends what is in flight, also what was started by a call whose reply was
// lost, and reports how much of it did not end. told is called with what is left,
// again and again. Where the warehouse is down, that is soon given up: what runs there
// ends by itself, and the next storm finds what does not.
func (l *launcher) cancelAll(ctx context.Context, told func(left int)) (left int) {
	c := canceller{launcher: l, asked: make(map[string]bool), heard: time.Now()}
	wait := firstLook
	for tries := 1; ; tries++ {
		listed, err := l.house.Unended(ctx, l.name)
		if err != nil {
			l.log.Debug("cannot list the queries that have not ended", "error", err)
		}
		c.note(err)
		l.mu.Lock()
		for _, id := range listed {
			if _, known := l.flying[id]; !known {
				l.flying[id] = nil
			}
		}
		ids := slices.Sorted(maps.Keys(l.flying))
		l.mu.Unlock()
		left = len(ids)
		for _, id := range ids {
			told(left)
			if c.cancel(ctx, id) {
				left--
			}
			if c.denied || c.deaf() {
				return left
			}
		}
		told(left)
		// Where nothing is known to be in flight, a list that cannot be had is not
		// waited for: the warehouse may be down.
		if left == 0 && (err == nil || tries >= listTries) || ctx.Err() != nil {
			return left
		}
		pause(ctx, wait)
		wait = min(2*wait, mostLook)
	}
}

// canceller ends queries one by one.
type canceller struct {
	*launcher
	asked  map[string]bool
	heard  time.Time // when a call last succeeded
	denied bool      // this caller may not cancel, and waiting changes nothing
}

// deafTime is how long no call succeeds before the rest is left to itself.
const deafTime = 20 * time.Second

func (c *canceller) note(err error) {
	if err == nil {
		c.heard = time.Now()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trouble = err
}

func (c *canceller) deaf() bool { return time.Since(c.heard) > deafTime }

// cancel asks for a query's end, once, and reports whether it has ended.
func (c *canceller) cancel(ctx context.Context, id string) (ended bool) {
	if turn(ctx, c.look) != nil {
		return false
	}
	s, err := c.house.Look(ctx, id)
	c.note(err)
	switch {
	case err == nil && s.Ended:
		if f := c.landed(id); f != nil && c.asked[id] {
			c.stats.slow(f, s, endCancelled)
		}
		return true
	case c.asked[id] || turn(ctx, c.launcher.cancel) != nil:
		return false
	}
	err = c.house.Cancel(ctx, id)
	c.note(err)
	if err != nil {
		c.log.Debug("cannot cancel a query yet", "id", id, "error", err)
		c.denied = errors.Is(err, warehouse.ErrDenied)
		return false
	}
	c.asked[id] = true
	return false
}
