package simulation

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// drain stops a worker as SIGTERM does. A service unit kills one that does not
// stop in the end; here that happens only while a fault stands in its way. With
// no fault a worker must end by itself, which left sees to.
func (f *Fleet) drain(i int) {
	m := f.live[i]
	f.live = slices.Delete(f.live, i, i+1)
	f.note("%s is told to stop", m.name)
	f.restless = true
	m.run.drain()
	f.ended = append(f.ended, m.run)
	f.leaving = append(f.leaving, m)
	f.later(2*leaseTime, func(context.Context) error {
		if m.run.ended() || !m.link.troubled() && len(f.world.Local.Faults().List()) == len(f.standing()) {
			return nil
		}
		f.note("%s does not stop, and is killed", m.name)
		m.link.kill()
		m.run.abandon()
		return nil
	})
}

// left waits until all who were told to stop have, and fails when one does not:
// no fault is left that would explain it.
func (f *Fleet) left(ctx context.Context, deadline time.Time) error {
	for _, m := range f.leaving {
		m.link.restore()
		for !m.run.ended() {
			if time.Now().After(deadline) {
				return fmt.Errorf("%s was told to stop and has not ended, %s after the last fault", m.name, f.patience())
			}
			if err := f.until(ctx, time.Now().Add(pollTime/2)); err != nil {
				return err
			}
		}
		if err := m.run.err; err != nil && !m.link.isDead() {
			return fmt.Errorf("%s was told to stop and ended with: %w", m.name, err)
		}
	}
	f.leaving = nil
	return nil
}
