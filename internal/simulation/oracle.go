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
	records int                  // published, each event of a Kinesis record counted
	bad     int                  // of them, no event
	things  map[thing][]happened // in the order of the stream
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
	deadline := time.Now().Add(f.patience())
	alone := time.Now().Add(settleTime / 2) // how long poison may be
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	company := !f.moody
	for {
		// Poison rows alone, one after another, look like a warehouse that refuses
		// everything: a worker waits with them until a row goes in.
		if !company && time.Now().After(alone) {
			company = true
			if err := f.keepCompany(ctx); err != nil {
				return err
			}
		}
		quiet := 0
		for quiet < 3 && time.Now().Before(deadline) && (company || !time.Now().After(alone)) {
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
	return "the fleet had not settled long after the last fault: " + e.missing
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

// look compares the warehouse's tables with the expectation, which knows the order
// of each key's events, and with the stream's shards.
func (f *Fleet) look(ctx context.Context) error {
	sql := []string{"SELECT shard_id, sequence_number FROM worker_checkpoints WHERE stream_name = " + warehouse.Quote(f.world.stream)}
	for _, t := range tables {
		sql = append(sql, t.facts)
	}
	for _, t := range tables {
		if t.rollups != "" {
			sql = append(sql, t.rollups)
		}
	}
	r, err := f.world.DB.Run(ctx, warehouse.Token(), sql)
	if err != nil {
		return fmt.Errorf("look at the warehouse: %w", err)
	}
	fates, err := f.refusals(ctx)
	if err != nil {
		return fmt.Errorf("look at the letters: %w", err)
	}
	expected := f.expect.standings(fates)
	var sums [kinds]map[string]sum
	var wrong []error
	for k := range kinds {
		if sums[k], err = lookAtFacts(kind(k), r[1+k], expected); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return &unsettledError{err.Error()}
	}
	if err := f.judgeRefusals(fates); err != nil {
		return err
	}
	at := 1 + kinds
	for k, t := range tables {
		if t.rollups == "" {
			continue
		}
		if err := lookAtRollups(r[at], sums[k]); err != nil {
			return fmt.Errorf("of each %s%w", thing{kind: kind(k)}, err)
		}
		at++
	}
	return f.lookAtShards(ctx, r[0])
}

// sum is a row of the rollups.
type sum struct{ rows, items, number int64 }

func lookAtFacts(k kind, r warehouse.Result, expected map[thing]standing) (map[string]sum, error) {
	sums := make(map[string]sum)
	seen := make(map[thing]bool)
	var wrong []string
	for _, row := range r.Rows {
		id := thing{k, row[0].Text}
		number, err1 := numberOf(row[1].Text)
		at, err2 := warehouse.ParseTimestamp(row[2].Text)
		items, err3 := strconv.ParseInt(row[5].Text, 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("%s: %w", id, err)
		}
		var values []any
		for _, v := range row[3:] {
			if v.Null {
				v.Text = absent
			}
			values = append(values, v.Text)
		}
		switch s, says := expected[id], said(values...); {
		case seen[id]:
			wrong = append(wrong, fmt.Sprintf("%s stands twice", id))
		case !s.allowed[number]:
			wrong = append(wrong, fmt.Sprintf("%s stands at record %d and not at %v", id, number, slices.Collect(maps.Keys(s.allowed))))
		case s.says[number] != says || at.Minute()*60+at.Second() != s.second[number]:
			wrong = append(wrong, fmt.Sprintf("%s says %s at %v, and record %d said %s at second %d", id, says, at, number, s.says[number], s.second[number]))
		}
		seen[id] = true
		key := at.Truncate(time.Minute).UTC().String() + " " + row[3].Text + " " + row[4].Text
		s := sums[key]
		sums[key] = sum{s.rows + 1, s.items + items, s.number + int64(number)}
	}
	for id, s := range expected {
		if id.kind == k && !seen[id] && !s.lacking {
			wrong = append(wrong, id.String()+" is not there")
		}
	}
	if wrong != nil {
		return nil, fmt.Errorf("%d of each %sare there; %s", len(seen), thing{kind: k}, strings.Join(wrong, "; "))
	}
	return sums, nil
}

// numberOf reads a number that names an event: pieces, or cents behind a point.
func numberOf(text string) (int, error) { return strconv.Atoi(strings.Replace(text, ".", "", 1)) }

func lookAtRollups(r warehouse.Result, sums map[string]sum) error {
	held := make(map[string]sum)
	for _, row := range r.Rows {
		at, err := warehouse.ParseTimestamp(row[0].Text)
		if err != nil {
			return fmt.Errorf("minute of a rollup: %w", err)
		}
		key := at.UTC().String() + " " + row[1].Text + " " + row[2].Text
		rows, err1 := strconv.ParseInt(row[3].Text, 10, 64)
		items, err2 := strconv.ParseInt(row[4].Text, 10, 64)
		number, err3 := numberOf(row[5].Text)
		if err := errors.Join(err1, err2, err3); err != nil {
			return fmt.Errorf("rollup %s: %w", key, err)
		}
		if _, twice := held[key]; twice {
			return fmt.Errorf("rollup %s is there twice", key)
		}
		held[key] = sum{rows, items, int64(number)}
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
