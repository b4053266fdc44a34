package main

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
)

// account opens the AWS account that the settings name.
func (c config) account(ctx context.Context, log *slog.Logger) (*aws.Account, error) {
	return aws.Open(ctx, aws.Options{Region: c.Region, Log: log})
}

// quietAccount opens the account for a verb that reports failures itself: the
// retries behind them are said with --verbose only.
func (a *app) quietAccount(ctx context.Context, c config) (*aws.Account, error) {
	return c.account(ctx, a.quietLogger())
}

func (a *app) quietLogger() *slog.Logger {
	if a.verbose {
		return a.logger()
	}
	return slog.New(slog.DiscardHandler)
}

// endpointDown says that nothing listens at AWS_ENDPOINT_URL, if that is what the error
// comes of: a local AWS that was not started. What an SDK tells of its attempts hides it.
func (a *app) endpointDown(err error) (verdict.Finding, bool) {
	given, _ := a.lookup("AWS_ENDPOINT_URL")
	endpoint, bad := url.Parse(given)
	t := vitals.Trouble("", err, time.Time{}, nil)
	if bad != nil || t == nil {
		return verdict.Finding{}, false
	}
	if _, port, bad := net.SplitHostPort(t.Addr); bad != nil || port != endpoint.Port() {
		return verdict.Finding{}, false // of a proxy, or of the instance metadata
	}
	return verdict.Down(t.Addr), true
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
