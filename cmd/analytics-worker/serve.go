package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	loads "github.com/cloudcafe/analytics-worker/internal/fleet"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/pulse"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// tidyTime is how long a worker that stops takes, within its time to drain, to
// remove what nothing depends on.
const tidyTime = 5 * time.Second

var errDrainOverdue = errors.New("draining took too long")

// errGone marks the error of a worker whose instance is about to end. Whoever would
// start it again after an error must not: see exitGone.
var errGone = errors.New("the instance is about to end")

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
		log.Warn("the log is not written to LOG_FILE yet", "error", err, "hint", "let the folder be there, and the worker's user write to it")
	}
	err = a.work(ctx, c, log)
	if err != nil { // it is printed, which is no line of the log
		slog.New(slog.NewJSONHandler(file, nil)).Error("the worker ended", "error", err)
	}
	if e := file.Close(); e != nil {
		log.Warn("the end of the log may be missing", "error", e)
	}
	return err
}

// work is serve with settings and a log.
func (a *app) work(ctx context.Context, c config, log *slog.Logger) error {
	recent := admin.NewRecent()
	log = slog.New(recent.Wrap(log.Handler()))
	// The collector works harder rather than let the heap pass the limit.
	debug.SetMemoryLimit(c.heapBytes())
	if os.Getenv("GOGC") == "" {
		// The memory of pages is used again, so collections are rare, and coming
		// early costs little: garbage is kept to half of what is in use.
		debug.SetGCPercent(50)
	}
	m := tellManager(log)
	defer m.end()
	s, err := a.assemble(pulse.With(ctx, &m.start), c, log, recent)
	if err != nil && ctx.Err() != nil {
		log.Info("stopped before it had started")
		return nil
	}
	if err != nil {
		return err
	}
	defer s.seat.leave()
	log.Info("starting", "version", buildVersion(), "stream", c.Stream, "region", s.region, "worker", s.name,
		"warehouse", c.warehouseName(), "fill", c.fillName(), "dead_letters", c.DeadLetterURL, "http", s.address(), "memory_limit", c.MemoryLimit)
	s.manager = m
	m.follow(s)
	return s.run(ctx, log)
}

// service is a worker and its leases, ready to run.
type service struct {
	name      string
	region    string // and what named it
	seat      identity
	source    *aws.Stream
	instance  *aws.Instance
	worker    *worker.Worker
	warehouse *warehouse.Warehouse
	fleet     *loads.Fleet // nil = it loads for itself
	holder    *lease.Holder
	metrics   *metrics.Metrics
	publisher *metrics.Publisher // nil = metrics are not sent
	retention retention
	manager   *manager
	listen    net.Listener // nil = no HTTP
	pages     *admin.Site
	watch     *vitals.Watch

	drainTimeout time.Duration
}

// run works until ctx ends or the instance is about to: then reading stops,
// what was read is loaded, the leases are handed over, and it returns.
func (s *service) run(ctx context.Context, log *slog.Logger) error {
	ctx, drained := s.heedNotices(ctx, log)
	defer drained()
	drain, overdue := context.WithCancelCause(context.WithoutCancel(ctx)) // ends when the time for it does
	defer overdue(nil)
	hard, kill := context.WithCancel(drain)
	defer kill()
	loading := make(chan error, 1)
	go func() { loading <- s.worker.Run(pulse.With(hard, &s.manager.loader)) }()
	leaveFleet := s.joinFleet(ctx)
	stopTimer := context.AfterFunc(ctx, func() {
		limit := drainTime(context.Cause(ctx), time.Now(), s.drainTimeout)
		s.manager.stopping(limit)
		log.Info("stopping: loading what was read", "within", limit.Round(time.Second).String())
		select {
		case <-time.After(limit):
			overdue(errDrainOverdue)
		case <-drain.Done():
		}
	})
	defer stopTimer()
	defer s.startWatch(ctx)()
	defer s.startMetrics(ctx, log)() // ends last: what draining counts is published too
	defer s.serveHTTP(ctx, log)()
	err := s.holder.Run(pulse.With(ctx, &s.manager.leases))
	kill()
	if lerr := <-loading; err == nil {
		err = lerr
	}
	late := errors.Is(context.Cause(drain), errDrainOverdue)
	leaveFleet(drain)
	tidy, cancel := context.WithTimeout(drain, tidyTime)
	defer cancel()
	s.warehouse.Close(tidy)
	if late {
		err = errors.New("not everything that was read could be loaded in time; it stays on the stream and is read again; see DRAIN_TIMEOUT")
	}
	if err != nil && errors.As(context.Cause(ctx), new(noticed)) {
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	if !late {
		log.Info("stopped")
	}
	return err
}

// assemble makes the service from its settings.
func (a *app) assemble(ctx context.Context, c config, log *slog.Logger, recent *admin.Recent) (*service, error) {
	account, err := c.awaitAccount(ctx, log)
	if err != nil {
		return nil, err
	}
	source := account.Stream(c.Stream)
	fill, err := c.fill(account, log)
	if err != nil {
		return nil, err
	}
	letters, err := c.letters(account)
	if err != nil {
		return nil, err
	}
	region, found := account.Region()
	who := newIdentity(c, region, log)
	sql := account.Redshift(c.Redshift)
	db := warehouse.New(sql, fill)
	s := &service{
		name: who.name, region: region + " (" + found + ")", seat: who, source: source, instance: account.Instance(),
		warehouse: db, metrics: new(metrics.Metrics), drainTimeout: c.DrainTimeout,
	}
	table, remake, err := c.leaseTable(ctx, account, db, log)
	if err != nil {
		return nil, err
	}
	house, err := s.together(c, account, fill, log)
	if err != nil {
		return nil, err
	}
	s.worker = worker.New(worker.Config{
		Stream: source.Name(),
		Open: func(sh stream.Shard, at stream.Position, room func(int) error) worker.Reader {
			return source.BoundedReader(sh, at, room)
		},
		Fetch:     source.Record,
		Shards:    source.Shards,
		Identity:  source.Identity,
		Warehouse: house,
		Letters:   letters,

		StreamTime: account.ServiceTime,
		Note:       func(shard string, p stream.Position) { s.holder.Note(shard, p) },

		Families:     c.Families,
		BatchSize:    c.BatchSize,
		PollInterval: c.PollInterval,
		LoadInterval: c.LoadInterval,
		PageBytes:    c.pageBytes(),

		Metrics: s.metrics,
		Log:     log,
	})
	if err := s.openLeases(a.started, c, account, db, table, remake, who, log); err != nil {
		return nil, err
	}
	if err := s.openMetrics(c, account, log); err != nil {
		return nil, err
	}
	s.openWatch(c, account, recent, log)
	return s, s.openHTTP(c, sql, recent, log)
}

// openLeases makes what takes and keeps leases.
func (s *service) openLeases(started time.Time, c config, account *aws.Account, db *warehouse.Warehouse, table lease.Table, remake func(context.Context) error, who identity, log *slog.Logger) (err error) {
	s.holder, err = lease.New(lease.Config{
		Table:    table,
		Shards:   s.source.Shards,
		Identity: s.source.Identity,
		Remake:   remake,
		Past: func(ctx context.Context) ([]lease.Row, error) {
			rows, err := pastRows(ctx, db, s.source.Name())
			if errors.Is(err, warehouse.ErrNoTable) {
				return nil, nil // nothing was ever loaded; the claims will say what is missing
			}
			return rows, err
		},
		Self:        who.name,
		Predecessor: who.predecessor,
		Initial:     func(sh stream.Shard) stream.Position { return c.Initial.of(sh, account.ServiceTime(started)) },
		StreamTime:  account.ServiceTime,
		Own:         s.worker.Own,
		Word:        func() string { return s.watch.Word() },
		Until:       s.worker.CompleteUntil,
		Count:       func() { s.metrics.WorkerErrors.Add(1) },
		Log:         log,
	})
	return err
}

// fill is how rows come into the warehouse: COPY where there is a bucket for it.
func (c config) fill(account *aws.Account, log *slog.Logger) (warehouse.Fill, error) {
	if c.StagingURL == "" {
		return warehouse.Insert{}, nil
	}
	bucket, err := account.Bucket(c.StagingURL)
	if err != nil {
		return nil, fmt.Errorf("STAGING_URL: %w", err)
	}
	return &warehouse.Copy{Staging: bucket, IAMRole: c.CopyIAMRole, Log: log}, nil
}

func (c config) letters(account *aws.Account) (*deadletter.Store, error) {
	name := account.Stream(c.Stream).Name()
	if strings.HasPrefix(c.DeadLetterURL, "s3://") {
		bucket, err := account.Bucket(c.DeadLetterURL)
		if err != nil {
			return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
		}
		return deadletter.New(bucket, name), nil
	}
	dir, err := deadletter.Dir(filePath(c.DeadLetterURL))
	if err != nil {
		return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
	}
	return deadletter.New(dir, name), nil
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
