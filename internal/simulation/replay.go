package simulation

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/replay"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// replayTime is how long a replay runs until it is cut off, wherever it is by then.
const replayTime = 3 * time.Second

// Replay loads a range of the stream again, with a fill: c says which, and how.
func (w *World) Replay(ctx context.Context, fill warehouse.Fill, c replay.Config) (replay.Summary, error) {
	house := warehouse.New(w.DB, fill)
	defer house.Close(context.WithoutCancel(ctx))
	c.Stream, c.Shards, c.Warehouse, c.Letters, c.Families = w.stream, w.Stream.Shards, house, w.Letters(), w.Options.Families
	c.Open = func(s stream.Shard, at stream.Position) replay.Reader { return w.Reader(s, at) }
	c.Checkpoints = func(ctx context.Context) ([]warehouse.Checkpoint, error) {
		return warehouse.Checkpoints(ctx, w.DB, w.stream)
	}
	return replay.Run(ctx, c)
}

// replayAtRandom loads a range again while the fleet runs and whatever goes wrong does. It
// may fail, as the services do, or be cut off: nothing depends on it. What it does
// must not show.
func (f *Fleet) replayAtRandom(ctx context.Context, rng *rand.Rand) error {
	var fill warehouse.Fill = warehouse.Insert{}
	if rng.IntN(2) == 0 {
		bucket, err := f.world.Account.Bucket(stagingURL)
		if err != nil {
			return err
		}
		fill = &warehouse.Copy{Staging: bucket, Log: f.world.Options.Log}
	}
	past := time.Since(f.began)
	from := f.began.Add(time.Duration(rng.Int64N(int64(past) + 1)))
	to := from.Add(time.Duration(rng.Int64N(int64(past)+1)) + time.Second)
	short, cancel := context.WithTimeout(ctx, ms(rng, 100, int(replayTime.Milliseconds())))
	defer cancel()
	sum, err := f.world.Replay(short, fill, replay.Config{From: from, To: to, BatchBytes: pick(rng, 0, 200, 1000)})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	f.tally.event("a replay")
	if err != nil {
		f.tally.event("a replay that did not get through")
	}
	f.note("a replay of %d records, %d changed: %v", sum.Records, sum.Changed, err)
	return nil
}
