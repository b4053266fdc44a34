package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// account opens the AWS account that the settings name.
func (c config) account(ctx context.Context, log *slog.Logger) (*aws.Account, error) {
	return aws.Open(ctx, aws.Options{Region: c.Region, Log: log})
}

// How long a worker asks for credentials before it gives up, and how often it
// asks and says so.
const (
	credentialsPatience = 2 * time.Minute
	credentialsAgain    = 5 * time.Second
)

// awaitAccount opens the account for a worker, which may be started before the
// network of its machine is up: what should have credentials and does not answer
// is asked again. Where nothing should have any, it fails at once.
func (c config) awaitAccount(ctx context.Context, log *slog.Logger) (*aws.Account, error) {
	began := time.Now()
	log.Debug("opening the account")
	for {
		account, err := c.account(ctx, log)
		if err == nil || !aws.Unreached(err) || ctx.Err() != nil || time.Since(began) > credentialsPatience {
			return account, err
		}
		log.Warn("credentials cannot be had yet; asking again", "error", err)
		if err := waitFor(ctx, credentialsAgain); err != nil {
			return nil, err
		}
	}
}

// waitFor waits for d, or until ctx ends.
func waitFor(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
