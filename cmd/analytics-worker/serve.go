package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// serve runs the worker until ctx ends, and then drains it.
func (a *app) serve(ctx context.Context) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	if c.LogFile == "" {
		return a.work(ctx, c, a.logger())
	}
	file, err := openLogFile(c.LogFile, logFileBytes)
	log := a.logger(file)
	if err != nil {
		log.Warn("the log is not written to LOG_FILE yet", "error", fmt.Errorf("%w: %w", errLogFile, err))
	}
	err = a.work(ctx, c, log)
	if err != nil { // it is printed, which is no line of the log
		slog.New(advising{slog.NewJSONHandler(file, nil)}).Error("the worker ended", "error", err)
	}
	if e := file.Close(); e != nil {
		log.Warn("the end of the log may be missing", "error", e)
	}
	return err
}

var errLogFile = errors.New("no log file")

// work is serve with settings and a log.
func (a *app) work(ctx context.Context, c config, log *slog.Logger) error {
	recent := admin.NewRecent()
	log = slog.New(advising{recent.Wrap(log.Handler())})
	// The collector works harder rather than let the heap pass the limit.
	debug.SetMemoryLimit(c.heapBytes())
	if os.Getenv("GOGC") == "" {
		// The memory of pages is used again, so collections are rare, and coming
		// early costs little: garbage is kept to half of what is in use.
		debug.SetGCPercent(50)
	}
	m := tellManager(log)
	defer m.end()
	ctx = pulse.With(ctx, &m.start)
	account, err := c.awaitAccount(ctx, log)
	if err != nil && ctx.Err() != nil {
		log.Info("stopped before it had started")
		return nil
	}
	if err != nil {
		return err
	}
	defer account.Close()
	region, found := account.Region()
	who := newIdentity(c, region, log)
	defer who.Leave()
	counts := new(metrics.Metrics)
	publisher, err := openPublisher(c, account, counts, log)
	if err != nil {
		return err
	}
	sc := a.serviceConfig(c, account, who, log)
	sc.Metrics, sc.Stopping = counts, m.stopping
	sc.Vitals = c.vitals(account, publisher, m, recent)
	var pages *pages
	sc.Vitals.Version, sc.Vitals.Since, sc.Vitals.Page = buildVersion(), a.started, func() string { return pages.url() }
	s, err := service.New(sc)
	if err != nil {
		return err
	}
	if pages, err = openPages(c, s, who, a.started, account.Redshift(c.Redshift), recent, log); err != nil {
		return err
	}
	log.Info("starting", "version", buildVersion(), "stream", c.Stream, "region", region+" ("+found+")", "worker", who.name,
		"warehouse", c.warehouseName(), "fill", c.fillName(), "dead_letters", c.lettersInFull(), "http", pages.address(), "memory_limit", c.MemoryLimit)
	m.follow(s, who.name)
	if publisher == nil {
		return s.Run(ctx, pages.serve)
	}
	return s.Run(ctx, pages.serve, publisher.Run)
}

// serviceConfig is what the settings make of a service.
func (a *app) serviceConfig(c config, account *aws.Account, who identity, log *slog.Logger) service.Config {
	return service.Config{
		Account:       account,
		Stream:        c.Stream,
		Redshift:      c.Redshift,
		StagingURL:    c.StagingURL,
		CopyIAMRole:   c.CopyIAMRole,
		DeadLetterURL: c.DeadLetterURL,
		LeaseTable:    c.leaseTableName(account),
		Self:          who.name,
		Predecessor:   who.Predecessor,
		Families:      c.Families,
		BatchSize:     c.BatchSize,
		PollInterval:  c.PollInterval,
		LoadInterval:  c.LoadInterval,
		PageBytes:     c.pageBytes(),
		Initial:       func(sh stream.Shard) stream.Position { return c.Initial.of(sh, account.ServiceTime(a.started)) },
		DrainTimeout:  c.DrainTimeout,
		Log:           log,
	}
}

func (c config) warehouseName() string {
	if c.Redshift.Workgroup != "" {
		return c.Redshift.Workgroup + "/" + c.Redshift.Database
	}
	return c.Redshift.ClusterID + "/" + c.Redshift.Database
}

func (c config) fillName() string {
	if c.StagingURL == "" {
		return "INSERT"
	}
	return "COPY from " + c.StagingURL
}
