package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/pulse"
)

// TidyTime is how long a service that stops takes, within its time to drain, to
// remove what nothing depends on.
const TidyTime = 5 * time.Second

// ErrOverdue is the end of a service that had to stop before all was loaded.
var ErrOverdue = errors.New("not everything that was read could be loaded in time; it stays on the stream and is read again")

// ErrGone marks the error of a service whose instance is about to end. Whoever would
// start it again after an error must not.
var ErrGone = errors.New("the instance is about to end")

var errKilled = errors.New("killed")

// Run works until ctx ends, as SIGTERM makes it, or until the instance is about to:
// then reading stops, what was read is loaded, the leases are handed over, and it
// returns nil. A drain that takes longer than it may ends with ErrOverdue; where the
// instance ends, any error is ErrGone too. A ctx that ends before there is a lease
// table ends the start, which is no error. It is called once.
//
// What goes beside it (pages, metrics) begins at once, and ends when the drain has:
// its context ends then, and it is waited for.
func (s *Service) Run(ctx context.Context, beside ...func(context.Context)) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	go func() {
		select {
		case <-s.killed:
			end()
		case <-ctx.Done():
		}
	}()
	heeded, release := s.heedNotices(ctx)
	defer release()
	lasting, stop := context.WithCancel(pulse.Without(context.WithoutCancel(ctx))) // draining can be watched, and counts
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	for _, f := range append(beside, s.followRetention, s.Watch.Run) {
		others.Go(func() { f(lasting) })
	}
	err := s.prepare(heeded)
	if err != nil && heeded.Err() != nil {
		s.log.Info("stopped before it had started")
		return nil
	}
	if err == nil {
		s.started.Store(true)
		err = s.work(pulse.Without(heeded))
	}
	if err != nil && errors.As(context.Cause(heeded), new(noticed)) {
		err = fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// work reads and loads until ctx ends, and then drains.
func (s *Service) work(ctx context.Context) error {
	drain, overdue := context.WithCancelCause(context.WithoutCancel(ctx)) // ends when the time for it does
	defer overdue(nil)
	hard, stop := context.WithCancel(drain)
	defer stop()
	defer context.AfterFunc(ctx, func() { s.limit(ctx, drain, overdue) })()
	loading := make(chan error, 1)
	go func() { loading <- s.Worker.Run(pulse.With(hard, &s.Loader)) }()
	leaveFleet := s.joinFleet(ctx)
	err := s.Holder.Run(pulse.With(ctx, &s.Leases))
	stop()
	err = errors.Join(err, <-loading)
	late := context.Cause(drain) // nil: it is not
	leaveFleet(drain)
	tidy, cancel := context.WithTimeout(drain, TidyTime)
	defer cancel()
	s.warehouse.Close(tidy)
	switch {
	case errors.Is(late, errKilled):
		return errKilled
	case late != nil:
		return ErrOverdue
	}
	s.log.Info("stopped")
	return err
}

// limit ends the drain when its time is over, or when the service is killed.
func (s *Service) limit(ctx, drain context.Context, overdue context.CancelCauseFunc) {
	if s.isKilled() {
		overdue(errKilled)
		return
	}
	within := drainTime(context.Cause(ctx), time.Now(), s.c.DrainTimeout)
	if s.c.Stopping != nil {
		s.c.Stopping(within)
	}
	s.Worker.Leave(time.Now().Add(within))
	s.log.Info("stopping: loading what was read", "within", within.Round(time.Second).String())
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-timer.C:
		overdue(ErrOverdue)
	case <-s.killed:
		overdue(errKilled)
	case <-drain.Done():
	}
}

// Kill ends Run as kill -9 ends a process, as far as the world outside can tell:
// whatever call is under way is abandoned, and nothing is loaded any more. A process
// is killed by others; the simulation has many services in one.
func (s *Service) Kill() { s.kill.Do(func() { close(s.killed) }) }

func (s *Service) isKilled() bool {
	select {
	case <-s.killed:
		return true
	default:
		return false
	}
}
