package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// connect opens a connection and makes a request on it, where path is not empty.
func connect(t *testing.T, addr, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := bufio.NewReader(conn)
	if path == "" {
		return conn, r
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(r, nil)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s on connection %s: %v, %v", path, conn.LocalAddr(), response, err)
	}
	if path == "/events" {
		return conn, r
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return conn, r
}

// open counts the connections that the server has not closed.
func open(t *testing.T, conns []net.Conn) (n int) {
	t.Helper()
	for _, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			n++
		}
	}
	return n
}

// Whoever opens connections by the thousand and leaves them idle, used or never
// used, takes none from those who ask and little memory.
func TestG9_IdleConnectionsAreBounded(t *testing.T) {
	for name, path := range map[string]string{"used": "/healthz", "never used": ""} {
		t.Run(name, func(t *testing.T) {
			r := serve(t)
			_, events := connect(t, r.addr, "/events")
			var conns []net.Conn
			for range 3 * maxIdle {
				c, _ := connect(t, r.addr, path)
				conns = append(conns, c)
			}
			if response, body := get(t, r.url+"/healthz"); response.StatusCode != http.StatusOK {
				t.Fatalf("a health check beside them: %s", body)
			}
			n := open(t, conns)
			for began := time.Now(); n > maxIdle && time.Since(began) < idleTime/2; { // after idleTime they are closed anyway
				n = open(t, conns) // the last one may not be known to be idle yet
			}
			if n > maxIdle {
				t.Errorf("%d of %d idle connections are open, want at most %d", n, len(conns), maxIdle)
			}
			for range 3 { // the dashboard that was open before goes on
				if _, err := events.ReadString('\n'); err != nil {
					t.Fatalf("the stream of events: %v", err)
				}
			}
		})
	}
}

func TestG9_ConnectionsAreBoundedInAll(t *testing.T) {
	var c connections
	busy := make([]net.Conn, maxConnections)
	for i := range busy {
		busy[i], _ = net.Pipe()
		if victim := c.note(busy[i], http.StateNew); victim != nil {
			t.Fatalf("connection %d costs another", i)
		}
		c.note(busy[i], http.StateActive)
	}
	late, _ := net.Pipe()
	if victim := c.note(late, http.StateNew); victim != late {
		t.Errorf("a connection too many costs %v, want itself", victim)
	}
	c.note(late, http.StateClosed)
	c.note(busy[7], http.StateIdle)
	if victim := c.note(late, http.StateNew); victim != busy[7] {
		t.Error("a connection too many does not cost the one that is idle")
	}
	c.note(busy[7], http.StateClosed)
	for _, conn := range append(busy, late) {
		if conn != busy[7] {
			c.note(conn, http.StateClosed)
		}
	}
	if c.open != 0 || c.idle.Len() != 0 || len(c.at) != 0 {
		t.Errorf("%d open and %d idle connections still counted", c.open, c.idle.Len())
	}
}
