package warehouse

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Claim asks for a shard under a new term.
type Claim struct {
	Shard  string
	Term   int64           // must be greater than the warehouse's
	Start  stream.Position // where the shard begins if the warehouse does not know it yet
	Stream stream.Identity // of the shard's stream; zero = not known, which goes with any
}

// Claimed is the warehouse's answer to a Claim.
type Claimed struct {
	Granted      bool            // the term is now the shard's; older terms can change nothing any more
	New          bool            // the warehouse did not know the shard: the position is the claim's Start
	Term         int64           // of the shard in the warehouse now
	Position     stream.Position // everything up to here is loaded
	ArrivedUntil time.Time       // zero = not known
	// Stream is the stream that the position is of. Where it is another one than
	// the claim's, of the same name, the claim is not granted: the position means
	// nothing in the claim's stream.
	Stream stream.Identity
}

// Foreign reports whether the position is of another stream than the claim's.
func (c Claimed) Foreign(claim Claim) bool {
	return !c.Stream.IsZero() && !claim.Stream.IsZero() && !c.Stream.Equal(claim.Stream)
}

// Claim claims shards in one transaction and returns an answer for each. A
// claim is granted once only: after a lost reply it is refused, and the caller
// comes again with a higher term.
func (w *Warehouse) Claim(ctx context.Context, streamName string, claims []Claim) ([]Claimed, error) {
	if len(claims) == 0 {
		return nil, nil
	}
	results, err := w.db.Run(ctx, Token(), claimStatements(w.db.Names(), streamName, claims, time.Now()))
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", plural.Of(len(claims), "shard"), err)
	}
	rows := results[len(results)-2].Rows
	if len(rows) != len(claims) {
		return nil, fmt.Errorf("claim of %s: the warehouse answered for %d; does worker_checkpoints hold a shard twice?", plural.Of(len(claims), "shard"), len(rows))
	}
	out := make([]Claimed, len(claims))
	for i, row := range rows {
		if out[i], err = readClaimed(row); err != nil {
			return nil, fmt.Errorf("claim: answer for shard %s: %w", claims[i].Shard, err)
		}
		out[i].New = out[i].Term == 0
		if out[i].Term < claims[i].Term && !out[i].Foreign(claims[i]) {
			out[i].Term, out[i].Granted = claims[i].Term, true
		}
	}
	return out, nil
}

// claimStatements are the claim's transaction. It writes the shared row too, and
// makes it where somebody has removed it; the last result but one is the answer.
func claimStatements(in Names, streamName string, claims []Claim, now time.Time) []string {
	values := make([]string, 0, len(claims)+1)
	for i, c := range claims {
		arn := "NULL"
		if !c.Stream.IsZero() {
			arn = Quote(c.Stream.ARN)
		}
		values = append(values, fmt.Sprintf("(%d,%s,%s,%d,%s,%d,%s,%s)", i, Quote(streamName), Quote(c.Shard), c.Term,
			Quote(c.Start.Sequence), c.Start.Sub, arn, timestampLiteral(c.Stream.Created)))
	}
	values = append(values, fmt.Sprintf("(-1,%s,%s,0,%s,0,NULL,NULL)", Quote(SharedRow), Quote(SharedRow), Quote(sharedSequence)))
	at, table := timestampLiteral(now), in.Of(CheckpointTable)
	statements := []string{
		lockTable(in),
		`CREATE TEMP TABLE load_claims (claim INTEGER, stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT,
 start_sequence VARCHAR(140), start_sub BIGINT, stream_arn VARCHAR(512), stream_created TIMESTAMP)`,
	}
	statements = append(statements, insertValues("INSERT INTO load_claims VALUES ", values)...)
	return append(statements,
		`INSERT INTO `+table+` (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at, stream_arn, stream_created)
SELECT n.stream_name, n.shard_id, 0, n.start_sequence, n.start_sub, CAST(`+at+` AS TIMESTAMP), n.stream_arn, n.stream_created
FROM load_claims n LEFT JOIN `+table+` c ON c.stream_name = n.stream_name AND c.shard_id = n.shard_id
WHERE c.shard_id IS NULL`,
		// How things stand before: a term below the claim's is one that gives way. The
		// word LATEST, which older versions took over from KCL, is no position: it would
		// be a later one for each owner. The claim's start takes its place.
		`SELECT n.claim, c.term, `+instead("c.sequence_number", "n.start_sequence")+`, `+instead("c.sub_sequence_number", "n.start_sub")+`, c.arrived_until, c.stream_arn, c.stream_created
FROM load_claims n JOIN `+table+` c ON c.stream_name = n.stream_name AND c.shard_id = n.shard_id
WHERE n.claim >= 0 ORDER BY n.claim`,
		// A row from before there were identities takes the claim's.
		`UPDATE `+table+` SET term = n.term, updated_at = `+at+`,
 sequence_number = `+instead("worker_checkpoints.sequence_number", "n.start_sequence")+`,
 sub_sequence_number = `+instead("worker_checkpoints.sub_sequence_number", "n.start_sub")+`,
 stream_arn = COALESCE(worker_checkpoints.stream_arn, n.stream_arn), stream_created = COALESCE(worker_checkpoints.stream_created, n.stream_created)
FROM load_claims n
WHERE worker_checkpoints.stream_name = n.stream_name AND worker_checkpoints.shard_id = n.shard_id
 AND (worker_checkpoints.term < n.term OR n.claim < 0)
 AND (n.stream_arn IS NULL OR worker_checkpoints.stream_arn IS NULL
 OR (worker_checkpoints.stream_arn = n.stream_arn AND worker_checkpoints.stream_created = n.stream_created))`)
}

// instead is SQL for a column of a claimed row, or what takes its place where the
// row's position is the word LATEST.
func instead(column, start string) string {
	table, _, _ := strings.Cut(column, ".")
	return "CASE WHEN " + table + ".sequence_number = " + Quote(stream.Latest) + " THEN " + start + " ELSE " + column + " END"
}

func readClaimed(row []Value) (c Claimed, err error) {
	if len(row) != 7 {
		return c, fmt.Errorf("%d columns instead of 7", len(row))
	}
	if c.Term, err = strconv.ParseInt(row[1].Text, 10, 64); err != nil {
		return c, fmt.Errorf("term: %w", err)
	}
	sub, err := strconv.ParseInt(row[3].Text, 10, 64)
	if err != nil {
		return c, fmt.Errorf("sub_sequence_number: %w", err)
	}
	c.Position = stream.Position{Sequence: row[2].Text, Sub: sub}
	if c.ArrivedUntil, err = readTime(row[4]); err != nil {
		return c, fmt.Errorf("arrived_until: %w", err)
	}
	if c.Stream, err = readIdentity(row[5], row[6]); err != nil {
		return c, fmt.Errorf("stream_created: %w", err)
	}
	return c, nil
}

// readTime reads a TIMESTAMP; NULL is the zero time.
func readTime(v Value) (time.Time, error) {
	if v.Null {
		return time.Time{}, nil
	}
	return ParseTimestamp(v.Text)
}

// readIdentity reads the stream of a checkpoint; NULL is not known.
func readIdentity(arn, created Value) (stream.Identity, error) {
	if arn.Null {
		return stream.Identity{}, nil
	}
	at, err := readTime(created)
	return stream.Identity{ARN: arn.Text, Created: at}, err
}
