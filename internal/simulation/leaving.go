package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/service"
)

// machine is the instance that a worker of a fleet runs on.
type machine struct {
	notice   chan aws.Notice // with room for one
	released chan struct{}   // closed when a terminating one was let go
}

func newMachine() *machine {
	return &machine{make(chan aws.Notice, 1), make(chan struct{})}
}

// Watch implements service.Instance. A Spot notice comes two minutes ahead.
func (m *machine) Watch(ctx context.Context) (n aws.Notice, ends time.Time) {
	select {
	case n = <-m.notice:
	case <-ctx.Done():
		return aws.NoNotice, time.Time{}
	}
	if n == aws.SpotInterruption {
		ends = time.Now().Add(2 * time.Minute)
	}
	return n, ends
}

// CompleteTermination implements service.Instance.
func (m *machine) CompleteTermination(context.Context) error {
	close(m.released)
	return nil
}

// isReleased reports whether a terminating instance was let go.
func (m *machine) isReleased() bool {
	select {
	case <-m.released:
		return true
	default:
		return false
	}
}

// drain stops a worker, by SIGTERM or by a notice that its machine is about to end.
// Half of the service units kill one that does not stop in time: here that happens
// only while a fault stands in its way. The others leave it to the worker's own limit.
func (f *Fleet) drain(i int) {
	m := f.live[i]
	f.live = slices.Delete(f.live, i, i+1)
	f.restless = true
	m.told, m.notice = time.Now(), aws.Notice(m.number%3)
	f.note("%s is told to stop; notice: %v", m.name, m.notice)
	f.tally.event("a worker told to stop, notice: " + m.notice.String())
	if m.notice == aws.NoNotice {
		m.run.drain()
	} else {
		m.machine.notice <- m.notice
	}
	f.ended = append(f.ended, m.run)
	f.leaving = append(f.leaving, m)
	if m.number%2 == 0 {
		f.later(2*leaseTime, func(context.Context) error {
			if m.run.ended() || !m.link.troubled() && len(f.world.Local.Faults().List()) == len(f.standing()) {
				return nil
			}
			f.note("%s does not stop, and is killed", m.name)
			m.kill()
			return nil
		})
	}
}

// kill ends a worker's process as far as the world can tell; its goroutines end once
// they notice. The system has dropped the lock on its seat by then.
func (m *member) kill() {
	m.link.kill()
	m.seat.Leave()
	m.run.Service.Kill()
}

// longestCall is how long a fault may show after its end: a call that is given up.
const longestCall = 40 * time.Second

// excused reports whether something stood in the way of the worker's drain.
func (f *Fleet) excused(m *member) bool {
	return f.moody || !f.troubled.IsZero() && f.troubled.After(m.told.Add(-longestCall))
}

// left waits until all who were told to stop have, and fails when one does not, or
// had to give up what it had read: no fault is left that would explain it.
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
		err, late := m.run.err, errors.Is(m.run.err, service.ErrOverdue)
		switch {
		case m.link.isDead():
			continue
		case late && f.excused(m):
			f.tally.event("a drain that was out of time")
		case err != nil:
			return fmt.Errorf("%s was told to stop and ended with: %w", m.name, err)
		}
		if err != nil && errors.Is(err, service.ErrGone) != (m.notice != aws.NoNotice) {
			return fmt.Errorf("%s was told to stop, with the notice %v, and ended with: %w", m.name, m.notice, err)
		}
		if m.machine.isReleased() != (m.notice == aws.Termination) {
			return fmt.Errorf("%s was told to stop, with the notice %v; its machine was let go: %v", m.name, m.notice, m.machine.isReleased())
		}
	}
	f.leaving = nil
	return nil
}
