package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// expectation is what the records published so far are to bring about, kept
// without any code of the worker's or of the verifier's.
type expectation struct {
	records int                   // published, each event of a Kinesis record counted
	bad     int                   // of them, no order
	orders  map[string][]happened // in the order of the stream
}

// happened is an event of an order. The amount names it: no two have the same.
type happened struct {
	second int // of the event, within the hour
	cents  int
	poison bool // the warehouse refuses it for good
}

// glance asks the checker in the middle of things: what the checkpoints cover
// must be there at any moment. That it could not look is no difference, nor that
// a shard is not loaded yet.
func (f *Fleet) glance(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if r, err := f.world.Verify(ctx); err == nil && len(r.Differences) > 0 {
		return fmt.Errorf("in the middle of things: %w", differs(r))
	}
	return nil
}

func differs(r *verify.Report) error {
	return fmt.Errorf("the warehouse differs from the stream: %+v", *r)
}

// settle ends all faults and waits until everything published is loaded, and
// who was told to stop has. It fails when the fleet does not get there, or gets
// somewhere else.
func (f *Fleet) settle(ctx context.Context, full bool) error {
	if err := f.heal(ctx); err != nil {
		return err
	}
	f.note("all faults end")
	deadline := time.Now().Add(patient)
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	company := !f.moody
	for {
		// Poison rows alone, one after another, look like a warehouse that refuses
		// everything: a worker waits with them until a row goes in.
		if !company && time.Until(deadline) < patient/2 {
			company = true
			if err := f.keepCompany(ctx); err != nil {
				return err
			}
		}
		quiet := 0
		for quiet < 3 && time.Now().Before(deadline) && (company || time.Until(deadline) >= patient/2) {
			if err := f.until(ctx, time.Now().Add(pollTime/2)); err != nil {
				return err
			}
			quiet++
			if !f.quiet(open) {
				quiet = 0
			}
		}
		if quiet < 3 && !company {
			continue
		}
		err := f.ask(ctx, full)
		if err == nil {
			return f.left(ctx, deadline)
		}
		if unsettled := new(unsettledError); !errors.As(err, &unsettled) || time.Now().After(deadline) {
			return err
		}
	}
}

// keepCompany publishes rows that the warehouse takes.
func (f *Fleet) keepCompany(ctx context.Context) error {
	f.note("rows that the warehouse takes come")
	f.moody = false
	defer func() { f.moody = true }()
	return f.publish(ctx, 16, rand.New(rand.NewPCG(uint64(f.expect.records), 3)))
}

// quiet reports whether every open shard has one owner, who waits for nothing.
// It is a cheap sign that asking may be worth it, and no more.
func (f *Fleet) quiet(open []stream.Shard) bool {
	owned := make(map[string]bool)
	for _, m := range f.live {
		status := m.run.Worker.Status()
		if status.Parked > 0 {
			return false
		}
		for _, s := range status.Shards {
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

// ask is the oracle. It looks at the warehouse itself each time, and where full
// is set, or something is not as it should be, at what the checker says.
func (f *Fleet) ask(ctx context.Context, full bool) error {
	wrong := f.look(ctx)
	if wrong == nil && !full {
		return nil
	}
	if err := f.check(ctx); err != nil {
		return err
	}
	return wrong
}

// check asks the checker, and compares its counts with the expectation.
func (f *Fleet) check(ctx context.Context) error {
	r, err := f.world.Verify(ctx)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	fates, err := f.refusals(ctx)
	if err != nil {
		return err
	}
	e, most, least := f.expect, 0, 0
	for _, s := range e.standings(fates) {
		most++
		if !s.lacking {
			least++
		}
	}
	rejected, letters := int64(e.bad), int64(e.bad+len(fates))
	for _, fate := range fates {
		if fate != deadletter.Loaded {
			rejected++
		}
	}
	switch {
	case !r.OK:
		return differs(r)
	case r.Records > int64(e.records):
		return fmt.Errorf("%d records were published, and the stream holds %d", e.records, r.Records)
	case r.Records < int64(e.records):
		return &unsettledError{fmt.Sprintf("%d of %d records are loaded; %+v", r.Records, e.records, r.Shards)}
	case r.Rejected != rejected || r.Letters != letters || int(r.Facts) < least || int(r.Facts) > most:
		return fmt.Errorf("%d rejected, %d letters and %d facts; expected %d, %d and %d to %d",
			r.Rejected, r.Letters, r.Facts, rejected, letters, least, most)
	}
	return nil
}

// look compares the warehouse's three tables with the expectation, which knows
// the order of each key's events, and with the stream's shards.
func (f *Fleet) look(ctx context.Context) error {
	r, err := f.world.DB.Run(ctx, warehouse.Token(), []string{
		"SELECT order_id, total_amount, event_timestamp, store_id, event_type, item_count FROM fact_orders",
		"SELECT minute, store_id, event_type, order_count, item_count, revenue FROM agg_orders_minute",
		"SELECT shard_id, sequence_number FROM worker_checkpoints WHERE stream_name = " + warehouse.Quote(f.world.stream),
	})
	if err != nil {
		return fmt.Errorf("look at the warehouse: %w", err)
	}
	fates, err := f.refusals(ctx)
	if err != nil {
		return fmt.Errorf("look at the letters: %w", err)
	}
	sums, err := f.lookAtFacts(r[0], f.expect.standings(fates))
	if err != nil {
		return err
	}
	if err := f.judgeRefusals(fates); err != nil {
		return err
	}
	if err := lookAtRollups(r[1], sums); err != nil {
		return err
	}
	return f.lookAtShards(ctx, r[2])
}

// sum is a row of the rollups.
type sum struct{ orders, items, cents int64 }

func (f *Fleet) lookAtFacts(r warehouse.Result, expected map[string]standing) (map[string]sum, error) {
	sums := make(map[string]sum)
	seen := make(map[string]bool)
	var wrong []string
	for _, row := range r.Rows {
		id := row[0].Text
		cents, err := warehouse.ParseCents(row[1].Text)
		if err != nil {
			return nil, fmt.Errorf("amount of %s: %w", id, err)
		}
		if s := expected[id]; !s.allowed[int(cents)] || seen[id] {
			wrong = append(wrong, fmt.Sprintf("%s stands at record %d and not at %v", id, cents, slices.Collect(maps.Keys(s.allowed))))
		}
		seen[id] = true
		at, err := warehouse.ParseTimestamp(row[2].Text)
		if err != nil {
			return nil, fmt.Errorf("time of %s: %w", id, err)
		}
		key := at.Truncate(time.Minute).UTC().String() + " " + row[3].Text + " " + row[4].Text
		s := sums[key]
		items, err := strconv.ParseInt(row[5].Text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("items of %s: %w", id, err)
		}
		sums[key] = sum{s.orders + 1, s.items + items, s.cents + cents}
	}
	for id, s := range expected {
		if !seen[id] && !s.lacking {
			wrong = append(wrong, id+" is not there")
		}
	}
	if wrong != nil {
		return nil, &unsettledError{fmt.Sprintf("%d of %d orders are there; %s", len(seen), len(expected), strings.Join(wrong, "; "))}
	}
	return sums, nil
}

func lookAtRollups(r warehouse.Result, sums map[string]sum) error {
	held := make(map[string]sum)
	for _, row := range r.Rows {
		at, err := warehouse.ParseTimestamp(row[0].Text)
		if err != nil {
			return fmt.Errorf("minute of a rollup: %w", err)
		}
		key := at.UTC().String() + " " + row[1].Text + " " + row[2].Text
		orders, err1 := strconv.ParseInt(row[3].Text, 10, 64)
		items, err2 := strconv.ParseInt(row[4].Text, 10, 64)
		cents, err3 := warehouse.ParseCents(row[5].Text)
		if err := errors.Join(err1, err2, err3); err != nil {
			return fmt.Errorf("rollup %s: %w", key, err)
		}
		if _, twice := held[key]; twice {
			return fmt.Errorf("rollup %s is there twice", key)
		}
		held[key] = sum{orders, items, cents}
	}
	if !maps.Equal(held, sums) {
		return fmt.Errorf("the rollups are %v, and the facts add up to %v", held, sums)
	}
	return nil
}

// lookAtShards looks for a forgotten shard.
func (f *Fleet) lookAtShards(ctx context.Context, r warehouse.Result) error {
	at := make(map[string]string)
	for _, row := range r.Rows {
		if _, twice := at[row[0].Text]; twice {
			return fmt.Errorf("%s has two checkpoints", row[0].Text)
		}
		at[row[0].Text] = row[1].Text
	}
	shards, err := f.world.Stream.Shards(ctx)
	if err != nil {
		return err
	}
	if len(shards) != f.shards {
		return fmt.Errorf("the stream has %d shards of the %d that were made", len(shards), f.shards)
	}
	for _, s := range shards {
		switch place, claimed := at[s.ID]; {
		case !claimed:
			return &unsettledError{"nobody has claimed " + s.ID}
		case s.Closed && place != stream.ShardEnd:
			return &unsettledError{s.ID + " was not read to its end; it stands at " + place}
		case !s.Closed && place == stream.ShardEnd:
			return fmt.Errorf("%s is open and counts as ended", s.ID)
		}
	}
	return nil
}
