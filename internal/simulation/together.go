package simulation

import (
	"context"
	"errors"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/fleet"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// drainTime is how long a worker that stops has for the load that it makes for
// others.
const drainTime = 25 * time.Second

// together makes a worker load with the others of its lease table.
func (w *World) together(r *Running, c Worker, db *warehouse.Warehouse, staging *warehouse.Copy, bucket *aws.Bucket) *fleet.Fleet {
	return fleet.New(fleet.Config{
		Warehouse: db, Copy: staging, Bucket: bucket, Self: c.Name, Stream: w.stream, Place: []string{c.LeaseTable},
		Owners: func() ([]string, stream.Identity) {
			v := r.Holder.View()
			return v.Owners(time.Now()), v.Stream
		},
		Quiet:        func() []warehouse.Move { return r.Worker.Quiet() },
		Advanced:     func(m []warehouse.Move) { r.Worker.Advanced(m) },
		Duplicates:   func(n int) { r.Metrics.DuplicateEvents.Add(n) },
		LoadInterval: c.LoadInterval, PollInterval: c.PollInterval, Patience: c.Patience, Log: w.Options.Log,
	})
}

// run works until soft ends and everything read is loaded, or until it is killed.
func (r *Running) run(ctx, soft, hard context.Context, kill context.CancelCauseFunc, db *warehouse.Warehouse) error {
	loading := make(chan error, 1)
	go func() { loading <- r.Worker.Run(hard) }()
	if r.Fleet != nil {
		defer context.AfterFunc(soft, r.Fleet.Leave)()
		go r.Fleet.Run(context.WithoutCancel(ctx))
	}
	err := r.Holder.Run(soft)
	kill(nil)
	err = errors.Join(err, <-loading)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if errors.Is(context.Cause(hard), errKilled) {
		cancel()
	}
	if r.Fleet != nil {
		r.Fleet.Close(last)
	}
	tidy, cancelTidy := context.WithTimeout(last, tidyTime)
	defer cancelTidy()
	db.Close(tidy)
	return err
}
