// Package memnet is a network within the process: a listener and its dialer
// over net.Pipe. A test that runs in a testing/synctest bubble serves the local
// AWS over it, as waiting on a real socket stops the bubble's clock.
package memnet

import (
	"context"
	"net"
	"sync"
)

// Listener is a net.Listener whose connections come from DialContext.
type Listener struct {
	connections chan net.Conn
	closed      chan struct{}
	close       sync.Once
}

// Listen returns a Listener. It needs no port, so it cannot fail.
func Listen() *Listener {
	return &Listener{connections: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.connections:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close ends the listening; connections that were made stay.
func (l *Listener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr is a name for messages.
func (l *Listener) Addr() net.Addr { return address{} }

// DialContext connects to the listener, whatever address is asked for: it is
// made for http.Transport.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.connections <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: address{}, Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

type address struct{}

func (address) Network() string { return "memory" }
func (address) String() string  { return "memory" }
