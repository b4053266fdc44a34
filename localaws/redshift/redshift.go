// Package redshift is the Redshift Data API of the local AWS. SQL is read as
// Redshift reads it (package dialect) and run by an embedded DuckDB or by a
// PostgreSQL server.
//
// A statement is asynchronous, as at AWS: it is submitted, followed by its id,
// and its result is fetched page by page.
package redshift

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	contentType  = "application/x-amz-json-1.1"
	targetPrefix = "RedshiftData."
	serviceName  = "redshift-data"
)

// Objects is the object store that COPY reads.
type Objects interface {
	// Open returns the object's bytes as they are stored.
	Open(ctx context.Context, bucket, key string) (io.ReadCloser, error)
	// List returns the keys that start with prefix, in order.
	List(ctx context.Context, bucket, prefix string) ([]string, error)
}

// Options says how the service runs. The zero Options is an in-memory DuckDB
// without limits, faults or objects.
type Options struct {
	Warehouse string     // "" or "duckdb", or a postgres:// URL
	DataDir   string     // DuckDB keeps its file here; "" keeps it in memory
	Tiny      bool       // DuckDB is to expect a few rows, and to spend little on planning
	Limits    bool       // enforce AWS's call rates and quotas
	Slots     int        // statements that run at once, 1 to MostSlots; 0 means MostSlots. The others wait, as PICKED
	Pace      Pace       // the time that calls take beside the engine's own
	Faults    *fault.Set // may be nil
	Objects   Objects    // what COPY reads; nil means that no bucket exists
	Log       *slog.Logger

	Named func(cluster string) // is told the name of each cluster that runs a statement; may be nil
}

// Service is the Redshift Data API.
type Service struct {
	opts     Options
	engine   engine
	rates    *rates // nil without limits
	jobs     *registry
	sessions *sessions
	process  process
	blanks   *blanks
	slots    chan struct{} // one for each call that may run at a time, as workload management has them
	conns    chan struct{} // one for each connection that a call outside a session may hold

	ctx     context.Context // ends at Close; statements run under it, not under their request
	stop    context.CancelFunc
	running sync.WaitGroup // the statements that are not yet at their end, and the clients of the PostgreSQL protocol
	gate    sync.Mutex     // no client enters while stop is called
}

// MostSlots bounds the slots, and the connections that calls outside sessions hold at
// a time: a PostgreSQL server takes 100 by default, and sessions need some too.
const MostSlots = 40

var errClosing = errors.New("the service is closing")

// New opens the warehouse and returns the service. Close it when done.
func New(ctx context.Context, opts Options) (*Service, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Faults == nil {
		opts.Faults = fault.NewSet()
	}
	if opts.Slots == 0 {
		opts.Slots = MostSlots
	}
	if opts.Slots < 1 || opts.Slots > MostSlots {
		return nil, fmt.Errorf("%d slots: must be from 1 to %d", opts.Slots, MostSlots)
	}
	if err := opts.Pace.Check(); err != nil {
		return nil, err
	}
	e, err := openEngine(ctx, opts)
	if err != nil {
		return nil, err
	}
	s := &Service{
		opts: opts, engine: e,
		jobs: newRegistry(), sessions: newSessions(), blanks: newBlanks(),
		slots: make(chan struct{}, opts.Slots), conns: make(chan struct{}, MostSlots),
	}
	if opts.Limits {
		s.rates = newRates()
	}
	s.ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Close aborts the statements that run and closes the warehouse.
func (s *Service) Close() error {
	s.gate.Lock()
	s.stop()
	s.gate.Unlock()
	s.jobs.close()
	s.running.Wait()
	s.jobs.drop()
	s.sessions.close()
	return s.engine.close()
}

// Name is the service's name in faults and in the call log.
func (s *Service) Name() string { return serviceName }

// Operations are those that are served.
func (s *Service) Operations() []string { return slices.Sorted(maps.Keys(s.operations())) }

// Match reports whether the request is a call of the Data API.
func (s *Service) Match(r *http.Request, _ []byte) (string, bool) {
	return strings.CutPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
}

// Throttled is the error that the service answers a throttled call with.
func (s *Service) Throttled() *wire.Error {
	return wire.Errorf("ThrottlingException", "Rate exceeded")
}

// Refuse writes err as the Data API writes errors.
func (s *Service) Refuse(w http.ResponseWriter, _ *http.Request, err *wire.Error) {
	wire.WriteJSONError(w, contentType, "Message", err)
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	reply, err := s.answer(r.Context(), operation, body)
	if err != nil {
		var refusal *wire.Error
		if !errors.As(err, &refusal) {
			s.opts.Log.Error("redshift-data: call failed", "operation", operation, "error", err)
			refusal = &wire.Error{Code: "InternalServerException", Message: err.Error(), Status: http.StatusInternalServerError}
		}
		s.Refuse(w, r, refusal)
		return
	}
	wire.WriteJSON(w, contentType, http.StatusOK, reply)
}

// answer runs one operation; the error is a *wire.Error where the caller is to
// blame for it.
func (s *Service) answer(ctx context.Context, operation string, body []byte) ([]byte, error) {
	handle, ok := s.operations()[operation]
	if !ok {
		return nil, wire.Errorf("UnknownOperationException", "Unknown operation %q", operation)
	}
	if s.rates != nil && !s.rates.allow(operation, time.Now()) {
		return nil, s.Throttled()
	}
	in, err := parseMembers(body)
	if err != nil {
		return nil, err
	}
	out, err := handle(ctx, in)
	if err != nil {
		return nil, err
	}
	return marshal(out)
}

type handler func(ctx context.Context, in members) (any, error)

func (s *Service) operations() map[string]handler {
	return map[string]handler{
		"ExecuteStatement":      s.executeStatement,
		"BatchExecuteStatement": s.batchExecuteStatement,
		"DescribeStatement":     s.describeStatement,
		"GetStatementResult":    s.getStatementResult,
		"GetStatementResultV2":  s.getStatementResultV2,
		"CancelStatement":       s.cancelStatement,
		"ListStatements":        s.listStatements,
		"ListDatabases":         s.listDatabases,
		"ListSchemas":           s.listSchemas,
		"ListTables":            s.listTables,
		"DescribeTable":         s.describeTable,
	}
}

// Query runs one Redshift statement on a connection of its own and returns its
// rows as text, NULL as "NULL". It is the door for tests and benchmarks inside
// this process.
func (s *Service) Query(ctx context.Context, sql string) (columns []string, rows [][]string, err error) {
	b, err := s.connect(ctx, submission{database: "dev", user: "admin"})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var t textSink
	if _, err := b.single(ctx, sql, nil, &t); err != nil {
		return nil, nil, fmt.Errorf("query: %w", err)
	}
	return t.names, t.rows, nil
}
