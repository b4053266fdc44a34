package warehouse

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Reset puts a shard at another position.
type Reset struct {
	Shard string
	To    stream.Position
}

// ResetPositions puts shards of a stream at other positions, in one transaction,
// and says of them that they are of the stream that is there now. With others set
// it removes the positions of all other shards of the name. Workers may run: the
// terms are raised, so that whoever owns one of the shards is refused, claims it
// anew, and goes on from there. Reading what was loaded before changes nothing;
// what lies between the old position and a later one is not loaded.
func ResetPositions(ctx context.Context, db DB, streamName string, id stream.Identity, resets []Reset, others bool) error {
	if len(resets) == 0 {
		return nil
	}
	values := make([]string, len(resets))
	for i, r := range resets {
		values[i] = fmt.Sprintf("(%s,%s,%d)", Quote(r.Shard), Quote(r.To.Sequence), r.To.Sub)
	}
	in, name, now, arn := db.Names(), Quote(streamName), timestampLiteral(time.Now()), "NULL"
	table := in.Of(CheckpointTable)
	if id.ARN != "" {
		arn = Quote(id.ARN)
	}
	statements := []string{
		lockTable(in),
		`CREATE TEMP TABLE load_resets (shard_id VARCHAR(128), sequence_number VARCHAR(140), sub_sequence_number BIGINT)`,
	}
	statements = append(statements, insertValues("INSERT INTO load_resets VALUES ", values)...)
	if others {
		statements = append(statements, `DELETE FROM `+table+` WHERE stream_name = `+name+`
 AND shard_id NOT IN (SELECT shard_id FROM load_resets)`)
	}
	statements = append(statements,
		`INSERT INTO `+table+` (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT `+name+`, n.shard_id, 0, n.sequence_number, n.sub_sequence_number, CAST(`+now+` AS TIMESTAMP)
FROM load_resets n LEFT JOIN `+table+` c ON c.stream_name = `+name+` AND c.shard_id = n.shard_id
WHERE c.shard_id IS NULL`,
		`UPDATE `+table+` SET term = worker_checkpoints.term + 1, sequence_number = n.sequence_number,
 sub_sequence_number = n.sub_sequence_number, arrived_until = NULL, updated_at = `+now+`,
 stream_arn = `+arn+`, stream_created = `+timestampLiteral(id.Created)+`
FROM load_resets n WHERE worker_checkpoints.stream_name = `+name+` AND worker_checkpoints.shard_id = n.shard_id`,
		`UPDATE `+table+` SET updated_at = `+now+` WHERE stream_name = `+Quote(SharedRow)+` AND shard_id = `+Quote(SharedRow))
	if _, err := db.Run(ctx, Token(), statements); err != nil {
		return fmt.Errorf("put %s of %s at other positions: %w", plural.Of(len(resets), "shard"), streamName, err)
	}
	return nil
}
