package localaws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/autoscaling"
	"github.com/cloudcafe/analytics-worker/localaws/cloudwatch"
	"github.com/cloudcafe/analytics-worker/localaws/clusters"
	"github.com/cloudcafe/analytics-worker/localaws/dynamodb"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/imds"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/redshift"
	"github.com/cloudcafe/analytics-worker/localaws/s3"
	"github.com/cloudcafe/analytics-worker/localaws/sts"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Config are the settings of a Server.
type Config struct {
	DataDir   string // where streams, objects and tables are kept; "" keeps them in memory
	Warehouse string // "" or "duckdb", or a postgres:// URL
	Tiny      bool   // DuckDB is to expect a few rows, and to spend little on planning
	Limits    bool   // enforce the documented rates and quotas
	Slots     int    // statements that the warehouse runs at once; 0 means 40
	Pace      Pace   // the time that statements take beside the engine's own; the zero Pace is none

	// What New makes, in no call log. Streams, their open shards by name, and Buckets
	// stay as they are where an earlier run on the same DataDir made them.
	Streams map[string]int
	Buckets []string
	SQL     []string // one statement each, in Redshift's SQL, run in this order

	// Hosts are names that requests may be for, besides 127.0.0.1, localhost and
	// those under .localhost: others are refused, as a browser would send them.
	Hosts []string
	// ClockOffset is how far AWS's clock is ahead of this machine's. The streams
	// and the dates of all answers go by AWS's.
	ClockOffset time.Duration
	Log         *slog.Logger
}

// Pace is the time that statements of the warehouse take beside the engine's own.
type Pace = redshift.Pace

// QueueSlots is how many statements Redshift's default queue runs at once.
const QueueSlots = redshift.QueueSlots

// RedshiftPace is Redshift's, by published figures.
func RedshiftPace() Pace { return redshift.Published() }

// Server is a local AWS.
type Server struct {
	config   Config
	log      *slog.Logger
	faults   *fault.Set
	endpoint *endpoint.Endpoint
	offset   atomic.Int64 // of AWS's clock
	instance atomic.Pointer[imds.Service]
	sql      atomic.Pointer[redshift.Service]
	psql     atomic.Pointer[net.TCPAddr] // where it is served to SQL clients; nil = nowhere
	closers  []func() error              // of the services, in the order of their opening
}

// New opens every service. The caller must Close the Server.
func New(ctx context.Context, c Config) (*Server, error) {
	s := &Server{config: c, log: c.Log, faults: fault.NewSet()}
	s.offset.Store(int64(c.ClockOffset))
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if c.DataDir != "" {
		if err := makePrivate(c.DataDir); err != nil {
			return nil, fmt.Errorf("make the data directory: %w", err)
		}
	}
	services, err := s.open(ctx)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.endpoint = endpoint.New(endpoint.Options{
		Services: services, Faults: s.faults, Log: s.log, Hosts: c.Hosts, Now: s.now, Reset: s.reset,
		Admin: map[string]http.Handler{
			"imds":  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.instance.Load().Admin().ServeHTTP(w, r) }),
			"clock": s.clock(),
		},
	})
	return s, nil
}

// now is AWS's clock.
func (s *Server) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// open opens every service with what the settings name.
func (s *Server) open(ctx context.Context) ([]wire.Service, error) {
	c := s.config
	streams, err := kinesis.New(kinesis.Options{DataDir: c.DataDir, Limits: c.Limits, Now: s.now, Log: s.log})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, streams.Close)
	objects, err := s3.New(s3.Options{DataDir: c.DataDir})
	if err != nil {
		return nil, err
	}
	named := clusters.New(clusters.Options{Faults: s.faults, Endpoint: s.psql.Load})
	statements, err := redshift.New(ctx, redshift.Options{
		Warehouse: c.Warehouse, DataDir: c.DataDir, Tiny: c.Tiny, Limits: c.Limits, Slots: c.Slots, Pace: c.Pace, Faults: s.faults, Objects: objects, Log: s.log,
		Named: named.Met,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, statements.Close)
	s.sql.Store(statements)
	if err := c.fill(ctx, streams, objects, statements); err != nil {
		return nil, err
	}
	instance := imds.New()
	s.instance.Store(instance)
	return []wire.Service{
		streams,
		statements,
		dynamodb.New(dynamodb.Options{Limits: c.Limits}),
		cloudwatch.New(cloudwatch.Options{Limits: c.Limits}),
		autoscaling.New(),
		sts.New(),
		named,
		instance,
		objects, // last, as it takes any path
	}, nil
}

// fill makes what the settings name.
func (c Config) fill(ctx context.Context, streams *kinesis.Service, objects *s3.Service, statements *redshift.Service) error {
	for _, name := range slices.Sorted(maps.Keys(c.Streams)) {
		if err := streams.Create(name, c.Streams[name]); err != nil {
			return err
		}
	}
	for _, name := range c.Buckets {
		if err := objects.Create(name); err != nil {
			return err
		}
	}
	for _, sql := range c.SQL {
		if _, _, err := statements.Query(ctx, sql); err != nil {
			return fmt.Errorf("run %q: %w", sql, err)
		}
	}
	return nil
}

// Faults are the named faults that stand, for tests that hold the Server itself.
func (s *Server) Faults() *fault.Set { return s.faults }

// Close ends what the services run and lets go of their files. It must come
// after Serve has returned.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// Handler is the endpoint, for a server of one's own.
func (s *Server) Handler() http.Handler { return s.endpoint }

// Serve answers on the listener until ctx ends, lets the calls under way end,
// and returns nil. It closes the listener, which may be one in memory.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return s.endpoint.Serve(ctx, listener)
}

// ServePSQL answers the PostgreSQL protocol on the listener until ctx ends, for psql and
// what else speaks it to Redshift: any user and database, no password, no encryption. It
// closes the listener and, in the end, every connection; a reset closes those too.
func (s *Server) ServePSQL(ctx context.Context, listener net.Listener) error {
	if at, ok := listener.Addr().(*net.TCPAddr); ok {
		s.psql.Store(at)
		defer s.psql.Store(nil)
	}
	return redshift.ServePSQL(ctx, listener, s.sql.Load)
}
