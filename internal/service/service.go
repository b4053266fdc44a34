// Package service is a worker with all that it needs to run: its stream, its
// warehouse, its leases and its dead letters out of one AWS account, from the start
// until it has drained.
//
// The program and the simulation both run this one. What differs is in Config: the
// account (the simulation's goes through networks that it breaks), and the waits.
package service

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/fleet"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// Config is what a Service needs. What says nothing of an empty value is required.
type Config struct {
	Account       *aws.Account
	Stream        string // name or ARN
	Redshift      aws.RedshiftConfig
	StagingURL    string // s3://bucket/prefix for COPY; empty = INSERT
	CopyIAMRole   string // empty = the cluster's default role
	DeadLetterURL string // s3://bucket/prefix or file:///folder
	LeaseTable    string // in DynamoDB; NoLeaseTable = this is the only worker of the stream

	// Self and Predecessor are lease.Config's: a name that no other process has ever
	// had, and that of one which has ended (see TakeSeat), or empty.
	Self, Predecessor string
	// Instance announces the end of the machine; nil = the account's.
	Instance Instance

	Families     []event.Family                      // that are loaded; nil = all
	BatchSize    int                                 // records that start a load
	PollInterval time.Duration                       // wait of a shard that is caught up, and longest wait of a record for a load
	LoadInterval time.Duration                       // least time between the starts of two loads
	PageBytes    int64                               // memory for pages
	RetryAfter   []time.Duration                     // of rows that the warehouse refused; empty = the worker's
	Initial      func(stream.Shard) stream.Position  // of a shard that was never read; nil = its oldest record
	DrainTimeout time.Duration                       // longest drain where no notice says how much there is
	Fill         func(warehouse.Fill) warehouse.Fill // takes the fill's place; nil = the fill that StagingURL asks for

	// TTL, Scan and Sync are the times of the leases; 0 = lease.Config's.
	TTL, Scan, Sync time.Duration
	// Patience is fleet.Config's.
	Patience time.Duration

	// Metrics is what is counted in; nil = metrics that nobody publishes.
	Metrics *metrics.Metrics
	// Vitals are what the judgement of how it goes takes from the program: Names,
	// NextStep, Publishes, Hangs and Problems, any of which may be empty.
	Vitals vitals.Config
	// Stopping is told when a drain begins, and how long it may take; nil = nobody is.
	Stopping func(within time.Duration)
	Log      *slog.Logger
}

// Service is a worker and its leases. Its fields are there to be looked at.
type Service struct {
	Worker  *worker.Worker
	Holder  *lease.Holder
	Metrics *metrics.Metrics
	Watch   *vitals.Watch // how it goes
	Fleet   *fleet.Fleet  // nil = it loads for itself
	// Loader and Leases show whether the two goroutines get on without which nothing
	// is loaded. They have not beaten before Started.
	Loader, Leases pulse.Pulse

	c         Config
	log       *slog.Logger
	source    *aws.Stream
	warehouse *warehouse.Warehouse
	leases    leaseTable
	retention retention
	started   atomic.Bool
	killed    chan struct{}
	kill      sync.Once
}

// New puts a Service together. It makes no call. Its error is one of the settings.
func New(c Config) (*Service, error) {
	source := c.Account.Stream(c.Stream)
	by, err := c.filling()
	if err != nil {
		return nil, err
	}
	if c.Metrics == nil {
		c.Metrics = new(metrics.Metrics)
	}
	letters, err := Letters(c.Account, c.Stream, c.DeadLetterURL)
	if err != nil {
		return nil, err
	}
	db := warehouse.New(c.Account.Redshift(c.Redshift), by.fill)
	s := &Service{
		Metrics: c.Metrics, c: c, log: c.Log, source: source, warehouse: db, leases: c.leaseTable(),
		killed: make(chan struct{}),
	}
	s.Worker = worker.New(worker.Config{
		Stream: source.Name(),
		Open: func(sh stream.Shard, at stream.Position, room func(int) error) worker.Reader {
			return source.BoundedReader(sh, at, room)
		},
		Fetch:     source.Record,
		Shards:    source.Shards,
		Identity:  source.Identity,
		Warehouse: s.loads(by),
		Turn:      s.turn,
		Letters:   letters,

		StreamTime: c.Account.ServiceTime,
		Note:       func(shard string, p stream.Position) { s.Holder.Note(shard, p) },

		Families:     c.Families,
		BatchSize:    c.BatchSize,
		PollInterval: c.PollInterval,
		LoadInterval: c.LoadInterval,
		PageBytes:    c.PageBytes,
		RetryAfter:   c.RetryAfter,

		Metrics: s.Metrics,
		Log:     c.Log,
	})
	s.Holder, err = lease.New(lease.Config{
		Table:       s.leases,
		Shards:      source.Shards,
		Identity:    source.Identity,
		Remake:      s.leases.ensure,
		Past:        s.past,
		Self:        c.Self,
		Predecessor: c.Predecessor,
		TTL:         c.TTL,
		Scan:        c.Scan,
		Sync:        c.Sync,
		Initial:     c.Initial,
		StreamTime:  c.Account.ServiceTime,
		Own:         s.Worker.Own,
		Word:        func() string { return s.Watch.Word() },
		Until:       s.Worker.CompleteUntil,
		Count:       func() { s.Metrics.WorkerErrors.Add(1) },
		Log:         c.Log,
	})
	if err != nil {
		return nil, err
	}
	s.measure()
	s.Watch = vitals.New(s.vitals())
	return s, nil
}

// vitals is where the judgement takes its facts from.
func (s *Service) vitals() vitals.Config {
	v := s.c.Vitals
	v.Worker, v.Status, v.Holder, v.Shared, v.Metrics = s.c.Self, s.Worker.Status, s.Holder, s.leases.private == nil, s.Metrics
	if s.Fleet != nil {
		v.Staged, v.Apart = s.Staged, s.apart
	}
	v.Retention, v.AWSTime, v.Log = s.retention.get, s.c.Account.ServiceTime, s.log
	return v
}

// Started reports whether Run has what it waits for at its start: a lease table.
func (s *Service) Started() bool { return s.started.Load() }

// Stream is the stream's name.
func (s *Service) Stream() string { return s.source.Name() }

// past is what the warehouse knows of the shards, for a lease table that is empty.
func (s *Service) past(ctx context.Context) ([]lease.Row, error) {
	rows, err := pastRows(ctx, s.warehouse, s.source.Name())
	if errors.Is(err, warehouse.ErrNoTable) {
		return nil, nil // nothing was ever loaded; the claims will say what is missing
	}
	return rows, err
}
