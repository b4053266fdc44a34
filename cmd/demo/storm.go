package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// Times of the storm's demo around the storm itself.
const (
	calmTime   = 20 * time.Second // before it, to know what is normal
	afterTime  = 30 * time.Second // for the pipeline to be normal again
	sampleTime = 500 * time.Millisecond
)

// storm shows Query Storm beside a worker under steady load: 90 days of orders in
// the warehouse, then calm, storm, calm, and the comparison of stream and
// warehouse.
func (d *demo) storm(ctx, alive context.Context) error {
	fmt.Printf("making %d orders of the last %d days\n", d.history, historyDays)
	began := time.Now()
	if err := d.makeHistory(ctx, d.history); err != nil {
		return fmt.Errorf("make the history: %w", err)
	}
	fmt.Printf("made in %v; a worker takes %.0f orders/s while the storm runs\n", time.Since(began).Round(time.Millisecond), d.rate)
	loading, err := start(alive, d.env, d.dir, d.worker)
	if err != nil {
		return err
	}
	defer loading.stop()
	publishing := d.publish(alive)
	defer publishing.stop()
	watch := d.watchFreshness(alive)
	defer watch.stop()
	if err := d.pass(ctx, loading, calmTime); err != nil {
		return err
	}
	before := watch.cut()
	if err := d.runStorm(ctx); err != nil {
		return err
	}
	during := watch.cut()
	if err := d.pass(ctx, loading, afterTime); err != nil {
		return err
	}
	after := watch.cut()
	if err := errors.Join(publishing.stop(), loading.interrupt()); err != nil {
		return err
	}
	fmt.Println("\nAge of the completeness watermark, looked at every", sampleTime)
	for _, part := range []struct {
		name string
		ages []time.Duration
	}{{"before", before}, {"during", during}, {"after", after}} {
		fmt.Printf("  %-7s p50 %v  p99 %v  most %v\n", part.name, quantile(part.ages, 0.5), quantile(part.ages, 0.99), quantile(part.ages, 1))
	}
	fmt.Println()
	return d.verify(alive)
}

// pass lets time go by while the worker works.
func (d *demo) pass(ctx context.Context, loading *process, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-loading.ended:
		return loading.failed()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runStorm runs the verb with its display and report on this terminal. Ctrl-C
// goes to it, and ends the storm well.
func (d *demo) runStorm(ctx context.Context) error {
	seconds := d.seconds
	if seconds == 0 {
		seconds = 60
	}
	cmd := exec.CommandContext(ctx, d.worker, "stress", strconv.Itoa(seconds), strconv.Itoa(d.target))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.Env = d.env.list()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("stress: %w", err)
	}
	return nil
}

// verify compares stream and warehouse by the verb.
func (d *demo) verify(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, d.worker, "verify")
	cmd.Env = d.env.list()
	cmd.Stdout, cmd.Stderr = os.Stdout, io.Discard
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	return nil
}

func (d *demo) warehouse() *aws.Redshift {
	return d.account.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin"})
}

// freshness samples the age of the completeness watermark.
type freshness struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex // guards ages
	ages []time.Duration
}

func (d *demo) watchFreshness(ctx context.Context) *freshness {
	ctx, cancel := context.WithCancel(ctx)
	f := &freshness{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(f.ended)
		tick := time.NewTicker(sampleTime)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			if until, ok := d.completeUntil(ctx); ok {
				f.mu.Lock()
				f.ages = append(f.ages, time.Since(until))
				f.mu.Unlock()
			}
		}
	}()
	return f
}

// completeUntil is the completeness watermark: the least over the shards.
func (d *demo) completeUntil(ctx context.Context) (time.Time, bool) {
	checkpoints, err := warehouse.Checkpoints(ctx, d.warehouse(), "order-events")
	if err != nil || len(checkpoints) < d.shards {
		return time.Time{}, false
	}
	oldest := time.Now()
	for _, c := range checkpoints {
		if c.ArrivedUntil.IsZero() {
			return time.Time{}, false
		}
		if c.ArrivedUntil.Before(oldest) {
			oldest = c.ArrivedUntil
		}
	}
	return oldest, true
}

// cut returns the samples since the last cut.
func (f *freshness) cut() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.ages
	f.ages = nil
	return out
}

func (f *freshness) stop() {
	f.cancel()
	<-f.ended
}

func quantile(ages []time.Duration, q float64) time.Duration {
	if len(ages) == 0 {
		return 0
	}
	sorted := slices.Clone(ages)
	slices.Sort(sorted)
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))].Round(time.Millisecond)
}
