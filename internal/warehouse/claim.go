package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Claim asks for a shard under a new term.
type Claim struct {
	Shard string
	Term  int64           // must be greater than the warehouse's
	Start stream.Position // where the shard begins if the warehouse does not know it yet
}

// Claimed is the warehouse's answer to a Claim.
type Claimed struct {
	Granted      bool            // the term is now the shard's; older terms can change nothing any more
	Term         int64           // of the shard in the warehouse now
	Position     stream.Position // everything up to here is loaded
	ArrivedUntil time.Time       // zero = not known
}

// Claim claims shards in one transaction and returns an answer for each. A
// claim is granted once only: after a lost reply it is refused, and the caller
// comes again with a higher term.
func (w *Warehouse) Claim(ctx context.Context, streamName string, claims []Claim) ([]Claimed, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	values := make([]string, len(claims))
	for i, c := range claims {
		values[i] = fmt.Sprintf("(%d,%s,%d,%s,%d)", i, Quote(c.Shard), c.Term, Quote(c.Start.Sequence), c.Start.Sub)
	}
	name := Quote(streamName)
	statements := []string{
		`LOCK TABLE worker_load_lock`,
		`CREATE TEMP TABLE load_claims (claim INTEGER, shard_id VARCHAR(128), term BIGINT, start_sequence VARCHAR(140), start_sub BIGINT)`,
	}
	statements = append(statements, insertValues("load_claims", values)...)
	statements = append(statements,
		`INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT `+name+`, n.shard_id, 0, n.start_sequence, n.start_sub, GETDATE()
FROM load_claims n LEFT JOIN worker_checkpoints c ON c.stream_name = `+name+` AND c.shard_id = n.shard_id
WHERE c.shard_id IS NULL`,
		// How things stand before: a term below the claim's is one that gives way.
		`SELECT n.claim, c.term, c.sequence_number, c.sub_sequence_number, c.arrived_until
FROM load_claims n JOIN worker_checkpoints c ON c.stream_name = `+name+` AND c.shard_id = n.shard_id
ORDER BY n.claim`,
		`UPDATE worker_checkpoints SET term = n.term, updated_at = GETDATE() FROM load_claims n
WHERE worker_checkpoints.stream_name = `+name+` AND worker_checkpoints.shard_id = n.shard_id AND worker_checkpoints.term < n.term`)
	results, err := w.db.Run(ctx, Token(), statements)
	if err != nil {
		return nil, fmt.Errorf("claim %d shards: %w", len(claims), err)
	}
	rows := results[len(results)-2].Rows
	if len(rows) != len(claims) {
		return nil, fmt.Errorf("claim of %d shards: the warehouse answered for %d; does worker_checkpoints hold a shard twice?", len(claims), len(rows))
	}
	out := make([]Claimed, len(claims))
	for i, row := range rows {
		if out[i], err = readClaimed(row); err != nil {
			return nil, fmt.Errorf("claim: answer for shard %s: %w", claims[i].Shard, err)
		}
		if out[i].Term < claims[i].Term {
			out[i].Term, out[i].Granted = claims[i].Term, true
		}
	}
	return out, nil
}

func readClaimed(row []Value) (c Claimed, err error) {
	if len(row) != 5 {
		return c, fmt.Errorf("%d columns instead of 5", len(row))
	}
	if c.Term, err = strconv.ParseInt(row[1].Text, 10, 64); err != nil {
		return c, fmt.Errorf("term: %w", err)
	}
	sub, err := strconv.ParseInt(row[3].Text, 10, 64)
	if err != nil {
		return c, fmt.Errorf("sub_sequence_number: %w", err)
	}
	c.Position = stream.Position{Sequence: row[2].Text, Sub: sub}
	if !row[4].Null {
		if c.ArrivedUntil, err = ParseTimestamp(row[4].Text); err != nil {
			return c, fmt.Errorf("arrived_until: %w", err)
		}
	}
	return c, nil
}
