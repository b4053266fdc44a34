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
	judge(before, during, after).write(os.Stdout)
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
	return d.account.Redshift(aws.RedshiftConfig{ClusterID: "cloudcafe-redshift-dev", Database: "analytics", DBUser: "admin", Names: d.names})
}

// freshness samples the age of the completeness watermark.
type freshness struct {
	cancel context.CancelFunc
	ended  chan struct{}

	mu   sync.Mutex // guards part
	part part
}

// part is what was sampled over a part of the time.
type part struct {
	from    time.Time
	samples []sample
	unknown int // times that it could not be told
}

type sample struct {
	at  time.Time
	age time.Duration
}

func (d *demo) watchFreshness(ctx context.Context) *freshness {
	ctx, cancel := context.WithCancel(ctx)
	f := &freshness{cancel: cancel, ended: make(chan struct{}), part: part{from: time.Now()}}
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
			until, known := d.completeUntil(ctx)
			now := time.Now()
			f.mu.Lock()
			if known {
				f.part.samples = append(f.part.samples, sample{now, now.Sub(until)})
			} else {
				f.part.unknown++
			}
			f.mu.Unlock()
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
	until := warehouse.CompleteUntil(checkpoints)
	return until, !until.IsZero()
}

// cut returns what was sampled since the last cut.
func (f *freshness) cut() part {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.part
	f.part = part{from: time.Now()}
	return out
}

func (f *freshness) stop() {
	f.cancel()
	<-f.ended
}

// quantile is -1 where there are no samples.
func (p part) quantile(q float64) time.Duration {
	if len(p.samples) == 0 {
		return -1
	}
	ages := make([]time.Duration, len(p.samples))
	for i, s := range p.samples {
		ages[i] = s.age
	}
	slices.Sort(ages)
	return ages[min(len(ages)-1, int(q*float64(len(ages))))].Round(time.Millisecond)
}

// Bounds of how the pipeline rides a storm out.
const (
	mostRatio   = 3   // of the p99 during the storm to that before
	normalRatio = 1.5 // an age up to this much of the p99 before is normal
)

// verdict is how the pipeline rode the storm out.
type verdict struct {
	before, during, after part
	ratio                 float64       // of the p99 during to the p99 before; 0 = not known
	back                  time.Duration // from the end of the storm until the age was normal for good; below 0 = it was not
}

func judge(before, during, after part) verdict {
	v := verdict{before: before, during: during, after: after, back: -1}
	usual := before.quantile(0.99)
	if usual <= 0 || len(during.samples) == 0 || len(after.samples) == 0 {
		return v
	}
	v.ratio = float64(during.quantile(0.99)) / float64(usual)
	v.back = 0
	for i, s := range after.samples {
		if float64(s.age) <= normalRatio*float64(usual) {
			continue
		}
		if i == len(after.samples)-1 {
			v.back = -1
		} else {
			v.back = s.at.Sub(after.from).Round(100 * time.Millisecond)
		}
	}
	return v
}

func (v verdict) write(w io.Writer) {
	for _, p := range []struct {
		name string
		part
	}{{"before", v.before}, {"during", v.during}, {"after", v.after}} {
		fmt.Fprintf(w, "  %-7s p50 %v  p99 %v  most %v  (%d samples, %d times not known)\n",
			p.name, p.quantile(0.5), p.quantile(0.99), p.quantile(1), len(p.samples), p.unknown)
	}
	switch {
	case v.ratio == 0:
		fmt.Fprintln(w, "FRESHNESS NOT KNOWN: too few samples to compare")
		return
	case v.ratio > mostRatio:
		fmt.Fprintf(w, "THE PIPELINE LAGGED: the p99 during the storm is %.2f times that before; at most %d times is wanted\n", v.ratio, mostRatio)
	default:
		fmt.Fprintf(w, "the p99 during the storm is %.2f times that before (at most %d times is wanted)\n", v.ratio, mostRatio)
	}
	if v.back < 0 {
		fmt.Fprintf(w, "NOT BACK TO NORMAL within %v of the storm's end: the age is above %v times the p99 before\n", afterTime, normalRatio)
		return
	}
	fmt.Fprintf(w, "back to normal %v after the storm's end (within %v is wanted)\n", v.back, afterTime)
}
