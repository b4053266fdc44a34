package dynamodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func client(t *testing.T, s *Service) *awsddb.Client {
	t.Helper()
	local := endpoint.New(endpoint.Options{Services: []wire.Service{s}}).Start(t)
	return awsddb.New(awsddb.Options{
		Region: "eu-central-1", BaseEndpoint: &local.URL, HTTPClient: local.Client(),
		Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), Retryer: aws.NopRetryer{},
	})
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

type (
	attrs = map[string]types.AttributeValue
	sv    = types.AttributeValueMemberS
	nv    = types.AttributeValueMemberN
)

func str(s string) types.AttributeValue     { return &sv{Value: s} }
func num(s string) types.AttributeValue     { return &nv{Value: s} }
func strs(s ...string) types.AttributeValue { return &types.AttributeValueMemberSS{Value: s} }

// leases creates a lease table as the KCL lays it out, with its 3.x index.
func leases(t *testing.T, c *awsddb.Client) {
	t.Helper()
	ctx := t.Context()
	_, err := c.CreateTable(ctx, &awsddb.CreateTableInput{
		TableName:   aws.String("leases"),
		BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("leaseKey"), AttributeType: types.ScalarAttributeTypeS},
			{AttributeName: aws.String("leaseOwner"), AttributeType: types.ScalarAttributeTypeS},
		},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeHash}},
		GlobalSecondaryIndexes: []types.GlobalSecondaryIndex{{
			IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"),
			KeySchema: []types.KeySchemaElement{
				{AttributeName: aws.String("leaseOwner"), KeyType: types.KeyTypeHash},
				{AttributeName: aws.String("leaseKey"), KeyType: types.KeyTypeRange},
			},
			Projection: &types.Projection{ProjectionType: types.ProjectionTypeKeysOnly},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w := awsddb.NewTableExistsWaiter(c)
	if err := w.Wait(ctx, &awsddb.DescribeTableInput{TableName: aws.String("leases")}, time.Minute); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, c *awsddb.Client, table string, it attrs) {
	t.Helper()
	if _, err := c.PutItem(t.Context(), &awsddb.PutItemInput{TableName: &table, Item: it}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, c *awsddb.Client, table string, key attrs) attrs {
	t.Helper()
	out, err := c.GetItem(t.Context(), &awsddb.GetItemInput{TableName: &table, Key: key, ConsistentRead: aws.Bool(true)})
	if err != nil {
		t.Fatal(err)
	}
	return out.Item
}

func text(v types.AttributeValue) string {
	switch v := v.(type) {
	case *sv:
		return v.Value
	case *nv:
		return v.Value
	}
	return fmt.Sprintf("%v", v)
}

func TestALeaseLives(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	leases(t, c)
	table := aws.String("leases")
	key := attrs{"leaseKey": str("shardId-000000000000")}
	create := func() error {
		_, err := c.PutItem(ctx, &awsddb.PutItemInput{
			TableName: table, ConditionExpression: aws.String("attribute_not_exists(leaseKey)"),
			Item: attrs{"leaseKey": str("shardId-000000000000"), "leaseCounter": num("0"), "checkpoint": str("TRIM_HORIZON"), "parentShardId": strs("p1", "p2")},
		})
		return err
	}
	if err := create(); err != nil {
		t.Fatal(err)
	}
	if code(create()) != "ConditionalCheckFailedException" {
		t.Error("the lease was created twice")
	}
	take := func(counter, owner string) (*awsddb.UpdateItemOutput, error) {
		return c.UpdateItem(ctx, &awsddb.UpdateItemInput{
			TableName: table, Key: key, ConditionExpression: aws.String("leaseCounter = :c"),
			UpdateExpression:          aws.String("SET leaseCounter = leaseCounter + :one, leaseOwner = :me REMOVE checkpointOwner ADD ownerSwitchesSinceCheckpoint :one"),
			ExpressionAttributeValues: attrs{":c": num(counter), ":one": num("1"), ":me": str(owner)},
			ReturnValues:              types.ReturnValueAllNew, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
	}
	out, err := take("0", "w1")
	if err != nil {
		t.Fatal(err)
	}
	if text(out.Attributes["leaseCounter"]) != "1" || text(out.Attributes["leaseOwner"]) != "w1" || text(out.Attributes["ownerSwitchesSinceCheckpoint"]) != "1" {
		t.Errorf("taken: %v", out.Attributes)
	}
	_, err = take("0", "w2")
	var refused *types.ConditionalCheckFailedException
	if !errors.As(err, &refused) || text(refused.Item["leaseOwner"]) != "w1" || refused.ErrorMessage() != "The conditional request failed" {
		t.Errorf("stolen with an old counter: %v", err)
	}
	q, err := c.Query(ctx, &awsddb.QueryInput{
		TableName: table, IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), KeyConditionExpression: aws.String("leaseOwner = :me AND begins_with(leaseKey, :s)"),
		ExpressionAttributeValues: attrs{":me": str("w1"), ":s": str("shardId-")},
	})
	if err != nil || len(q.Items) != 1 || len(q.Items[0]) != 2 {
		t.Errorf("by owner: %+v, %v", q, err)
	}
	if _, err := c.DeleteItem(ctx, &awsddb.DeleteItemInput{TableName: table, Key: key}); err != nil {
		t.Fatal(err)
	}
	if got := get(t, c, "leases", key); got != nil {
		t.Errorf("deleted, and yet %v", got)
	}
}

// The libraries before 3.x still send the parameters that expressions replaced.
func TestALeaseLivesInTheOlderWords(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	leases(t, c)
	table, key := aws.String("leases"), attrs{"leaseKey": str("s")}
	for i, want := range []string{"<nil>", "ConditionalCheckFailedException"} {
		_, err := c.PutItem(ctx, &awsddb.PutItemInput{
			TableName: table, Item: attrs{"leaseKey": str("s"), "leaseCounter": num("0")},
			Expected: map[string]types.ExpectedAttributeValue{"leaseKey": {Exists: aws.Bool(false)}},
		})
		if code(err) != want {
			t.Errorf("put %d: %v, want %s", i, err, want)
		}
	}
	for i, want := range []string{"<nil>", "ConditionalCheckFailedException"} {
		_, err := c.UpdateItem(ctx, &awsddb.UpdateItemInput{
			TableName: table, Key: key,
			Expected: map[string]types.ExpectedAttributeValue{"leaseCounter": {Value: num("0")}, "leaseOwner": {ComparisonOperator: types.ComparisonOperatorNull}},
			AttributeUpdates: map[string]types.AttributeValueUpdate{
				"leaseCounter": {Action: types.AttributeActionPut, Value: num("1")}, "leaseOwner": {Action: types.AttributeActionPut, Value: str("w")},
				"ownerSwitchesSinceCheckpoint": {Action: types.AttributeActionAdd, Value: num("1")}, "pendingCheckpoint": {Action: types.AttributeActionDelete},
			},
		})
		if code(err) != want {
			t.Errorf("update %d: %v, want %s", i, err, want)
		}
	}
	got := get(t, c, "leases", key)
	if text(got["leaseCounter"]) != "1" || text(got["leaseOwner"]) != "w" || text(got["ownerSwitchesSinceCheckpoint"]) != "1" {
		t.Errorf("got %v", got)
	}
}

func TestOneOfManyTakesTheLease(t *testing.T) {
	c := client(t, New(Options{}))
	leases(t, c)
	put(t, c, "leases", attrs{"leaseKey": str("s"), "leaseCounter": num("0")})
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	const workers, rounds = 8, 20
	for range workers {
		wg.Go(func() {
			for round := range rounds {
				_, err := c.UpdateItem(context.WithoutCancel(t.Context()), &awsddb.UpdateItemInput{
					TableName: aws.String("leases"), Key: attrs{"leaseKey": str("s")},
					ConditionExpression: aws.String("leaseCounter = :c"), UpdateExpression: aws.String("SET leaseCounter = :n"),
					ExpressionAttributeValues: attrs{":c": num(fmt.Sprint(round)), ":n": num(fmt.Sprint(round + 1))},
				})
				switch {
				case err == nil:
					won.Add(1)
				case code(err) == "ConditionalCheckFailedException":
					lost.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := text(get(t, c, "leases", attrs{"leaseKey": str("s")})["leaseCounter"])
	if fmt.Sprint(won.Load()) != n || won.Load()+lost.Load() != workers*rounds || won.Load() > rounds {
		t.Errorf("%d updates succeeded and %d failed; the counter is at %s", won.Load(), lost.Load(), n)
	}
}

func TestAddsFromManySumUp(t *testing.T) {
	c := client(t, New(Options{}))
	leases(t, c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				_, err := c.UpdateItem(context.WithoutCancel(t.Context()), &awsddb.UpdateItemInput{
					TableName: aws.String("leases"), Key: attrs{"leaseKey": str("sum")},
					UpdateExpression: aws.String("ADD n :one"), ExpressionAttributeValues: attrs{":one": num("1")},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := text(get(t, c, "leases", attrs{"leaseKey": str("sum")})["n"]); n != "200" {
		t.Errorf("200 additions made %s", n)
	}
}

func TestBatchesAndTransactions(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	leases(t, c)
	var puts []types.WriteRequest
	var keys []attrs
	for i := range 5 {
		key := attrs{"leaseKey": str(fmt.Sprint("k", i))}
		puts = append(puts, types.WriteRequest{PutRequest: &types.PutRequest{Item: attrs{"leaseKey": key["leaseKey"], "n": num("1")}}})
		keys = append(keys, key)
	}
	if _, err := c.BatchWriteItem(ctx, &awsddb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"leases": puts}}); err != nil {
		t.Fatal(err)
	}
	got, err := c.BatchGetItem(ctx, &awsddb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
		"leases": {Keys: append(keys, attrs{"leaseKey": str("none")}), ProjectionExpression: aws.String("n")},
	}})
	if err != nil || len(got.Responses["leases"]) != 5 || len(got.UnprocessedKeys) != 0 {
		t.Errorf("batch get: %+v, %v", got, err)
	}
	_, err = c.BatchWriteItem(ctx, &awsddb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"leases": append(puts, puts[0])}})
	if code(err) != "ValidationException" {
		t.Errorf("a key twice in a batch: %v", err)
	}
	move := func(expected string) error {
		_, err := c.TransactWriteItems(ctx, &awsddb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			{Delete: &types.Delete{TableName: aws.String("leases"), Key: keys[0]}},
			{Update: &types.Update{
				TableName: aws.String("leases"), Key: keys[1], UpdateExpression: aws.String("SET n = n + :e"),
				ConditionExpression: aws.String("n = :e"), ExpressionAttributeValues: attrs{":e": num(expected)},
				ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
			}},
		}})
		return err
	}
	var cancelled *types.TransactionCanceledException
	if err := move("7"); !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 2 ||
		*cancelled.CancellationReasons[1].Code != "ConditionalCheckFailed" || text(cancelled.CancellationReasons[1].Item["n"]) != "1" {
		t.Errorf("cancelled: %v", err)
	}
	if get(t, c, "leases", keys[0]) == nil {
		t.Error("a cancelled transaction deleted an item")
	}
	if err := move("1"); err != nil {
		t.Fatal(err)
	}
	if n := text(get(t, c, "leases", keys[1])["n"]); n != "2" || get(t, c, "leases", keys[0]) != nil {
		t.Errorf("after the transaction n is %s", n)
	}
}

func TestTables(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	leases(t, c)
	d, err := c.DescribeTable(ctx, &awsddb.DescribeTableInput{TableName: aws.String("leases")})
	if err != nil || d.Table.TableStatus != types.TableStatusActive || d.Table.GlobalSecondaryIndexes[0].IndexStatus != types.IndexStatusActive ||
		*d.Table.TableArn != "arn:aws:dynamodb:eu-central-1:000000000000:table/leases" || d.Table.BillingModeSummary.BillingMode != types.BillingModePayPerRequest {
		t.Errorf("described as %+v, %v", d.Table, err)
	}
	if _, err := c.DescribeTable(ctx, &awsddb.DescribeTableInput{TableName: d.Table.TableArn}); err != nil {
		t.Errorf("by its ARN: %v", err)
	}
	_, err = c.UpdateTable(ctx, &awsddb.UpdateTableInput{
		TableName: aws.String("leases"),
		GlobalSecondaryIndexUpdates: []types.GlobalSecondaryIndexUpdate{
			{Delete: &types.DeleteGlobalSecondaryIndexAction{IndexName: aws.String("LeaseOwnerToLeaseKeyIndex")}},
			{Create: &types.CreateGlobalSecondaryIndexAction{
				IndexName: aws.String("owners"), Projection: &types.Projection{ProjectionType: types.ProjectionTypeAll},
				KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("leaseOwner"), KeyType: types.KeyTypeHash}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateTimeToLive(ctx, &awsddb.UpdateTimeToLiveInput{
		TableName: aws.String("leases"), TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("ttl"), Enabled: aws.Bool(true)},
	}); err != nil {
		t.Fatal(err)
	}
	ttl, err := c.DescribeTimeToLive(ctx, &awsddb.DescribeTimeToLiveInput{TableName: aws.String("leases")})
	if err != nil || ttl.TimeToLiveDescription.TimeToLiveStatus != types.TimeToLiveStatusEnabled {
		t.Errorf("time to live: %+v, %v", ttl, err)
	}
	l, err := c.ListTables(ctx, &awsddb.ListTablesInput{})
	if err != nil || !slices.Equal(l.TableNames, []string{"leases"}) {
		t.Errorf("listed: %+v, %v", l, err)
	}
	if _, err := c.DeleteTable(ctx, &awsddb.DeleteTableInput{TableName: aws.String("leases")}); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"describe": second(c.DescribeTable(ctx, &awsddb.DescribeTableInput{TableName: aws.String("leases")})),
		"get":      second(c.GetItem(ctx, &awsddb.GetItemInput{TableName: aws.String("leases"), Key: attrs{"leaseKey": str("x")}})),
		"delete":   second(c.DeleteTable(ctx, &awsddb.DeleteTableInput{TableName: aws.String("leases")})),
	} {
		if code(err) != "ResourceNotFoundException" {
			t.Errorf("%s of a deleted table: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }
