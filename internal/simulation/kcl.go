package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// attributes are an item of DynamoDB as it goes over the wire. What KCL leaves
// is written without any code of the worker's, which cannot write all of it.
type attributes map[string]map[string]any

// dynamodb makes one call of DynamoDB's.
func (f *Fleet) dynamodb(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, Endpoint, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.0")
	r.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	client := f.world.Client(nil)
	defer client.CloseIdleConnections()
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("DynamoDB says %s: %s", response.Status, answer)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(answer, out)
	}
	return err
}

// inherit fills the lease table of a stream that was never read as a KCL
// application leaves it that has not checkpointed anything, starts a worker and
// waits until it has the shards.
func (f *Fleet) inherit(ctx context.Context, rng *rand.Rand) error {
	open, err := f.openShards(ctx)
	if err != nil {
		return err
	}
	f.note("the leases are KCL's")
	f.tally.event("a lease table taken over from KCL")
	for _, s := range open {
		row := attributes{
			"leaseKey": {"S": s.ID}, "startingHashKey": {"S": s.HashStart}, "endingHashKey": {"S": s.HashEnd},
			"checkpoint": {"S": pick(rng, stream.Latest, stream.Latest, stream.TrimHorizon, stream.AtTimestamp)}, "checkpointSubSequenceNumber": {"N": "0"},
			"ownerSwitchesSinceCheckpoint": {"N": "0"}, "leaseCounter": {"N": "41"},
		}
		f.note("%s is at %s", s.ID, row["checkpoint"]["S"])
		if err := f.leave(ctx, row, rng); err != nil {
			return err
		}
	}
	if err := f.start(ctx, 1); err != nil {
		return err
	}
	return Await(ctx, "all shards have an owner", func() (bool, error) { return f.quiet(open), nil })
}

// leave writes a row with what the versions of KCL put beside a checkpoint.
func (f *Fleet) leave(ctx context.Context, row attributes, rng *rand.Rand) error {
	delete(row, "leaseOwner")
	if rng.IntN(2) == 0 { // one that died; else one that ended in order
		row["leaseOwner"] = map[string]any{"S": "kcl-worker"}
	}
	if rng.IntN(3) == 0 { // KCL 3
		row["entityType"], row["throughputKBps"] = map[string]any{"S": "LEASE"}, map[string]any{"N": "12.5"}
		if rng.IntN(2) == 0 { // it was being handed over
			row["checkpointOwner"] = map[string]any{"S": "kcl-worker-before"}
		}
	}
	if rng.IntN(4) == 0 { // a checkpoint was announced
		row["pendingCheckpoint"], row["pendingCheckpointSubSequenceNumber"] = map[string]any{"S": stream.TrimHorizon}, map[string]any{"N": "0"}
	}
	return f.insist(ctx, func() error {
		return f.dynamodb(ctx, "PutItem", map[string]any{"TableName": f.leases, "Item": row}, nil)
	})
}

// leaveToKCL kills the fleet and leaves the table as a KCL application would
// that had run in its place: with positions of its own, with or without what it
// does not know of a row. The warehouse knows better.
func (f *Fleet) leaveToKCL(ctx context.Context, rng *rand.Rand) error {
	f.tally.event("a lease table handed to KCL and back")
	for f.count() > 0 {
		f.crash(0)
	}
	var table struct{ Items []attributes }
	err := f.insist(ctx, func() error {
		return f.dynamodb(ctx, "Scan", map[string]any{"TableName": f.leases, "ConsistentRead": true}, &table)
	})
	if err != nil {
		return err
	}
	forget := rng.IntN(2) == 0
	for _, row := range table.Items {
		counter, err := strconv.Atoi(fmt.Sprint(row["leaseCounter"]["N"]))
		if err != nil {
			return fmt.Errorf("counter of %v: %w", row, err)
		}
		row["leaseCounter"] = map[string]any{"N": strconv.Itoa(counter + 1 + rng.IntN(9))}
		if forget {
			delete(row, "term")
			delete(row, "streamArn")
			delete(row, "streamCreated")
		}
		// Of a shard that was never loaded the row alone says where it begins.
		if at := (stream.Position{Sequence: fmt.Sprint(row["checkpoint"]["S"])}); at.IsSequence() && rng.IntN(2) == 0 {
			row["checkpoint"] = map[string]any{"S": pick(rng, stream.Latest, stream.TrimHorizon, stream.AtTimestamp)}
			row["checkpointSubSequenceNumber"] = map[string]any{"N": "0"}
		}
		if err := f.leave(ctx, row, rng); err != nil {
			return err
		}
	}
	f.later(time.Second, func(ctx context.Context) error { return f.start(ctx, 1) })
	return nil
}
