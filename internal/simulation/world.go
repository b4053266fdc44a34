// Package simulation runs real workers against the local AWS inside one
// process, breaks what can break, and asks the verifier whether every record
// took effect exactly once.
package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/memnet"
)

// host is the name of each World's local AWS.
const host = "localaws.internal"

// Endpoint is where the SDK believes the local AWS to be. Each World's HTTP
// client connects to its own, whatever the name says, so that many worlds can
// live side by side although the SDK reads one environment.
const Endpoint = "http://" + host + ":4566"

// SetEnvironment sets what the AWS SDK reads, for the whole process.
func SetEnvironment() error {
	// A custom CA bundle cannot be combined with an HTTP client of our own.
	all := os.Unsetenv("AWS_CA_BUNDLE")
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": Endpoint, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		all = errors.Join(all, os.Setenv(name, value))
	}
	return all
}

// Options say what a World is like.
type Options struct {
	Warehouse string // "" = DuckDB in memory, or postgres://...
	Shards    int    // of the stream; default 4
	Limits    bool   // the documented rates
	Dir       string // for dead letters, unless Letters is set
	Letters   string // s3://bucket/prefix for dead letters
	InMemory  bool   // serve within the process, as a bubble of virtual time needs
	AtPace    bool   // SQL takes the time that it takes in Redshift, and runs as few at once
	Tiny      bool   // the warehouse will hold few rows, and is to save its thinking
	// Families are those that workers load and the verifier expects; nil = all.
	Families []event.Family
	// ClockOffset is how far AWS's clock is ahead of the workers'.
	ClockOffset time.Duration
	Log         *slog.Logger
}

// StreamName is the stream of a World.
const StreamName = "order-events"

// World is a local AWS with a stream and a schema.
type World struct {
	Local   *localaws.Server
	Account *aws.Account
	Stream  *aws.Stream
	DB      *aws.Redshift
	Options Options

	stream   string // its name
	listener net.Listener
	dial     func(ctx context.Context, network, addr string) (net.Conn, error)
	served   chan error
	stop     context.CancelFunc
}

// NewWorld starts a local AWS, creates the stream and applies the schema.
func NewWorld(ctx context.Context, o Options) (*World, error) {
	if o.Shards == 0 {
		o.Shards = 4
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	config := localaws.Config{
		Warehouse: o.Warehouse, Tiny: o.Tiny, Limits: o.Limits, Hosts: []string{host}, ClockOffset: o.ClockOffset, Log: o.Log,
	}
	if o.AtPace {
		config.Pace, config.Slots = localaws.RedshiftPace(), localaws.QueueSlots
	}
	local, err := localaws.New(ctx, config)
	if err != nil {
		return nil, err
	}
	w := &World{Local: local, Options: o, stream: StreamName, served: make(chan error, 1)}
	if err := w.listen(); err != nil {
		return nil, errors.Join(err, local.Close())
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stop = stop
	go func() { w.served <- local.Serve(serving, w.listener) }()
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// listen opens the door of the local AWS, in memory or on a loopback port.
func (w *World) listen() (err error) {
	if w.Options.InMemory {
		l := memnet.Listen()
		w.listener, w.dial = l, l.DialContext
		return nil
	}
	if w.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return err
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	w.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, w.Addr())
	}
	return nil
}

func (w *World) prepare(ctx context.Context) (err error) {
	if w.Account, err = w.Open(ctx, w.Client(nil)); err != nil {
		return err
	}
	w.DB = w.Account.Redshift(redshift)
	if err := w.createStream(ctx); err != nil {
		return err
	}
	var sql []string
	for _, s := range warehouse.Schema(warehouse.Redshift) {
		sql = append(sql, s.SQL)
	}
	if _, err := w.DB.Run(ctx, warehouse.Token(), sql); err != nil {
		return fmt.Errorf("apply the schema: %w", err)
	}
	return nil
}

func (w *World) createStream(ctx context.Context) error {
	w.Stream = w.Account.Stream(w.stream)
	if err := w.Stream.Create(ctx, w.Options.Shards); err != nil {
		return err
	}
	return w.Stream.WaitActive(ctx)
}

// renew gives the world a stream of another name and empties its tables: a new
// World, but for the opening of a warehouse, which costs more than a short run.
// No worker may be running. What a dead one has under way comes before, or is
// refused.
func (w *World) renew(ctx context.Context, stream string) error {
	w.stream = stream
	sql := []string{"LOCK TABLE worker_load_lock"}
	for _, table := range warehouse.Tables() {
		if table == "worker_checkpoints" {
			table += " WHERE stream_name <> " + warehouse.Quote(warehouse.SharedRow)
		}
		sql = append(sql, "DELETE FROM "+table)
	}
	_, err := w.DB.Run(ctx, warehouse.Token(), sql)
	return errors.Join(err, w.createStream(ctx))
}

var redshift = aws.RedshiftConfig{ClusterID: "cluster", Database: "analytics", DBUser: "admin"}

// Close ends the local AWS.
func (w *World) Close() error {
	if w.Account != nil {
		w.Account.Close()
	}
	w.stop()
	return errors.Join(<-w.served, w.Local.Close())
}

// Addr is where the local AWS listens.
func (w *World) Addr() string { return w.listener.Addr().String() }

// Client is an HTTP client of this world's local AWS. wrap, if not nil, stands
// between the SDK and the wire: it may lose calls and replies.
func (w *World) Client(wrap func(http.RoundTripper) http.RoundTripper) *http.Client {
	var transport http.RoundTripper = &http.Transport{
		DialContext:         w.dial,
		MaxIdleConnsPerHost: 64,
		DisableCompression:  true,
	}
	if wrap != nil {
		transport = wrap(transport)
	}
	return &http.Client{Transport: transport}
}

// Open opens the account through an HTTP client.
func (w *World) Open(ctx context.Context, c *http.Client) (*aws.Account, error) {
	return aws.Open(ctx, aws.Options{Region: "us-east-1", Log: w.Options.Log, HTTPClient: c, Scribble: true})
}

// Worker says how a worker of a World runs. Its zero value is a quick one.
type Worker struct {
	Client       *http.Client     // nil = the world's own
	LeaseTable   string           // in DynamoDB; default none: the only worker
	Name         string           // default "worker"
	Seat         service.Seat     // given up at its end; may be none
	Instance     service.Instance // that it runs on; nil = one that announces nothing
	TTL          time.Duration    // of leases; default 2 s
	Scan         time.Duration    // between looks at the lease table; default as the holder's
	Sync         time.Duration    // between listings of the shards; default as the holder's
	Staging      string           // s3://bucket for COPY; empty = INSERT
	Initial      func(stream.Shard) stream.Position
	BatchSize    int             // default 100
	PollInterval time.Duration   // default 200 ms
	LoadInterval time.Duration   // default none
	DrainTimeout time.Duration   // default an hour
	LoadRows     int             // the most rows of one load, which then ends anywhere in a page; default as the fill's
	PageBytes    int64           // default 32 MiB
	Patience     time.Duration   // with a worker that loads for the fleet; default as the fleet's
	RetryAfter   []time.Duration // of rows that the warehouse refused; default as the worker's
}

// Running is a worker under way.
type Running struct {
	*service.Service

	drain context.CancelFunc
	done  chan struct{}
	err   error
}

// Start starts a worker.
func (w *World) Start(ctx context.Context, c Worker) (*Running, error) {
	c = c.withDefaults(w)
	account, err := w.Open(ctx, c.Client)
	if err != nil {
		return nil, err
	}
	s, err := service.New(service.Config{
		Account: account, Stream: w.stream, Redshift: redshift,
		StagingURL: c.Staging, DeadLetterURL: w.lettersURL(), LeaseTable: c.LeaseTable,
		Self: c.Name, Predecessor: c.Seat.Predecessor, Instance: c.Instance,
		Families: w.Options.Families, BatchSize: c.BatchSize, PollInterval: c.PollInterval, LoadInterval: c.LoadInterval,
		PageBytes: c.PageBytes, RetryAfter: c.RetryAfter, Initial: c.Initial, DrainTimeout: c.DrainTimeout, Fill: c.fill(), Patience: c.Patience,
		TTL: c.TTL, Scan: c.Scan, Sync: c.Sync, Log: w.Options.Log,
	})
	if err != nil {
		return nil, err
	}
	ctx, drain := context.WithCancel(ctx)
	r := &Running{Service: s, drain: drain, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer account.Close()
		defer c.Seat.Leave()
		r.err = s.Run(ctx)
	}()
	return r, nil
}

// fill makes loads small where they are to be.
func (c Worker) fill() func(warehouse.Fill) warehouse.Fill {
	if c.LoadRows == 0 {
		return nil
	}
	return func(f warehouse.Fill) warehouse.Fill { return smallLoads{f, c.LoadRows} }
}

// smallLoads is a fill that takes few rows, as the Data API's limits make of one
// with very long ones.
type smallLoads struct {
	warehouse.Fill
	most int
}

func (s smallLoads) Fits(rows []warehouse.Row) int { return min(s.Fill.Fits(rows), s.most) }

func (c Worker) withDefaults(w *World) Worker {
	if c.Client == nil {
		c.Client = w.Client(nil)
	}
	if c.LeaseTable == "" {
		c.LeaseTable = service.NoLeaseTable
	}
	if c.Name == "" {
		c.Name = "worker"
	}
	if c.TTL == 0 {
		c.TTL = 2 * time.Second
	}
	if c.BatchSize == 0 {
		c.BatchSize = 100
	}
	if c.PollInterval == 0 {
		c.PollInterval = 200 * time.Millisecond
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = time.Hour
	}
	if c.PageBytes == 0 {
		c.PageBytes = 32 << 20
	}
	return c
}

func (w *World) lettersURL() string {
	if w.Options.Letters != "" {
		return w.Options.Letters
	}
	return "file://" + w.Options.Dir
}

// Letters is the world's dead-letter store.
func (w *World) Letters() *deadletter.Store {
	letters, err := service.Letters(w.Account, w.stream, w.lettersURL())
	if err != nil {
		return deadletter.New(brokenBucket{err}, w.stream)
	}
	return letters
}

// brokenBucket answers everything with the error of opening it.
type brokenBucket struct{ err error }

func (b brokenBucket) PutIfAbsent(context.Context, string, []byte) (bool, error) { return false, b.err }

func (b brokenBucket) Get(context.Context, string) ([]byte, error) { return nil, b.err }

func (b brokenBucket) List(context.Context, string) ([]string, error) { return nil, b.err }

// Drain stops the worker as SIGTERM does and returns when it has ended.
func (r *Running) Drain() error {
	r.drain()
	<-r.done
	return r.err
}

// Kill stops the worker as kill -9 does, as far as the world outside can tell:
// whatever call is under way is abandoned, nothing is finished or handed over.
func (r *Running) Kill() {
	r.Service.Kill()
	<-r.done
}

// ended reports whether the worker has ended.
func (r *Running) ended() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// Await waits until done says so. It fails when ctx ends first.
func Await(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		began := time.Now()
		ok, err := done()
		if err != nil || ok {
			return err
		}
		select {
		// Looking takes the machine from what is waited for: a quarter of a processor at most.
		case <-time.After(max(20*time.Millisecond, 3*time.Since(began))):
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s", what)
		}
	}
}

// Verify compares the stream with the warehouse.
func (w *World) Verify(ctx context.Context) (*verify.Report, error) {
	identity, err := w.Stream.Identity(ctx)
	if err != nil {
		return nil, err
	}
	return verify.Run(ctx, verify.Config{
		Stream: w.stream, Identity: identity, Shards: w.Stream.Shards, DB: w.DB, Letters: w.Letters().All(ctx), Fates: w.Letters().Fates,
		Open: w.Reader, Families: w.Options.Families,
	})
}

// Reader reads a shard for the verifier: at once where there are no limits, in
// virtual time at AWS's pace.
func (w *World) Reader(s stream.Shard, at stream.Position) verify.Reader {
	r := w.Stream.Reader(s, at)
	if w.Options.InMemory || w.Options.Limits {
		return r
	}
	return unpaced{r}
}

// unpaced is a reader that waits for nothing. At the five calls a second that AWS
// grants, waits would be nearly all of a test's time.
type unpaced struct{ verify.Reader }

func (unpaced) NotBefore() time.Time { return time.Time{} }

// Put puts records on the stream in order, each of them once: a call without an
// answer is an error and never repeated, as a test counts what it put.
func (w *World) Put(ctx context.Context, entries []aws.Entry) error {
	for len(entries) > 0 {
		n := min(len(entries), 500)
		if _, err := w.Stream.PutOnce(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	return nil
}
