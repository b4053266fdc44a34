package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	loads "github.com/cloudcafe/analytics-worker/internal/fleet" // the tests have a fleet of their own
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// together makes the worker load with the others of its lease table, and returns
// what it loads through. Without a bucket, or without others, that is the warehouse.
func (s *service) together(c config, account *aws.Account, fill warehouse.Fill, log *slog.Logger) (worker.Warehouse, error) {
	staging, ok := fill.(*warehouse.Copy)
	if !ok || c.LeaseTable == noLeaseTable {
		return s.warehouse, nil
	}
	bucket, err := account.Bucket(c.StagingURL)
	if err != nil {
		return nil, err
	}
	s.fleet = loads.New(loads.Config{
		Warehouse: s.warehouse, Copy: staging, Bucket: bucket, Self: s.name, Stream: s.source.Name(),
		Place: []string{c.leaseTableName(account), c.Redshift.ClusterID, c.Redshift.Workgroup, c.Redshift.Database, c.Redshift.Names.Schema()},
		Owners: func() ([]string, stream.Identity) {
			v := s.holder.View()
			return v.Owners(time.Now()), v.Stream
		},
		Quiet:        func() []warehouse.Move { return s.worker.Quiet() },
		Advanced:     func(m []warehouse.Move) { s.worker.Advanced(m) },
		Duplicates:   s.metrics.DuplicateEvents.Add,
		LoadInterval: c.LoadInterval,
		PollInterval: c.PollInterval,
		Log:          log,
	})
	return s.fleet, nil
}

// joinFleet starts the fleet's part of the worker. ctx ends when it is told to stop. The
// function that it returns ends that part, once what it loads is in or last ends.
func (s *service) joinFleet(ctx context.Context) (leave func(last context.Context)) {
	if s.fleet == nil {
		return func(context.Context) {}
	}
	context.AfterFunc(ctx, s.fleet.Leave)
	go s.fleet.Run(pulse.Without(context.WithoutCancel(ctx)))
	return s.fleet.Close
}
