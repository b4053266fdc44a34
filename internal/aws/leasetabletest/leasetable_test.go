// Package leasetabletest tries aws.LeaseTable over the wire against the local
// AWS's DynamoDB, or against another one.
package leasetabletest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/lease/leasetest"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	localdynamodb "github.com/cloudcafe/analytics-worker/localaws/dynamodb"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const table = "analytics-leases"

// account opens an account at a DynamoDB of the test's own.
func account(t *testing.T) (*aws.Account, *endpoint.Running) {
	t.Helper()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{localdynamodb.New(localdynamodb.Options{Limits: true})}}).Start(t)
	return at(t, local.URL), local
}

// at opens an account at the endpoint, by the environment alone.
func at(t *testing.T, url string) *aws.Account {
	t.Helper()
	t.Setenv("AWS_ENDPOINT_URL", url)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	a, err := aws.Open(t.Context(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func ensured(t *testing.T, a *aws.Account, name string) *aws.LeaseTable {
	t.Helper()
	tb := a.LeaseTable(name)
	if err := tb.Ensure(t.Context()); err != nil {
		t.Fatalf("Ensure: %v", err)
	}
	return tb
}

// raw is a client that knows nothing of leases.
func raw(t *testing.T) *dynamodb.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return dynamodb.NewFromConfig(cfg, func(o *dynamodb.Options) { o.HTTPClient = &http.Client{Transport: transport} })
}

func TestConformance(t *testing.T) {
	leasetest.Run(t, func(t *testing.T) lease.Table {
		a, _ := account(t)
		return ensured(t, a, table)
	})
}

// TestPeerConformance runs the suite on another DynamoDB, such as dynalite,
// where the environment names one.
func TestPeerConformance(t *testing.T) {
	url := os.Getenv("DYNAMODB_PEER_URL")
	if url == "" {
		t.Skip("DYNAMODB_PEER_URL names no other DynamoDB")
	}
	leasetest.Run(t, func(t *testing.T) lease.Table {
		a := at(t, url)
		client, name := raw(t), fmt.Sprintf("leases-%d", time.Now().UnixNano())
		t.Cleanup(func() {
			if _, err := client.DeleteTable(context.Background(), &dynamodb.DeleteTableInput{TableName: &name}); err != nil {
				t.Errorf("the peer keeps the table %s: %v", name, err)
			}
		})
		return ensured(t, a, name)
	})
}

func TestEnsureMakesTheTableOnce(t *testing.T) {
	a, _ := account(t)
	done := make(chan error, 5)
	for range cap(done) { // as many workers start
		go func() { done <- a.LeaseTable(table).Ensure(t.Context()) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	out, err := raw(t).DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: sdk.String(table)})
	if err != nil {
		t.Fatal(err)
	}
	if b := out.Table.BillingModeSummary; b == nil || b.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("billing mode %+v", b)
	}
}

func TestEnsureWaitsOutTheServicesTrouble(t *testing.T) {
	a, local := account(t)
	local.SetFaults(fault.Fault{Service: "dynamodb", Operation: "CreateTable", Kind: fault.Throttle, Count: 4})
	ensured(t, a, table)
	if left := local.Faults(); len(left) > 0 {
		t.Errorf("faults that did not strike: %+v", left)
	}
}

func TestEnsureRefusesATableOfAnotherShape(t *testing.T) {
	a, _ := account(t)
	_, err := raw(t).CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: sdk.String(table), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: sdk.String("id"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: sdk.String("id"), KeyType: types.KeyTypeHash}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = a.LeaseTable(table).Ensure(t.Context())
	if err == nil || !errors.Is(err, aws.ErrNotLeases) {
		t.Errorf("Ensure = %v", err)
	}
}

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

// kcl are rows as a KCL 3.5 application leaves them.
var kcl = []map[string]types.AttributeValue{
	{
		"leaseKey": s("shardId-000000000000"), "leaseOwner": s("kcl-1"), "leaseCounter": n("4711"),
		"checkpoint": s("49590338271490256608559692538361571095921575989136588898"), "checkpointSubSequenceNumber": n("2"),
		"ownerSwitchesSinceCheckpoint": n("1"), "parentShardId": &types.AttributeValueMemberSS{Value: []string{"shardId-x", "shardId-a"}},
		"startingHashKey": s("0"), "endingHashKey": s("340282366920938463463374607431768211455"),
		"pendingCheckpoint": s("4960"), "pendingCheckpointSubSequenceNumber": n("0"),
		"pendingCheckpointState": &types.AttributeValueMemberB{Value: []byte("state")},
		"throughputKBps":         n("12.500000"), "checkpointOwner": s("kcl-0"), "entityType": s("LEASE"),
	},
	{"leaseKey": s("Migration3.0"), "entityType": s("COORDINATOR_STATE"), "cv": s("1")},
	{"leaseKey": s("kcl-1"), "entityType": s("WORKER_METRIC_STATS"), "lut": n("1700000000")},
	{"leaseKey": s("123456789012:orders:1700000000:shardId-000000000000"), "leaseCounter": n("3"), "checkpoint": s("LATEST"), "streamName": s("123456789012:orders:1700000000")},
	{"leaseKey": s("shardId-000000000007"), "leaseCounter": s("not a number"), "checkpoint": s("LATEST")},
	{"leaseKey": s("shardId-000000000008"), "leaseOwner": s("stub")},
	{"leaseKey": s("shardId-000000000009"), "leaseOwner": s(""), "leaseCounter": n("1"), "checkpoint": s("TRIM_HORIZON")},
}

// itemOf is a row as DynamoDB holds it.
func itemOf(t *testing.T, client *dynamodb.Client, id string) map[string]types.AttributeValue {
	t.Helper()
	out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: sdk.String(table), Key: map[string]types.AttributeValue{"leaseKey": s(id)}})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

func TestReadsAndKeepsWhatKCLWrote(t *testing.T) {
	a, _ := account(t)
	tb := ensured(t, a, table)
	client := raw(t)
	get := func(id string) map[string]types.AttributeValue { return itemOf(t, client, id) }
	for _, item := range kcl {
		if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: sdk.String(table), Item: item}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := tb.List(t.Context())
	byID := make(map[string]lease.Row)
	for _, r := range rows {
		byID[r.Shard] = r
	}
	if err != nil || len(rows) != 4 {
		t.Fatalf("List = %+v, %v; want the two leases, and two that cannot be read", rows, err)
	}
	for id, why := range map[string]string{"shardId-000000000007": "leaseCounter is not a number", "shardId-000000000008": "leaseCounter is missing"} {
		if r := byID[id]; !strings.Contains(r.Unreadable, why) || r.Owner != "" || !r.Checkpoint.IsZero() {
			t.Errorf("row of %s = %+v; want it unreadable because %q, and nothing else known of it", id, r, why)
		}
	}
	seen := byID["shardId-000000000000"]
	want := lease.Row{
		Shard: "shardId-000000000000", Owner: "kcl-1", Counter: 4711, OwnerSwitches: 1,
		Checkpoint: stream.Position{Sequence: "49590338271490256608559692538361571095921575989136588898", Sub: 2},
		Parents:    []string{"shardId-a", "shardId-x"}, HashStart: "0", HashEnd: "340282366920938463463374607431768211455",
	}
	if !reflect.DeepEqual(seen, want) {
		t.Fatalf("row = %+v\nwant %+v", seen, want)
	}

	want.Owner, want.Term, want.OwnerSwitches = "ours", 1, 2
	want.Stream = stream.Identity{ARN: "arn:aws:kinesis:us-east-1:123456789012:stream/orders", Created: time.UnixMilli(1_700_000_000_123).UTC()}
	taken, err := tb.Update(t.Context(), seen, want)
	if err != nil {
		t.Fatal(err)
	}
	item := get(want.Shard)
	if !reflect.DeepEqual(item["streamArn"], s(want.Stream.ARN)) || !reflect.DeepEqual(item["streamCreated"], n("1700000000123")) {
		t.Errorf("the stream is written as %+v, %+v", item["streamArn"], item["streamCreated"])
	}
	if item["checkpointOwner"] != nil || item["pendingCheckpoint"] == nil || !reflect.DeepEqual(item["throughputKBps"], n("12.5")) || item["entityType"] == nil {
		t.Errorf("after the take: %+v", item)
	}
	want = taken
	want.Owner, want.Checkpoint, want.OwnerSwitches = "", stream.Position{Sequence: stream.ShardEnd}, 0
	want.Children = []string{"shardId-000000000001"}
	if _, err := tb.Update(t.Context(), taken, want); err != nil {
		t.Fatal(err)
	}
	item = get(want.Shard)
	for _, gone := range []string{"leaseOwner", "pendingCheckpoint", "pendingCheckpointSubSequenceNumber", "pendingCheckpointState"} {
		if item[gone] != nil {
			t.Errorf("%s is still there: %+v", gone, item[gone])
		}
	}
	if !reflect.DeepEqual(item["checkpoint"], s("SHARD_END")) || !reflect.DeepEqual(item["leaseCounter"], n("4713")) ||
		!reflect.DeepEqual(item["childShardIds"], &types.AttributeValueMemberSS{Value: want.Children}) {
		t.Errorf("after the end: %+v", item)
	}

	// An empty owner, which DynamoDB allows, is no owner.
	free := byID["shardId-000000000009"]
	want = free
	want.Owner, want.Term = "ours", 1
	if _, err := tb.Update(t.Context(), free, want); err != nil {
		t.Errorf("take the one with an empty owner: %v", err)
	}
	for _, other := range kcl[1:6] {
		id := other["leaseKey"].(*types.AttributeValueMemberS).Value
		if !reflect.DeepEqual(get(id), other) {
			t.Errorf("row %s was touched: %+v", id, get(id))
		}
	}
}

// No value of a condition is an empty string: DynamoDB may refuse to compare
// one with the owner, which is the key of an index on a table of KCL 3's.
func TestNoConditionHoldsAnEmptyString(t *testing.T) {
	var mu sync.Mutex // guards bodies
	var bodies []string
	faults := fault.NewSet()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{localdynamodb.New(localdynamodb.Options{Limits: true})}, Faults: faults})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		bodies = append(bodies, string(body))
		mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		local.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	tb := ensured(t, at(t, server.URL), table)
	row := lease.Row{Shard: "shardId-000000000000", Checkpoint: stream.Position{Sequence: stream.TrimHorizon}}
	if _, err := tb.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	want := row
	want.Owner = "ours"
	taken, err := tb.Update(t.Context(), row, want)
	if err != nil {
		t.Fatal(err)
	}
	free := taken
	free.Owner = ""
	if free, err = tb.Update(t.Context(), taken, free); err != nil {
		t.Fatal(err)
	}
	if err := tb.Delete(t.Context(), free); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, body := range bodies {
		if strings.Contains(body, `""`) {
			t.Errorf("a call holds an empty string: %s", body)
		}
	}
}

func TestLostReplyOfAnUpdateIsSeen(t *testing.T) {
	a, local := account(t)
	tb := ensured(t, a, table)
	row := lease.Row{Shard: "shardId-000000000000", Checkpoint: stream.Position{Sequence: stream.TrimHorizon}}
	if _, err := tb.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	local.SetFaults(fault.Fault{Service: "dynamodb", Operation: "UpdateItem", Kind: fault.ReplyLost, Count: 1})
	want := row
	want.Owner, want.Term = "ours", 1
	_, err := tb.Update(t.Context(), row, want) // the SDK sends it again
	var c *lease.ConflictError
	if !errors.As(err, &c) || !c.Found || c.Now.Owner != "ours" || c.Now.Term != 1 || c.Now.Counter != 1 {
		t.Fatalf("Update = %v; want a conflict that shows our own write", err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	a, local := account(t)
	_, err := a.LeaseTable("nowhere").List(t.Context())
	if !errors.Is(err, stream.ErrGone) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("a missing table: %v", err)
	}
	tb := ensured(t, a, table)
	local.SetFaults(fault.Fault{Service: "dynamodb", Operation: "Scan", Kind: fault.Throttle, Count: 3})
	if _, err := tb.List(t.Context()); !errors.Is(err, stream.ErrThrottled) {
		t.Errorf("throttled three times: %v", err)
	}
	if _, err := tb.List(t.Context()); err != nil {
		t.Errorf("after the throttle: %v", err)
	}
}

// A call that its caller's deadline ends while it is tried again says why it was: "context
// deadline exceeded" sends nobody to the table's capacity.
func TestALateCallSaysWhatTheServiceSaid(t *testing.T) {
	a, local := account(t)
	tb := ensured(t, a, table)
	row := lease.Row{Shard: "shardId-1", Owner: "w"}
	if _, err := tb.Create(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	local.SetFaults(fault.Fault{Service: "dynamodb", Operation: "UpdateItem", Kind: fault.Throttle})
	ended := func(within time.Duration) (err error) { // what the call says that the deadline ended
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		for ctx.Err() == nil { // the first calls may come to the end of their tries
			_, err = tb.Update(ctx, row, row)
		}
		return err
	}
	says := func(err error) bool {
		return errors.Is(err, stream.ErrThrottled) && strings.Contains(err.Error(), "ProvisionedThroughputExceededException")
	}
	err := ended(300 * time.Millisecond)
	for within := 600 * time.Millisecond; !says(err) && within < 10*time.Second; within *= 2 { // nothing may have been said before the deadline
		err = ended(within)
	}
	if !says(err) {
		t.Errorf("Update: %v", err)
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if _, err := tb.Update(ctx, row, row); errors.Is(err, stream.ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) || !strings.HasSuffix(err.Error(), "no answer in time") {
		t.Errorf("nothing was asked, and Update says %v", err)
	}
}

// TestHoldersShareLeasesOverTheWire runs two holders on a real clock through
// faults of every kind that the table can have.
func TestHoldersShareLeasesOverTheWire(t *testing.T) {
	a, local := account(t)
	ensured(t, a, table)
	half := 0.5
	local.SetFaults(
		fault.Fault{Service: "dynamodb", Kind: fault.Throttle, Count: 5, Probability: &half, Seed: 1},
		fault.Fault{Service: "dynamodb", Kind: fault.Reset, Count: 5, Probability: &half, Seed: 2},
		fault.Fault{Service: "dynamodb", Operation: "UpdateItem", Kind: fault.ReplyLost, Count: 5, Probability: &half, Seed: 3},
	)
	const shards = 12
	var list []stream.Shard
	for i := range shards {
		list = append(list, stream.Shard{ID: fmt.Sprintf("shardId-%012d", i)})
	}
	ctx, cancel := context.WithCancel(t.Context())
	var holders [2]*lease.Holder
	done := make(chan error, len(holders))
	for i := range holders {
		h, err := lease.New(lease.Config{
			Table: a.LeaseTable(table), Self: fmt.Sprint("w", i), TTL: 3 * time.Second,
			Shards: func(context.Context) ([]stream.Shard, error) { return list, nil },
			Own:    func(ctx context.Context, _ lease.Term) error { <-ctx.Done(); return context.Cause(ctx) },
		})
		if err != nil {
			t.Fatal(err)
		}
		holders[i] = h
		go func() { done <- h.Run(ctx) }()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(2 * time.Minute); len(holders[0].Holds()) != shards/2 || len(holders[1].Holds()) != shards/2; {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not balanced: %v, %v", holders[0].Holds(), holders[1].Holds())
		}
	}
	cancel()
	for range holders {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	rows, err := a.LeaseTable(table).List(t.Context())
	if err != nil || len(rows) != shards {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for _, r := range rows {
		if r.Owner != "" {
			t.Errorf("%s is still owned by %s", r.Shard, r.Owner)
		}
	}
}
