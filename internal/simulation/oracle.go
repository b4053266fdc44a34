package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// expectation is what the records published so far are to bring about, kept
// without any code of the worker's or of the verifier's.
type expectation struct {
	records int // published
	bad     int // of them, no order
	orders  map[string]mark
}

// mark is the event of an order that is to stand in the end. The amount names
// the event: no two have the same.
type mark struct {
	second int // of the event, within the hour
	cents  int
}

// publish puts n records on the stream. Orders are few, so that most events
// meet an earlier one; event times are fewer, so that many of them are equal
// and the order of the stream decides, and some go back.
func (f *Fleet) publish(ctx context.Context, n int, rng *rand.Rand) error {
	entries := make([]aws.Entry, n)
	e := &f.expect
	for i := range entries {
		e.records++
		id := fmt.Sprintf("order-%d", rng.IntN(40))
		if rng.IntN(12) == 0 {
			e.bad++
			entries[i] = aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil, `{"order_id":%q,"record":%d`, id, e.records)}
			continue
		}
		m := mark{second: rng.IntN(150), cents: e.records}
		at := f.began.UTC().Truncate(time.Hour).Add(time.Hour + time.Duration(m.second)*time.Second)
		entries[i] = aws.Entry{PartitionKey: id, Data: fmt.Appendf(nil,
			`{"order_id":%q,"customer_id":"c","store_id":%d,"total_amount":%d.%02d,"item_count":1,"event_type":"order_%d","timestamp":%q}`,
			id, rng.IntN(3), m.cents/100, m.cents%100, rng.IntN(2), at.Format("2006-01-02T15:04:05"))}
		if held, ok := e.orders[id]; !ok || m.second >= held.second {
			e.orders[id] = m
		}
	}
	return f.world.Put(ctx, entries)
}

// glance asks the checker in the middle of things: what the checkpoints cover
// must be there at any moment. That it could not look is no difference.
func (f *Fleet) glance(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if r, err := f.world.Verify(ctx); err == nil && !r.OK {
		return fmt.Errorf("in the middle of things: %w", differs(r))
	}
	return nil
}

func differs(r *verify.Report) error {
	return fmt.Errorf("the warehouse differs from the stream: %+v", *r)
}

// settle ends all faults and waits until everything published is loaded. It
// fails when the fleet does not get there, or gets somewhere else.
func (f *Fleet) settle(ctx context.Context) error {
	if err := f.heal(ctx); err != nil {
		return err
	}
	f.note("all faults end")
	deadline := time.Now().Add(patient)
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	for {
		quiet := 0
		for quiet < 3 && time.Now().Before(deadline) {
			if err := f.until(ctx, time.Now().Add(pollTime/2)); err != nil {
				return err
			}
			quiet++
			if !f.quiet(open) {
				quiet = 0
			}
		}
		err := f.ask(ctx)
		if unsettled := new(unsettledError); !errors.As(err, &unsettled) || time.Now().After(deadline) {
			return err
		}
	}
}

// quiet reports whether every open shard has one owner, who waits for nothing.
// It is a cheap sign that asking may be worth it, and no more.
func (f *Fleet) quiet(open []stream.Shard) bool {
	owned := make(map[string]bool)
	for _, m := range f.live {
		for _, s := range m.run.Worker.Status().Shards {
			if s.Waiting > 0 {
				return false
			}
			owned[s.ID] = true
		}
	}
	return !slices.ContainsFunc(open, func(s stream.Shard) bool { return !owned[s.ID] })
}

// unsettledError says that nothing is wrong and something is missing yet.
type unsettledError struct{ missing string }

func (e *unsettledError) Error() string {
	return fmt.Sprintf("the fleet had not settled %s after the last fault: %s", patient, e.missing)
}

// ask is the oracle: the checker's own verdict, that every record published is
// covered, that no shard is forgotten, and the warehouse against the
// expectation, which knows the order of each key's events.
func (f *Fleet) ask(ctx context.Context) error {
	r, err := f.world.Verify(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	if !r.OK {
		return differs(r)
	}
	e := f.expect
	if r.Records > int64(e.records) {
		return fmt.Errorf("%d records were published, and the stream holds %d", e.records, r.Records)
	}
	if r.Records < int64(e.records) {
		return &unsettledError{fmt.Sprintf("%d of %d records are loaded; %+v", r.Records, e.records, r.Shards)}
	}
	if err := f.askShards(ctx, r); err != nil {
		return err
	}
	if r.Rejected != int64(e.bad) || r.Letters != int64(e.bad) || int(r.Facts) != len(e.orders) {
		return fmt.Errorf("%d rejected, %d letters and %d facts; expected %d, %d and %d", r.Rejected, r.Letters, r.Facts, e.bad, e.bad, len(e.orders))
	}
	return f.askFacts(ctx)
}

// askShards looks for a forgotten shard.
func (f *Fleet) askShards(ctx context.Context, r *verify.Report) error {
	if len(r.Shards) != f.shards {
		return fmt.Errorf("the stream has %d shards of the %d that were made", len(r.Shards), f.shards)
	}
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	for _, s := range r.Shards {
		isOpen := slices.ContainsFunc(open, func(o stream.Shard) bool { return o.ID == s.ID })
		switch {
		case s.Checkpoint == "none":
			return &unsettledError{"nobody has claimed " + s.ID}
		case !isOpen && s.Checkpoint != stream.ShardEnd:
			return &unsettledError{s.ID + " was not read to its end; it stands at " + s.Checkpoint}
		case isOpen && s.Checkpoint == stream.ShardEnd:
			return fmt.Errorf("%s is open and counts as ended", s.ID)
		}
	}
	return nil
}

// askFacts compares fact_orders, order by order.
func (f *Fleet) askFacts(ctx context.Context) error {
	r, err := f.world.DB.Run(ctx, warehouse.Token(), []string{"SELECT order_id, total_amount FROM fact_orders"})
	if err != nil {
		return fmt.Errorf("read the facts: %w", err)
	}
	var wrong []string
	for _, row := range r[0].Rows {
		id := row[0].Text
		cents, err := warehouse.ParseCents(row[1].Text)
		if err != nil {
			return fmt.Errorf("amount of %s: %w", id, err)
		}
		if m, ok := f.expect.orders[id]; !ok || int64(m.cents) != cents {
			wrong = append(wrong, fmt.Sprintf("%s stands at record %d and not at %d", id, cents, m.cents))
		}
	}
	if wrong != nil {
		return fmt.Errorf("orders do not stand at their newest event: %s", strings.Join(wrong, "; "))
	}
	return nil
}
