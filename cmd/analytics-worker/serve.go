package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// drainTime is how long a worker that was told to stop may take to load what it
// has read: systemd and Spot both give more.
const drainTime = 25 * time.Second

// serve runs the worker until ctx ends, and then drains it.
func (a *app) serve(ctx context.Context) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	log := a.logger()
	// The collector works harder rather than let the heap pass the limit; the
	// part left out is for what the runtime does not count (stacks of the kernel,
	// the binary itself).
	debug.SetMemoryLimit(c.MemoryLimit / 10 * 9)
	s, err := a.assemble(ctx, c, log)
	if err != nil {
		return err
	}
	log.Info("starting", "version", buildVersion(), "stream", c.Stream, "worker", s.name,
		"warehouse", c.warehouseName(), "fill", c.fillName(), "dead_letters", c.DeadLetterURL, "http", s.address(), "memory_limit", c.MemoryLimit)
	return s.run(ctx, log)
}

// service is a worker and its leases, ready to run.
type service struct {
	name    string
	worker  *worker.Worker
	holder  *lease.Holder
	metrics *metrics.Metrics
	listen  net.Listener // nil = no HTTP
	pages   http.Handler
}

// run works until ctx ends: then reading stops, what was read is loaded, the
// leases are handed over, and it returns.
func (s *service) run(ctx context.Context, log *slog.Logger) error {
	hard, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	loading := make(chan error, 1)
	go func() { loading <- s.worker.Run(hard) }()
	overdue := make(chan struct{})
	stopTimer := context.AfterFunc(ctx, func() {
		log.Info("stopping: loading what was read")
		select {
		case <-time.After(drainTime):
			close(overdue)
			kill(errors.New("draining took too long"))
		case <-hard.Done():
		}
	})
	defer stopTimer()
	defer s.serveHTTP(log)()
	err := s.holder.Run(ctx)
	kill(nil)
	if lerr := <-loading; err == nil {
		err = lerr
	}
	select {
	case <-overdue:
		return fmt.Errorf("not everything that was read could be loaded within %v; it stays on the stream and is read again", drainTime)
	default:
	}
	log.Info("stopped")
	return err
}

// serveHTTP serves the pages until the returned function is called.
func (s *service) serveHTTP(log *slog.Logger) (stop func()) {
	if s.listen == nil {
		return func() {}
	}
	server := &http.Server{Handler: s.pages, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(s.listen); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the HTTP pages ended; loading goes on", "error", err)
		}
	}()
	return func() { _ = server.Close(); <-ended }
}

// assemble makes the service from its settings.
func (a *app) assemble(ctx context.Context, c config, log *slog.Logger) (*service, error) {
	account, err := aws.Open(ctx, aws.Options{Region: c.Region, Log: log})
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
	who := newIdentity(c)
	s := &service{name: who.name, metrics: new(metrics.Metrics)}
	db := warehouse.New(account.Redshift(c.Redshift), fill)
	table, err := c.leaseTable(ctx, account, db)
	if err != nil {
		return nil, err
	}
	s.worker = worker.New(worker.Config{
		Stream:    source.Name(),
		Open:      func(sh stream.Shard, at stream.Position) worker.Reader { return source.Reader(sh, at) },
		Shards:    source.Shards,
		Warehouse: db,
		Letters:   letters,
		Note:      func(shard string, p stream.Position) { s.holder.Note(shard, p) },

		BatchSize:    c.BatchSize,
		PollInterval: c.PollInterval,
		LoadInterval: c.LoadInterval,
		QueueBytes:   c.MemoryLimit / 5,
		FetchBytes:   c.MemoryLimit / 10,

		Metrics: s.metrics,
		Log:     log,
	})
	started := time.Now()
	s.holder, err = lease.New(lease.Config{
		Table:       table,
		Shards:      source.Shards,
		Self:        who.name,
		Predecessor: who.predecessor,
		Initial:     func(sh stream.Shard) stream.Position { return c.Initial.of(sh, started) },
		Own:         s.worker.Own,
		Log:         log,
	})
	if err != nil {
		return nil, err
	}
	return s, s.openHTTP(c)
}

// address is where the pages are served.
func (s *service) address() string {
	if s.listen == nil {
		return "off"
	}
	return s.listen.Addr().String()
}

func (s *service) openHTTP(c config) (err error) {
	if c.HTTPAddr == "" {
		return nil
	}
	s.listen, err = net.Listen("tcp", c.HTTPAddr)
	if err != nil && !c.HTTPAddrSet { // a second worker on the machine is no mistake
		s.listen, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w; choose another address, or set it empty to do without", err)
	}
	s.pages = admin.Handler(admin.Config{
		Version: buildVersion(), Worker: s.name, Stream: c.Stream, Status: s.worker.Status, Metrics: s.metrics,
	})
	return nil
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
