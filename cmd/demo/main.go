// Command demo shows the whole of it on one machine: the local AWS, a stream of
// orders, two workers that load them while things go wrong, and at the end a reconciliation of what was
// published with what is in the warehouse. `make demo` builds and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// options are the flags of the demo.
type options struct {
	bin     string
	seconds int
	rate    float64
	shards  int
	bad     float64
	keep    bool
	pace    string
	storm   bool
	target  int
	history int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "folder of the programs analytics-worker and localaws")
	flag.IntVar(&o.seconds, "seconds", 0, "stop publishing after so many seconds; 0 = on Ctrl-C")
	flag.Float64Var(&o.rate, "rate", 300, "orders a second")
	flag.IntVar(&o.shards, "shards", 4, "shards of the stream")
	flag.Float64Var(&o.bad, "bad", 0.01, "share of broken records")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with logs and dead letters")
	flag.StringVar(&o.pace, "pace", "engine", "time that SQL takes, as localaws --pace has it: engine or redshift")
	flag.BoolVar(&o.storm, "storm", false, "show Query Storm beside the worker; -seconds is how long it runs (60)")
	flag.IntVar(&o.target, "cpu", 90, "target of the storm in percent")
	flag.IntVar(&o.history, "history", 1_000_000, "orders of the last 90 days that the storm asks about")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run starts everything, shows it, and checks the outcome.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "analytics-worker-demo-")
	if err != nil {
		return err
	}
	if o.keep {
		fmt.Println("logs and dead letters are in", dir)
	} else {
		defer func() { _ = os.RemoveAll(dir) }()
	}
	// Ports of its own: a worker that somebody left running against the usual
	// address would take its share of the stream, and be counted nowhere.
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	pages, err := freeAddr()
	if err != nil {
		return err
	}
	names, err := warehouse.NamesIn(os.Getenv("REDSHIFT_SCHEMA")) // which the programs started get too
	if err != nil {
		return fmt.Errorf("REDSHIFT_SCHEMA: %w", err)
	}
	env := newEnvironment(addr, pages, dir)
	// What was started must outlive Ctrl-C: the worker drains, the local AWS goes last.
	alive, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	serve := []string{"--addr", addr, "--pace", o.pace}
	if o.storm {
		serve = append(serve, "--slots", "5") // so that queries queue as they do in Redshift
	}
	local, err := start(alive, env, dir, filepath.Join(o.bin, "localaws"), serve...)
	if err != nil {
		return err
	}
	defer local.stop()
	if err := awaitReady(ctx, "http://"+addr+"/_localaws/health", local); err != nil {
		return err
	}
	worker := filepath.Join(o.bin, "analytics-worker")
	for _, args := range [][]string{{"schema", "--apply"}, {"publish", "--count", "1", "--create", fmt.Sprint(o.shards)}} {
		if err := runOnce(ctx, env, dir, worker, args...); err != nil {
			return err
		}
	}
	d := &demo{options: o, env: env, names: names, dir: dir, worker: worker, pages: "http://" + pages}
	d.published.Store(1)
	if d.account, err = openAccount(ctx, env); err != nil {
		return err
	}
	defer d.account.Close()
	if o.storm {
		return d.storm(ctx, alive)
	}
	if err := d.load(ctx, alive); err != nil {
		return err
	}
	return d.reconcile(alive)
}

// openAccount opens the local AWS for the demo's own queries.
func openAccount(ctx context.Context, env environment) (*aws.Account, error) {
	for _, kv := range env.own() {
		if err := os.Setenv(kv[0], kv[1]); err != nil {
			return nil, err
		}
	}
	return aws.Open(ctx, aws.Options{Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
}

// freeAddr is a loopback address that nothing listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// demo is a run under way.
type demo struct {
	options
	env       environment
	names     warehouse.Names
	dir       string
	worker    string
	account   *aws.Account
	pages     string    // of the worker, or of the first one
	workers   []*member // none beside a storm
	published atomic.Int64
}

// load publishes and loads until ctx ends or the time is up, with the troubles of the
// timeline, and then until the workers have caught up.
func (d *demo) load(ctx, alive context.Context) error {
	defer d.stopWorkers()
	for range 2 {
		if _, err := d.startWorker(alive); err != nil {
			return err
		}
	}
	d.pages = d.workers[0].pages
	publishing := d.publish(alive)
	defer publishing.stop()
	var timeUp <-chan time.Time
	if d.seconds > 0 {
		timer := time.NewTimer(time.Duration(d.seconds) * time.Second)
		defer timer.Stop()
		timeUp = timer.C
	}
	screen, troubles := newScreen(d, os.Stdout), newTimeline(d)
	screen.say("look at " + d.pages + " while it runs: it is the dashboard of worker 1")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-timeUp:
			running = false
		case <-tick.C:
			if err := errors.Join(screen.show(alive, "publishing; Ctrl-C ends it"), troubles.step(alive, screen.say, false), d.workersEnded()); err != nil {
				return err
			}
		case <-publishing.ended:
			return publishing.err
		}
	}
	if err := publishing.stop(); err != nil {
		return err
	}
	if err := d.awaitCaughtUp(alive, screen, troubles, tick.C); err != nil {
		return err
	}
	for _, m := range d.workers {
		if !m.killed {
			if err := m.interrupt(); err != nil {
				return err
			}
		}
	}
	return nil
}

// catchUpTime is how long the workers may take to load what was published.
const catchUpTime = time.Minute

// awaitCaughtUp waits until the troubles are over and all that was published is loaded.
// What a worker that was killed had loaded last it told nobody: so the warehouse is
// asked, by verify.
func (d *demo) awaitCaughtUp(ctx context.Context, s *screen, t *timeline, tick <-chan time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTime)
	defer cancel()
	for {
		if err := errors.Join(s.show(ctx, "loading the rest"), t.step(ctx, s.say, true), d.workersEnded()); err != nil {
			return err
		}
		if t.done() {
			r, err := d.compare(ctx)
			if err != nil {
				return err
			}
			if r.Records == d.published.Load() {
				return nil
			}
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("after %v the workers have not loaded all of %d records; their logs are in %s (--keep)", catchUpTime, d.published.Load(), d.dir)
		}
	}
}
