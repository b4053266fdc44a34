package redshift

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	cancelEvery = 50 * time.Millisecond
	// cancelGivesUp is when a connection that does not heed requests is closed.
	cancelGivesUp = 30 * time.Second
)

// canceller asks the server to cancel what a connection runs once the context
// of the call ends, so that the connection, which may be a session's, goes on.
// It repeats itself: a request that overtakes the statement has no effect.
//
// None of them can strike the next statement. The server closes the connection
// that a request came on after it has signalled the backend, CancelRequest waits
// for that, and a backend that waits for its next statement drops the signal.
type canceller struct {
	conn *pgconn.PgConn
	over chan struct{} // closed when the call returns
	done chan struct{} // closed when no request of ours is under way
}

// HandleCancel is called when the context ends while a call runs.
func (c *canceller) HandleCancel(ctx context.Context) {
	c.over, c.done = make(chan struct{}), make(chan struct{})
	// A deadline that cannot be set means a connection that is gone.
	_ = c.conn.Conn().SetDeadline(time.Now().Add(cancelGivesUp))
	go func() {
		defer close(c.done)
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelGivesUp)
		defer stop()
		for {
			// A failed request is like one that came too early: it is repeated.
			_ = c.conn.CancelRequest(ctx)
			select {
			case <-c.over:
				return
			case <-ctx.Done():
				return
			case <-time.After(cancelEvery):
			}
		}
	}()
}

// HandleUnwatchAfterCancel is called when the call has returned.
func (c *canceller) HandleUnwatchAfterCancel() {
	close(c.over)
	<-c.done
	_ = c.conn.Conn().SetDeadline(time.Time{})
}
