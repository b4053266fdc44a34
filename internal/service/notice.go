package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
)

// Instance is the machine that the service runs on, as far as it announces its end.
type Instance interface {
	// Watch waits until the instance is about to end, and says why, and when where
	// that is told. It returns NoNotice when ctx ends, or where nobody tells.
	Watch(ctx context.Context) (n aws.Notice, ends time.Time)
	// CompleteTermination lets an instance go that its group ends.
	CompleteTermination(ctx context.Context) error
}

// noticeMargin is left of a notice's time for what comes after the drain: the
// last metrics, and the leases' hand-over where it needs a second try.
const noticeMargin = 10 * time.Second

// longestNotice is more than any notice leaves: EC2's comes two minutes ahead.
const longestNotice = 2 * time.Minute

// noticed is the cause of a context that ended because the instance will.
type noticed struct {
	notice aws.Notice
	ends   time.Time // when the instance does; zero = not told
}

func (n noticed) Error() string { return fmt.Sprintf("notice of %v", n.notice) }

// drainTime is how long a drain may take that begins now for a cause: what was
// set, or what a notice leaves where it tells.
func drainTime(cause error, now time.Time, set time.Duration) time.Duration {
	var n noticed
	if !errors.As(cause, &n) || n.ends.IsZero() {
		return set
	}
	left := n.ends.Sub(now) - noticeMargin
	if left > longestNotice || left < 0 { // the clocks are not the same, or the notice was found too late
		return set
	}
	return left
}

// heedNotices returns a context that also ends when the instance is about to:
// the worker drains then as it does on SIGTERM. The returned function is for
// when it has drained; it lets a terminating instance go.
func (s *Service) heedNotices(ctx context.Context) (heeded context.Context, release func()) {
	instance := s.c.Instance
	if instance == nil {
		instance = s.c.Account.Instance()
	}
	heeded, end := context.WithCancelCause(ctx)
	seen := make(chan aws.Notice, 1)
	go func() {
		notice, ends := instance.Watch(pulse.Without(heeded))
		if notice != aws.NoNotice {
			end(noticed{notice, ends})
		}
		seen <- notice
	}()
	return heeded, func() {
		end(nil)
		if <-seen != aws.Termination || s.isKilled() {
			return
		}
		if err := instance.CompleteTermination(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("the Auto Scaling group was not told that the worker is done; the instance ends when its lifecycle hook times out", "error", err)
		}
	}
}
