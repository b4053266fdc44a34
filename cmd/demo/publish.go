package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/madeup"
)

// publishing puts made-up events on the stream until it is stopped.
type publishing struct {
	cancel context.CancelFunc
	ended  chan struct{} // closed when it has ended
	err    error         // how, if not by stop
}

// publishPart is how many calls a second the orders are spread over.
const publishPart = 20

func (d *demo) publish(ctx context.Context) *publishing {
	ctx, cancel := context.WithCancel(ctx)
	p := &publishing{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		if err := d.putOrders(ctx); !errors.Is(err, context.Canceled) {
			p.err = fmt.Errorf("publish events: %w", err)
		}
	}()
	return p
}

func (d *demo) putOrders(ctx context.Context) error {
	g := madeup.New(7)
	g.Bad, g.Mixed = d.bad, true
	stream := d.account.Stream("order-events")
	part := max(1, int(d.rate/publishPart))
	limiter := rate.NewLimiter(rate.Limit(d.rate), part)
	for {
		if err := limiter.WaitN(ctx, part); err != nil {
			return context.Canceled // the only way in which this waiting ends
		}
		entries := make([]aws.Entry, part)
		for i := range entries {
			e := g.Next(time.Now())
			entries[i] = aws.Entry{PartitionKey: e.Key, Data: e.Data}
		}
		// A put that was begun is finished, so that what is counted is what is there.
		failed, err := stream.Put(context.WithoutCancel(ctx), entries)
		d.published.Add(int64(len(entries) - len(failed)))
		if err != nil {
			return err
		}
	}
}

// stop ends the publishing.
func (p *publishing) stop() error {
	p.cancel()
	<-p.ended
	return p.err
}
