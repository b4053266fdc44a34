package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
)

// openWatch makes the watch that judges this worker.
func (s *service) openWatch(c config, account *aws.Account, recent *admin.Recent, log *slog.Logger) {
	v := vitals.Config{
		Worker: s.name, Names: c.verdictNames(account), Status: s.worker.Status, Holder: s.holder, Shared: c.LeaseTable != noLeaseTable,
		Metrics: s.metrics, Retention: s.retention.get, AWSTime: account.ServiceTime, Problems: recent.Since, Log: log,
		Hangs: func(now time.Time) string {
			if s.manager == nil {
				return ""
			}
			return s.manager.hanging(now)
		},
	}
	if s.publisher != nil {
		v.Publishes = s.publisher.Failing
	}
	s.watch = vitals.New(v)
}

// verdictNames are what the commands to paste name.
func (c config) verdictNames(account *aws.Account) verdict.Names {
	n := verdict.Names{Stream: account.Stream(c.Stream).Name(), LeaseTable: c.leaseTableName(account), Letters: c.DeadLetterURL}
	if n.Workgroup = c.Redshift.Workgroup; n.Workgroup == "" {
		n.Cluster = c.Redshift.ClusterID
	}
	return n
}

// startWatch judges until the returned function is called.
func (s *service) startWatch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // draining is judged too
	var running sync.WaitGroup
	running.Go(func() { s.watch.Run(ctx) })
	return func() { cancel(); running.Wait() }
}
