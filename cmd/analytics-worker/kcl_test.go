package main

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

const leasesOfKCL = "my-kcl-application"

// kinesis makes one call of Kinesis's.
func (m *machine) kinesis(operation string, members map[string]any, out any) {
	m.t.Helper()
	body, err := json.Marshal(members)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := json.Unmarshal(m.post("application/x-amz-json-1.1", "Kinesis_20131202."+operation, string(body)), out); err != nil {
		m.t.Fatal(err)
	}
}

// lastOf is the sequence number of the shard's newest record.
func (m *machine) lastOf(s stream.Shard) (sequence string) {
	m.t.Helper()
	var at struct{ ShardIterator string }
	m.kinesis("GetShardIterator", map[string]any{"StreamName": "order-events", "ShardId": s.ID, "ShardIteratorType": "TRIM_HORIZON"}, &at)
	for {
		var page struct {
			Records            []struct{ SequenceNumber string }
			NextShardIterator  string
			MillisBehindLatest int64
		}
		m.kinesis("GetRecords", map[string]any{"ShardIterator": at.ShardIterator}, &page)
		for _, r := range page.Records {
			sequence = r.SequenceNumber
		}
		if page.MillisBehindLatest == 0 {
			return sequence
		}
		at.ShardIterator = page.NextShardIterator
	}
}

// A KCL application stopped after 100 orders. A first worker goes on from the
// table that it left; the next ones have a table of their own, and go on where
// the first one ended: the way that docs/DEPLOY.md shows.
func TestG1_FromATableOfKCLIntoOneOfOurOwn(t *testing.T) {
	t.Parallel()
	f := newFleetOf(t, 2)
	f.must("publish", "--count", "100", "--seed", "81")
	f.dynamodb("CreateTable", map[string]any{
		"TableName": leasesOfKCL, "BillingMode": "PAY_PER_REQUEST",
		"AttributeDefinitions": []any{map[string]any{"AttributeName": "leaseKey", "AttributeType": "S"}},
		"KeySchema":            []any{map[string]any{"AttributeName": "leaseKey", "KeyType": "HASH"}},
	})
	for _, s := range f.open() {
		f.dynamodb("PutItem", map[string]any{"TableName": leasesOfKCL, "Item": map[string]any{
			"leaseKey": map[string]any{"S": s.ID}, "leaseOwner": map[string]any{"S": "kcl-1"}, "leaseCounter": map[string]any{"N": "4711"},
			"checkpoint": map[string]any{"S": f.lastOf(s)}, "checkpointSubSequenceNumber": map[string]any{"N": "0"},
			"ownerSwitchesSinceCheckpoint": map[string]any{"N": "0"}, "throughputKBps": map[string]any{"N": "12.5"},
		}})
	}
	stopped := time.Now().UTC().Format(time.RFC3339Nano)
	since := func(records int64) func() (bool, error) {
		return func() (bool, error) {
			out, _ := f.run("verify", "--since", stopped, "--format", "json")
			var r verify.Report
			err := json.Unmarshal([]byte(out), &r)
			return r.OK && r.Early == 100 && r.Records == records, err
		}
	}
	f.must("publish", "--count", "60", "--seed", "82")

	first := f.join("LEASE_TABLE=" + leasesOfKCL)
	f.held(0, first)
	f.await("what the application left is loaded", since(60))
	first.signal(syscall.SIGTERM)
	first.leave()
	positions := f.must("positions", "--wide")
	for _, s := range f.open() {
		if !strings.Contains(positions, s.ID) {
			t.Errorf("the warehouse does not know %s:\n%s", s.ID, positions)
		}
	}

	f.must("publish", "--count", "40", "--seed", "83")
	next := f.join()
	f.held(0, next)
	f.await("what came since is loaded", since(100))
	f.tells([]string{"verify"}, "order missing") // the 100 are in the application's own tables
	next.signal(syscall.SIGTERM)
	next.leave()
}
