package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// heedNotices returns a context that also ends when the instance is about to:
// the worker drains then as it does on SIGTERM. The returned function is for
// when it has drained; it lets a terminating instance go.
func (s *service) heedNotices(ctx context.Context, log *slog.Logger) (noticed context.Context, drained func()) {
	ctx, end := context.WithCancelCause(ctx)
	seen := make(chan aws.Notice, 1)
	go func() {
		notice := s.instance.Watch(ctx)
		if notice != aws.NoNotice {
			end(fmt.Errorf("notice of %v", notice))
		}
		seen <- notice
	}()
	return ctx, func() {
		end(nil)
		if <-seen != aws.Termination {
			return
		}
		if err := s.instance.CompleteTermination(context.WithoutCancel(ctx)); err != nil {
			log.Warn("the Auto Scaling group was not told that the worker is done; the instance ends when its lifecycle hook times out", "error", err)
		}
	}
}
