package dynamodb

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsddb "github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func TestScanPages(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	leases(t, c)
	var want []string
	for i := range 60 {
		key := fmt.Sprintf("shardId-%012d", i)
		it := attrs{"leaseKey": str(key), "n": num(fmt.Sprint(i))}
		if i%2 == 0 {
			it["leaseOwner"] = str("w")
		}
		put(t, c, "leases", it)
		want = append(want, key)
	}
	scan := func(in awsddb.ScanInput) (keys []string, pages int) {
		in.TableName = aws.String("leases")
		p := awsddb.NewScanPaginator(c, &in)
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, it := range out.Items {
				keys = append(keys, text(it["leaseKey"]))
			}
		}
		slices.Sort(keys)
		return keys, pages
	}
	if keys, pages := scan(awsddb.ScanInput{Limit: aws.Int32(7)}); !slices.Equal(keys, want) || pages != 9 {
		t.Errorf("%d pages: %v", pages, keys)
	}
	if keys, _ := scan(awsddb.ScanInput{IndexName: aws.String("LeaseOwnerToLeaseKeyIndex"), Limit: aws.Int32(4)}); len(keys) != 30 {
		t.Errorf("the index: %d keys: %v", len(keys), keys)
	}
	filtered, pages := scan(awsddb.ScanInput{
		Limit: aws.Int32(10), FilterExpression: aws.String("n BETWEEN :a AND :b"), ProjectionExpression: aws.String("leaseKey"),
		ExpressionAttributeValues: attrs{":a": num("10"), ":b": num("19.5")},
	})
	if !slices.Equal(filtered, want[10:20]) || pages < 6 {
		t.Errorf("filtered, %d pages: %v", pages, filtered)
	}
	var all []string
	for seg := range int32(4) {
		keys, _ := scan(awsddb.ScanInput{Segment: aws.Int32(seg), TotalSegments: aws.Int32(4), Limit: aws.Int32(5)})
		all = append(all, keys...)
	}
	slices.Sort(all)
	if !slices.Equal(all, want) {
		t.Errorf("4 segments: %v", all)
	}
}

func TestPagesEndAtOneMegabyte(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	leases(t, c)
	for i := range 10 {
		put(t, c, "leases", attrs{"leaseKey": str(fmt.Sprint("k", i)), "pad": str(strings.Repeat("x", 300<<10))})
	}
	out, err := c.Scan(t.Context(), &awsddb.ScanInput{TableName: aws.String("leases"), Select: types.SelectCount})
	if err != nil || out.Count != 4 || out.LastEvaluatedKey == nil || out.Items != nil {
		t.Errorf("the first page has %d items, and the key %v; %v", out.Count, out.LastEvaluatedKey, err)
	}
	_, err = c.PutItem(t.Context(), &awsddb.PutItemInput{TableName: aws.String("leases"), Item: attrs{"leaseKey": str("big"), "pad": str(strings.Repeat("x", 400<<10))}})
	if code(err) != "ValidationException" || !strings.Contains(err.Error(), "Item size has exceeded") {
		t.Errorf("an item over 400 KB: %v", err)
	}
}

func TestQueryBySortKey(t *testing.T) {
	c := client(t, New(Options{Limits: true}))
	ctx := t.Context()
	_, err := c.CreateTable(ctx, &awsddb.CreateTableInput{
		TableName: aws.String("events"), ProvisionedThroughput: &types.ProvisionedThroughput{ReadCapacityUnits: aws.Int64(1), WriteCapacityUnits: aws.Int64(1)},
		AttributeDefinitions: []types.AttributeDefinition{
			{AttributeName: aws.String("store"), AttributeType: types.ScalarAttributeTypeS}, {AttributeName: aws.String("at"), AttributeType: types.ScalarAttributeTypeN},
		},
		KeySchema: []types.KeySchemaElement{{AttributeName: aws.String("store"), KeyType: types.KeyTypeHash}, {AttributeName: aws.String("at"), KeyType: types.KeyTypeRange}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, store := range []string{"a", "b"} {
		for _, at := range []string{"-5", "0", "1.5", "2", "10", "100"} {
			put(t, c, "events", attrs{"store": str(store), "at": num(at), "v": str(store + at)})
		}
	}
	for _, tt := range []struct {
		cond   string
		values attrs
		back   bool
		want   string
	}{
		{"#s = :s", attrs{":s": str("a")}, false, "-5 0 1.5 2 10 100"},
		{"#s = :s AND #t > :t", attrs{":s": str("b"), ":t": num("1.50")}, false, "2 10 100"},
		{"#t BETWEEN :t AND :u and #s = :s", attrs{":s": str("b"), ":t": num("0"), ":u": num("1e1")}, true, "10 2 1.5 0"},
		{"#s = :s AND #t = :t", attrs{":s": str("b"), ":t": num("100")}, false, "100"},
		{"#s = :s", attrs{":s": str("c")}, false, ""},
	} {
		p := awsddb.NewQueryPaginator(c, &awsddb.QueryInput{
			TableName: aws.String("events"), KeyConditionExpression: &tt.cond, ScanIndexForward: aws.Bool(!tt.back), Limit: aws.Int32(2),
			ExpressionAttributeNames: usedNames(tt.cond, map[string]string{"#s": "store", "#t": "at"}), ExpressionAttributeValues: tt.values,
		})
		var got []string
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatalf("%s: %v", tt.cond, err)
			}
			for _, it := range out.Items {
				got = append(got, text(it["at"]))
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.cond, got, tt.want)
		}
	}
}

func usedNames(expr string, all map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range all {
		if strings.Contains(expr, k) {
			out[k] = v
		}
	}
	return out
}
