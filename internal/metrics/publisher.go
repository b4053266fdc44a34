package metrics

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Datum is what one metric was over one interval, as CloudWatch takes it.
type Datum struct {
	Name       string
	Unit       string
	Dimensions []Dimension
	Time       time.Time // end of the interval
	Values     []float64 // at most 150
	Counts     []float64 // how often each occurred
}

// Dimension is a name and value that tell series of one metric apart.
type Dimension struct{ Name, Value string }

// Set is metrics that are published with the same dimensions.
type Set struct {
	Metrics    any // pointer to a struct like Metrics
	Dimensions []Dimension
}

// ErrUnsettled says of data that they may have gone in or not. CloudWatch has
// no token that would keep a repeat from counting twice, so they are not sent
// again.
var ErrUnsettled = errors.New("metrics: the data may be in or not")

// cloudWatch takes the data, in as few calls as its limits allow. An error that is not ErrUnsettled says that nothing went in.
type cloudWatch interface {
	PutMetricData(ctx context.Context, data []Datum) error
}

// Bounds of what publishing may cost. With a dozen metrics an interval is a few
// kilobytes, so that what is kept of an outage fits into one call.
const (
	maxKept     = 30               // intervals kept while they cannot be sent
	sendTime    = 20 * time.Second // of one publication, all tries included
	lastTime    = 2 * time.Second  // of the one under way at the end, and of the last one
	complainGap = 10 * time.Minute // between log lines about the same outage
)

// Publisher sends sets of metrics at an interval. It only reads what others
// count: whatever becomes of a publication, nobody waits for it.
type Publisher struct {
	to     cloudWatch
	log    *slog.Logger
	every  time.Duration
	series []series

	last atomic.Pointer[error] // how the last publication ended; nil = there was none

	kept    [][]Datum // intervals not yet sent, oldest first
	failing int       // publications that failed in turn
	dropped int       // intervals given up since the last complaint
	said    time.Time // last complaint
}

type series struct {
	Declaration
	dimensions []Dimension
	read       cursor
}

// NewPublisher returns a Publisher of the sets. Counts from before it was made
// are part of its first publication.
func NewPublisher(to cloudWatch, every time.Duration, log *slog.Logger, sets ...Set) (*Publisher, error) {
	p := &Publisher{to: to, log: log, every: every}
	for _, set := range sets {
		declared, err := Declared(set.Metrics)
		if err != nil {
			return nil, err
		}
		for _, d := range declared {
			if read := d.cursor(); read != nil {
				p.series = append(p.series, series{d, set.Dimensions, read})
			}
		}
	}
	return p, nil
}

// Run publishes until ctx ends, and then once more.
func (p *Publisher) Run(ctx context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			p.publish(ctx, sendTime)
		case <-ctx.Done():
		}
	}
	p.publish(ctx, lastTime)
}

// Failing is how the last publication ended; nil = it went in, or there was none.
func (p *Publisher) Failing() error {
	if err := p.last.Load(); err != nil {
		return *err
	}
	return nil
}

// publish sends the interval that ends now, and with it those that could not be
// sent before. A publication under way when ctx ends gets lastTime more.
func (p *Publisher) publish(ctx context.Context, limit time.Duration) {
	if data := p.collect(); len(data) > 0 {
		p.kept = append(p.kept, data)
	}
	if over := len(p.kept) - maxKept; over > 0 {
		p.dropped += over
		p.kept = append(p.kept[:0:0], p.kept[over:]...)
	}
	if len(p.kept) == 0 {
		return
	}
	sending, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		timer := time.NewTimer(lastTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-sending.Done():
		}
	})()
	var all []Datum
	for _, data := range p.kept {
		all = append(all, data...)
	}
	p.conclude(p.to.PutMetricData(sending, all))
}

func (p *Publisher) collect() []Datum {
	var data []Datum
	now := time.Now().UTC()
	for _, s := range p.series {
		if values, counts := s.read(); len(values) > 0 {
			data = append(data, Datum{
				Name: s.CloudWatch, Unit: s.Unit, Dimensions: s.dimensions, Time: now, Values: values, Counts: counts,
			})
		}
	}
	return data
}

// conclude decides what of a publication is kept, and says now and then that
// publishing fails.
func (p *Publisher) conclude(err error) {
	p.last.Store(&err)
	if err == nil {
		if p.failing > 0 {
			p.log.Info("metrics are published again", "failed", p.failing, "intervals", len(p.kept), "lost", p.dropped)
		}
		p.kept, p.failing, p.dropped, p.said = nil, 0, 0, time.Time{}
		return
	}
	p.failing++
	if errors.Is(err, ErrUnsettled) {
		p.dropped += len(p.kept)
		p.kept = nil
	}
	if time.Since(p.said) < complainGap {
		return
	}
	p.said = time.Now()
	p.log.Warn("publishing metrics failed; loading goes on, and so does trying", "error", err,
		"failed", p.failing, "kept", len(p.kept), "lost", p.dropped)
}
