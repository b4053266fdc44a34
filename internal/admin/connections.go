package admin

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// Limits on connections, each of which takes some 20 KB.
const (
	maxConnections = maxViewers + 100
	maxIdle        = 300 // that have sent no request, or wait for their next: many may come in one moment
)

// connections bounds how many are open. Whoever opens more than there may be, or
// leaves them idle, loses the one that has been idle for longest: a health check
// always finds the door open.
type connections struct {
	mu   sync.Mutex // guards what follows
	open int
	idle list.List // of net.Conn, that which has been idle for longest first
	at   map[net.Conn]*list.Element
}

// watch is the ConnState of a server.
func (c *connections) watch(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		_ = victim.Close()
	}
}

func (c *connections) note(conn net.Conn, state http.ConnState) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = make(map[net.Conn]*list.Element)
	}
	c.forget(conn)
	switch state {
	case http.StateNew:
		c.open++
		c.at[conn] = c.idle.PushBack(conn)
	case http.StateIdle:
		c.at[conn] = c.idle.PushBack(conn)
	case http.StateClosed, http.StateHijacked:
		c.open--
	case http.StateActive:
	}
	if c.idle.Len() <= maxIdle && (c.open <= maxConnections || c.idle.Len() == 0) {
		return nil
	}
	victim, _ = c.idle.Front().Value.(net.Conn)
	c.forget(victim) // it is open until its closing is noticed
	return victim
}

func (c *connections) forget(conn net.Conn) {
	if e, ok := c.at[conn]; ok {
		c.idle.Remove(e)
		delete(c.at, conn)
	}
}
