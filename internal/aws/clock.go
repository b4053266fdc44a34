package aws

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// clock tells the service's time from ours. Ours may be wrong by minutes and
// all calls still work (a signature may be five minutes off), but what is promised
// or asked about arrival times is held against the service's.
//
// Every reply names it in its Date header, in whole seconds that are cut off, and
// is read a little later: so what the clock says is never ahead of the service,
// and behind it by a second and the reply's way at most. It is safe for concurrent use.
type clock struct {
	mu   sync.Mutex // guards what follows
	said time.Time  // of the last reply; zero = none has come
	seen time.Time  // when it was read, by our clock, with its monotonic part
}

// at is the service's time at a moment of our clock, before or after the reply that
// tells. Until a reply has told it, it is our own.
func (c *clock) at(ours time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said.IsZero() {
		return ours
	}
	return c.said.Add(ours.Sub(c.seen))
}

// hear takes the time from a reply that was just read.
func (c *clock) hear(header http.Header) {
	said := dateOf(header)
	if said.IsZero() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said, c.seen = said, time.Now()
}

// dateOf is when a reply was made, by the clock of who made it: to the second,
// never late; zero where it does not say.
func dateOf(header http.Header) time.Time {
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return at
}

// install makes the clock hear every reply of a client, the refusals too. Who
// gives credentials (the instance, a container's agent) is not asked by these
// clients, and has a clock of its own.
func (c *clock) install(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("HearServiceClock",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
			middleware.DeserializeOutput, middleware.Metadata, error,
		) {
			out, meta, err := next.HandleDeserialize(ctx, in)
			if response, ok := out.RawResponse.(*smithyhttp.Response); ok && response != nil && response.Response != nil {
				c.hear(response.Header)
			}
			return out, meta, err
		}), middleware.After)
}

// ServiceTime is what AWS's clock showed at a moment of ours: never more, and a
// second and the way of a reply less at most. Before the first reply it is ours.
func (a *Account) ServiceTime(ours time.Time) time.Time { return a.clock.at(ours) }
