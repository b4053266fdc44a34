package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// LeaseTable is a lease.Table in DynamoDB, in the layout of KCL 2.x: a table
// that a KCL application left behind can be taken over, and the other way
// round. What it does not know of a row it leaves as it is.
type LeaseTable struct {
	client *dynamodb.Client
	name   string
	log    func(msg string, args ...any)
}

var _ lease.Table = (*LeaseTable)(nil)

// LeaseTable names a lease table. It makes no call; see Ensure.
func (a *Account) LeaseTable(name string) *LeaseTable {
	client := dynamodb.NewFromConfig(a.cfg, func(o *dynamodb.Options) {
		o.Retryer = retry.NewStandard(standard, func(o *retry.StandardOptions) {
			o.MaxBackoff = 500 * time.Millisecond // the lease holder gives a call a few seconds at most
		})
		o.APIOptions = append(o.APIOptions, keepLast)
	})
	return &LeaseTable{client: client, name: name, log: a.log.Warn}
}

// Ensure makes the table if it is not there, and waits until it can be used. It
// waits out what passes by itself: a service that throttles, that fails, or that is
// not reached, as when the network of a machine comes up after the worker.
func (t *LeaseTable) Ensure(ctx context.Context) error {
	const tellEvery = 10 * time.Second
	told := time.Time{}
	for wait := 200 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		usable, err := t.ensured(ctx)
		switch {
		case usable:
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("wait for the lease table %s to become usable: %w", t.name, context.Cause(ctx))
		case err != nil && !Troubled(err) && !Unreached(err) && !errors.Is(err, stream.ErrIncomplete):
			return err
		}
		if err != nil && time.Since(told) >= tellEvery {
			told = time.Now()
			t.log("the lease table cannot be used yet; asking again", "table", t.name, "error", err)
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("wait for the lease table %s to become usable: %w", t.name, err)
		}
	}
}

// ensured makes the table if it is not there, and reports whether it can be used.
func (t *LeaseTable) ensured(ctx context.Context) (bool, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	out, err := t.client.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		if err := t.create(ctx); err != nil {
			return false, t.failed(ctx, "create", err)
		}
		return false, nil
	case err != nil:
		return false, t.failed(ctx, "look at", err)
	case out.Table == nil:
		return false, incomplete("look at the lease table "+t.name, "it does not describe the table")
	case out.Table.TableStatus == types.TableStatusActive || out.Table.TableStatus == types.TableStatusUpdating:
		return true, t.checkKey(out.Table)
	}
	return false, nil
}

// create asks for the table. On-demand billing, as KCL's: the load is a few
// calls a second and grows with the shards.
func (t *LeaseTable) create(ctx context.Context) error {
	_, err := t.client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            &t.name,
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: sdk.String(attrKey), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: sdk.String(attrKey), KeyType: types.KeyTypeHash}},
	})
	var another *types.ResourceInUseException // another worker was faster
	if errors.As(err, &another) {
		return nil
	}
	return err
}

// ErrNotLeases says that a DynamoDB table of this name is there, and is something else.
var ErrNotLeases = errors.New("is not a lease table")

func (t *LeaseTable) checkKey(d *types.TableDescription) error {
	if len(d.KeySchema) == 1 && sdk.ToString(d.KeySchema[0].AttributeName) == attrKey &&
		slices.ContainsFunc(d.AttributeDefinitions, func(a types.AttributeDefinition) bool {
			return sdk.ToString(a.AttributeName) == attrKey && a.AttributeType == types.ScalarAttributeTypeS
		}) {
		return nil
	}
	return fmt.Errorf("the DynamoDB table %s %w: its only key must be the string %s", t.name, ErrNotLeases, attrKey)
}

// List implements lease.Table. The read is consistent: one that lags behind
// would make live owners look dead.
func (t *LeaseTable) List(ctx context.Context) ([]lease.Row, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	var rows []lease.Row
	pages := dynamodb.NewScanPaginator(t.client, &dynamodb.ScanInput{TableName: &t.name, ConsistentRead: sdk.Bool(true)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, t.failed(ctx, "read", err)
		}
		if page.Items == nil { // an empty table has an empty list of them
			return nil, incomplete("read the lease table "+t.name, "it holds no list of rows")
		}
		for _, item := range page.Items {
			if !isLease(item) {
				continue
			}
			r, err := decodeRow(item)
			if err != nil {
				r = lease.Row{Shard: r.Shard, Unreadable: err.Error()}
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}

// Create implements lease.Table.
func (t *LeaseTable) Create(ctx context.Context, r lease.Row) (bool, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := t.client.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &t.name, Item: encodeRow(r),
		ConditionExpression:      sdk.String("attribute_not_exists(#k)"),
		ExpressionAttributeNames: map[string]string{"#k": attrKey},
	})
	var exists *types.ConditionalCheckFailedException
	if errors.As(err, &exists) {
		return false, nil
	}
	if err != nil {
		return false, t.failed(ctx, "create the lease of "+r.Shard+" in", err)
	}
	return true, nil
}

// Update implements lease.Table.
func (t *LeaseTable) Update(ctx context.Context, seen, want lease.Row) (lease.Row, error) {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	e := newExpression()
	condition := "attribute_exists(" + e.name(attrKey) + ") AND " + e.unchanged(seen)
	out, err := t.client.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &t.name, Key: key(seen.Shard),
		UpdateExpression:                    sdk.String(e.update(seen, want)),
		ConditionExpression:                 &condition,
		ExpressionAttributeNames:            e.names,
		ExpressionAttributeValues:           e.values,
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err != nil {
		return lease.Row{}, t.refused(ctx, "write the lease of "+seen.Shard+" in", seen, err)
	}
	if len(out.Attributes) == 0 {
		return lease.Row{}, incomplete("write the lease of "+seen.Shard+" in the lease table "+t.name, "it does not hold the row as written")
	}
	return decodeRow(out.Attributes)
}

// Delete implements lease.Table.
func (t *LeaseTable) Delete(ctx context.Context, seen lease.Row) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	e := newExpression()
	condition := "attribute_not_exists(" + e.name(attrKey) + ") OR (" + e.unchanged(seen) + ")"
	_, err := t.client.DeleteItem(ctx, &dynamodb.DeleteItemInput{
		TableName: &t.name, Key: key(seen.Shard),
		ConditionExpression:                 &condition,
		ExpressionAttributeNames:            e.names,
		ExpressionAttributeValues:           e.values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if err != nil {
		return t.refused(ctx, "remove the lease of "+seen.Shard+" from", seen, err)
	}
	return nil
}

// refused is the error of a conditional write: a *lease.ConflictError with the
// row as it is, where the condition did not hold.
func (t *LeaseTable) refused(ctx context.Context, doing string, seen lease.Row, err error) error {
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) {
		return t.failed(ctx, doing, err)
	}
	item := failed.Item
	if len(item) == 0 {
		// The row is gone, or this DynamoDB (an older emulator) does not return it.
		out, err := t.client.GetItem(ctx, &dynamodb.GetItemInput{TableName: &t.name, Key: key(seen.Shard), ConsistentRead: sdk.Bool(true)})
		if err != nil {
			return t.failed(ctx, "read the lease of "+seen.Shard+" from", err)
		}
		item = out.Item
	}
	c := &lease.ConflictError{Shard: seen.Shard, Found: len(item) > 0}
	if c.Found {
		if c.Now, err = decodeRow(item); err != nil {
			return fmt.Errorf("%s the lease table %s: %w", doing, t.name, err)
		}
	}
	return c
}

// failed turns an error of the SDK into one of ours.
func (t *LeaseTable) failed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing+" the lease table "+t.name, err, leaseVerdict)
}

// leaseVerdict says which error a refused call of DynamoDB is, or nil. A lost
// condition is none: it is an answer.
func leaseVerdict(r Refusal) error {
	switch {
	case throttled(r.Code):
		return stream.ErrThrottled
	case denied(r.Code):
		return stream.ErrDenied
	case r.Code == "ResourceNotFoundException":
		return stream.ErrGone
	}
	return nil
}
