package service

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/fleet"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// filling is how rows come into the warehouse: by COPY where there is a bucket for it.
type filling struct {
	fill   warehouse.Fill
	copy   *warehouse.Copy // nil = by INSERT
	bucket *aws.Bucket     // that it stages in
}

func (c Config) filling() (out filling, err error) {
	out.fill = warehouse.Insert{}
	if c.StagingURL != "" {
		if out.bucket, err = c.Account.Bucket(c.StagingURL); err != nil {
			return out, fmt.Errorf("open the bucket for COPY: %w", err)
		}
		out.copy = &warehouse.Copy{Staging: out.bucket, IAMRole: c.CopyIAMRole, Log: c.Log}
		out.fill = out.copy
	}
	if c.Fill != nil {
		out.fill = c.Fill(out.fill)
	}
	return out, nil
}

// loads is what the worker loads through: the fleet of those that share its leases,
// where there is a bucket for their batches, else the warehouse.
func (s *Service) loads(by filling) worker.Warehouse {
	c := s.c
	if by.copy == nil || s.leases.private != nil {
		return s.warehouse
	}
	s.Fleet = fleet.New(fleet.Config{
		Warehouse: s.warehouse, Copy: by.copy, Bucket: by.bucket, Self: c.Self, Stream: s.source.Name(),
		Place: []string{c.LeaseTable, c.Redshift.ClusterID, c.Redshift.Workgroup, c.Redshift.Database, c.Redshift.Names.Schema()},
		Owners: func() ([]string, stream.Identity) {
			v := s.Holder.View()
			return v.Owners(time.Now()), v.Stream
		},
		Quiet:        func() []warehouse.Move { return s.Worker.Quiet() },
		Advanced:     func(m []warehouse.Move) { s.Worker.Advanced(m) },
		Misled:       func(shard string, term int64) { s.Worker.Misled(shard, term) },
		Duplicates:   s.Metrics.DuplicateEvents.Add,
		LoadInterval: c.LoadInterval, PollInterval: c.PollInterval, Patience: c.Patience, Time: c.Account.ServiceTime, Log: c.Log,
	})
	return s.Fleet
}

// turn tells when the next batch is to be taken: where the worker loads for itself,
// when it is due.
func (s *Service) turn() (held <-chan struct{}, now bool) {
	if s.Fleet == nil {
		return nil, false
	}
	return s.Fleet.Turn()
}

// Staged is what waits to be loaded for the fleet, as far as this worker knows; zero
// where it loads for itself.
func (s *Service) Staged() (out verdict.Staged) {
	if s.Fleet == nil {
		return out
	}
	st := s.Fleet.Status()
	if !st.Together {
		return out
	}
	out.Loader, out.Batches, out.OldestMillis = st.Loader, st.Waiting, st.Oldest.Milliseconds()
	return out
}

// apart is why the worker loads for itself though others load together; nil = it does not.
func (s *Service) apart() error { return s.Fleet.Status().Apart }

// joinFleet starts the fleet's part of the service. ctx ends when it is told to stop.
// The function that it returns ends that part, once what it loads is in or last ends.
func (s *Service) joinFleet(ctx context.Context) (leave func(last context.Context)) {
	if s.Fleet == nil {
		return func(context.Context) {}
	}
	context.AfterFunc(ctx, s.Fleet.Leave)
	go s.Fleet.Run(pulse.Without(context.WithoutCancel(ctx)))
	return s.Fleet.Close
}

// Letters is the dead-letter store of a stream, in a bucket (s3://bucket/prefix) or
// in a folder (file:///folder, and file://folder from where the process was started).
func Letters(account *aws.Account, streamName, url string) (*deadletter.Store, error) {
	name := account.Stream(streamName).Name()
	if strings.HasPrefix(url, "s3://") {
		bucket, err := account.Bucket(url)
		if err != nil {
			return nil, fmt.Errorf("open the dead-letter store: %w", err)
		}
		return deadletter.New(bucket, name), nil
	}
	dir, err := deadletter.Dir(LetterFolder(url))
	if err != nil {
		return nil, fmt.Errorf("open the dead-letter store: %w", err)
	}
	return deadletter.New(dir, name), nil
}

// LetterFolder is the folder of a file:// URL.
func LetterFolder(url string) string { return filepath.FromSlash(strings.TrimPrefix(url, "file://")) }

// NoLeaseTable is the lease table of a worker that shares the stream with nobody.
const NoLeaseTable = "none"

// leaseTable is a table of leases, and how to make it if it is not there.
type leaseTable struct {
	lease.Table
	ensure  func(context.Context) error
	private *lease.Memory // nil = workers share the table
}

func (c Config) leaseTable() leaseTable {
	if c.LeaseTable == NoLeaseTable {
		private := lease.NewMemory()
		return leaseTable{private, func(context.Context) error { return nil }, private}
	}
	shared := c.Account.LeaseTable(c.LeaseTable)
	return leaseTable{shared, shared.Ensure, nil}
}

// prepare waits for a lease table that can be used. A private one begins with what
// the warehouse knows.
func (s *Service) prepare(ctx context.Context) error {
	if s.leases.private == nil {
		return s.leases.ensure(ctx)
	}
	rows, err := s.awaitPast(ctx)
	for _, r := range rows {
		r.Stream = stream.Identity{} // a table of one's own is no other stream's; the claims will tell
		if _, e := s.leases.private.Create(ctx, r); err == nil {
			err = e
		}
	}
	return err
}

// pastAgain is how often a warehouse is asked for the positions that does not answer.
const pastAgain = 5 * time.Second

// awaitPast is pastRows at the start of a worker: it waits out what passes by
// itself, as a worker does that is under way.
func (s *Service) awaitPast(ctx context.Context) ([]lease.Row, error) {
	for {
		rows, err := pastRows(ctx, s.warehouse, s.source.Name())
		passes := errors.Is(err, warehouse.ErrThrottled) || errors.Is(err, warehouse.ErrUnavailable) || aws.Unreached(err)
		if !passes || ctx.Err() != nil {
			return rows, err
		}
		s.log.Warn("the warehouse does not tell the positions yet; asking again", "error", err)
		timer := time.NewTimer(pastAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// pastRows are the leases of the shards that the warehouse knows. They make a
// child of such a shard start at its oldest record.
func pastRows(ctx context.Context, db *warehouse.Warehouse, streamName string) ([]lease.Row, error) {
	checkpoints, err := db.Checkpoints(ctx, streamName)
	if err != nil {
		return nil, err
	}
	rows := make([]lease.Row, len(checkpoints))
	for i, p := range checkpoints {
		rows[i] = lease.Row{Shard: p.Shard, Checkpoint: p.Position, Term: p.Term, Stream: p.Stream}
	}
	return rows, nil
}
