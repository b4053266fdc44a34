package redshift

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Bounds of the PostgreSQL port.
const (
	maxClients     = 20       // connected at a time; each holds a connection of the engine
	maxMessage     = 16 << 20 // bytes, as Redshift bounds a statement
	maxPrepared    = 200      // prepared on one connection, and as many portals
	startupTimeout = 10 * time.Second
)

// psqlPort is what the clients of one port share.
type psqlPort struct {
	service func() *Service
	places  chan struct{} // one for each client

	mu      sync.Mutex // guards clients
	clients map[uint32]*client
}

// client is one connection of the PostgreSQL protocol.
type client struct {
	svc    *Service
	wire   *pgproto3.Backend
	b      *backend
	pid    uint32
	secret []byte

	statements map[string]prepared
	portals    map[string]*portal
	skip       bool // until Sync: a message of the extended protocol failed

	mu     sync.Mutex              // guards cancel
	cancel context.CancelCauseFunc // of the statement that runs; nil for none
}

// ServePSQL answers the PostgreSQL protocol, version 3, until ctx ends; then it closes the
// listener and every connection, whose transactions are rolled back. Any user and any
// database may connect, without a password, and never encrypted. A client is served by
// the service of its time, until that is closed.
func ServePSQL(ctx context.Context, listener net.Listener, service func() *Service) error {
	p := &psqlPort{service: service, places: make(chan struct{}, maxClients), clients: make(map[uint32]*client)}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	closed := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer closed()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // nobody has spoken on it
			}
			return nil
		}
		if err != nil {
			return errors.Join(fmt.Errorf("accept a PostgreSQL client: %w", err), listener.Close())
		}
		running.Go(func() {
			end := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer end()
			defer func() { _ = conn.Close() }() // it may be closed already
			s := service()
			if s == nil || !s.enter() {
				return
			}
			defer s.running.Done()
			ended := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
			defer ended()
			if err := p.serve(ctx, s, conn); err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) {
				s.opts.Log.Debug("redshift: a client of the PostgreSQL protocol went", "error", err)
			}
		})
	}
}

// enter keeps the service from closing its engine until its running is done; false once it
// closes.
func (s *Service) enter() bool {
	s.gate.Lock()
	defer s.gate.Unlock()
	if s.ctx.Err() != nil {
		return false
	}
	s.running.Add(1)
	return true
}

// serve talks to one client until it leaves, or the service closes.
func (p *psqlPort) serve(ctx context.Context, s *Service, conn net.Conn) error {
	wire := pgproto3.NewBackend(conn, conn)
	wire.SetMaxBodyLen(maxMessage)
	if err := conn.SetDeadline(time.Now().Add(startupTimeout)); err != nil {
		return err
	}
	start, err := p.greet(wire, conn)
	if err != nil || start == nil {
		return err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	select {
	case p.places <- struct{}{}:
		defer func() { <-p.places }()
	default:
		wire.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "53300", Message: fmt.Sprintf("connection limit \"%d\" exceeded", maxClients)})
		return wire.Flush()
	}
	database := start.Parameters["database"]
	if database == "" {
		database = start.Parameters["user"]
	}
	b, err := s.connect(ctx, submission{database: database, user: start.Parameters["user"]})
	if err != nil {
		wire.Send(errorResponse(err))
		return errors.Join(err, wire.Flush())
	}
	defer func() {
		if err := b.close(); err != nil {
			s.opts.Log.Warn("redshift: close a connection", "error", err)
		}
	}()
	b.pace = s.opts.Pace
	c := &client{
		svc: s, wire: wire, b: b, pid: uint32(b.asks.PID), secret: make([]byte, 4),
		statements: make(map[string]prepared), portals: make(map[string]*portal),
	}
	if _, err := rand.Read(c.secret); err != nil {
		return err
	}
	p.enter(c)
	defer p.leave(c)
	wire.Send(&pgproto3.AuthenticationOk{})
	for _, told := range [][2]string{
		{"server_version", "8.0.2"},
		{"server_encoding", "UTF8"},
		{"client_encoding", "UTF8"},
		{"DateStyle", "ISO, MDY"},
		{"integer_datetimes", "on"},
		{"TimeZone", "UTC"},
		{"is_superuser", "off"},
		{"session_authorization", start.Parameters["user"]},
	} {
		wire.Send(&pgproto3.ParameterStatus{Name: told[0], Value: told[1]})
	}
	wire.Send(&pgproto3.BackendKeyData{ProcessID: c.pid, SecretKey: c.secret})
	c.ready()
	if err := wire.Flush(); err != nil {
		return err
	}
	return c.converse(ctx)
}

// greet answers what comes before a session, and returns the message that begins one;
// nil where the client wanted to cancel a statement, and is done.
func (p *psqlPort) greet(wire *pgproto3.Backend, conn net.Conn) (*pgproto3.StartupMessage, error) {
	for range 4 { // GSS, TLS, and what follows them
		first, err := wire.ReceiveStartupMessage()
		if err != nil {
			return nil, err
		}
		switch first := first.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case *pgproto3.CancelRequest:
			p.cancel(first.ProcessID, first.SecretKey)
			return nil, nil
		case *pgproto3.StartupMessage:
			return first, nil
		}
	}
	return nil, errors.New("the client asks for encryption again and again")
}

func (p *psqlPort) enter(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[c.pid] = c
}

func (p *psqlPort) leave(c *client) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.clients, c.pid)
}

// cancel ends the statement that a client runs, if who asks knows its secret.
func (p *psqlPort) cancel(pid uint32, secret []byte) {
	p.mu.Lock()
	c := p.clients[pid]
	p.mu.Unlock()
	if c == nil || subtle.ConstantTimeCompare(c.secret, secret) != 1 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel(errCancelled)
	}
}

// ready tells the client that its next message is awaited, and how its transaction is.
func (c *client) ready() {
	status := byte('I')
	switch {
	case c.b.failed:
		status = 'E'
	case c.b.block:
		status = 'T'
	}
	c.wire.Send(&pgproto3.ReadyForQuery{TxStatus: status})
}

// run takes one statement through the queue of the warehouse.
func (c *client) run(ctx context.Context, sql string, out sink) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	closing := context.AfterFunc(c.svc.ctx, func() { cancel(errClosing) })
	defer closing()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.cancel = nil
		c.mu.Unlock()
	}()
	s := c.svc
	if err := s.awaitStart(ctx); err != nil {
		c.b.fail(ctx)
		return -1, err
	}
	turn := &slot{all: s.slots}
	if err := turn.take(ctx); err != nil {
		c.b.fail(ctx)
		return -1, err
	}
	defer turn.leave()
	c.b.slot = turn
	c.b.nextQuery()
	return c.b.single(ctx, sql, nil, out)
}
