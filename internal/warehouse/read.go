package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Checkpoint is how far one shard is loaded.
type Checkpoint struct {
	Shard        string
	Term         int64
	Position     stream.Position
	ArrivedUntil time.Time // all records that arrived before it are queryable; zero = not known
	UpdatedAt    time.Time
	Stream       stream.Identity // that the position is of; zero = not known
}

// Checkpoints returns the checkpoints of a stream, by shard.
func (w *Warehouse) Checkpoints(ctx context.Context, streamName string) ([]Checkpoint, error) {
	return Checkpoints(ctx, w.db, streamName)
}

// Checkpoints reads the checkpoints of a stream, by shard.
func Checkpoints(ctx context.Context, db DB, streamName string) ([]Checkpoint, error) {
	results, err := db.Run(ctx, Token(), []string{`SELECT shard_id, term, sequence_number, sub_sequence_number, arrived_until, updated_at, stream_arn, stream_created
FROM ` + db.Names().Of(CheckpointTable) + ` WHERE stream_name = ` + Quote(streamName) + ` ORDER BY shard_id`})
	if err != nil {
		return nil, fmt.Errorf("read the checkpoints of %s: %w", streamName, err)
	}
	out := make([]Checkpoint, len(results[0].Rows))
	for i, row := range results[0].Rows {
		if out[i], err = readCheckpoint(row); err != nil {
			return nil, fmt.Errorf("checkpoint of shard %s: %w", row[0].Text, err)
		}
	}
	return out, nil
}

// CompleteUntil is the completeness watermark of a stream by its checkpoints: every
// record that arrived before it can be queried, on the shards that the warehouse knows
// of. Zero = not known.
func CompleteUntil(checkpoints []Checkpoint) time.Time {
	var complete []time.Time
	for _, c := range checkpoints {
		if c.Position.Sequence != stream.ShardEnd {
			complete = append(complete, c.ArrivedUntil)
		}
	}
	return stream.Watermark(complete)
}

func readCheckpoint(row []Value) (c Checkpoint, err error) {
	c.Shard, c.Position.Sequence = row[0].Text, row[2].Text
	if c.Term, err = strconv.ParseInt(row[1].Text, 10, 64); err != nil {
		return c, fmt.Errorf("term: %w", err)
	}
	if c.Position.Sub, err = strconv.ParseInt(row[3].Text, 10, 64); err != nil {
		return c, fmt.Errorf("sub_sequence_number: %w", err)
	}
	if c.ArrivedUntil, err = readTime(row[4]); err != nil {
		return c, fmt.Errorf("arrived_until: %w", err)
	}
	if c.UpdatedAt, err = ParseTimestamp(row[5].Text); err != nil {
		return c, fmt.Errorf("updated_at: %w", err)
	}
	if c.Stream, err = readIdentity(row[6], row[7]); err != nil {
		return c, fmt.Errorf("stream_created: %w", err)
	}
	return c, nil
}
