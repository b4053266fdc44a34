package kinesis_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/fxamacker/cbor/v2"

	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
)

func entries(n, size int) []types.PutRecordsRequestEntry {
	out := make([]types.PutRecordsRequestEntry, n)
	for i := range out {
		out[i] = types.PutRecordsRequestEntry{Data: bytes.Repeat([]byte("x"), size), PartitionKey: aws.String("k")}
	}
	return out
}

func TestExplicitHashKeyRoutes(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 3)
	for i, s := range c.shards("s") {
		for _, key := range []*string{s.HashKeyRange.StartingHashKey, s.HashKeyRange.EndingHashKey} {
			out, err := c.PutRecord(t.Context(), &sdk.PutRecordInput{
				StreamName: aws.String("s"), PartitionKey: aws.String("any"), Data: []byte("x"), ExplicitHashKey: key,
			})
			if err != nil {
				t.Fatal(err)
			}
			if *out.ShardId != *s.ShardId {
				t.Errorf("hash key %s went to %s instead of shard %d", *key, *out.ShardId, i)
			}
		}
	}
}

func TestSequenceNumbersGrowInAShard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 2)
		last := map[string]*big.Int{}
		for range 30 {
			out, err := c.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: []types.PutRecordsRequestEntry{
				{Data: []byte("a"), PartitionKey: aws.String("1")},
				{Data: []byte("b"), PartitionKey: aws.String("6")},
				{Data: []byte("c"), PartitionKey: aws.String("1")},
			}})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range out.Records {
				n, ok := new(big.Int).SetString(*r.SequenceNumber, 10)
				if !ok {
					t.Fatalf("%q is no number", *r.SequenceNumber)
				}
				if before := last[*r.ShardId]; before != nil && n.Cmp(before) <= 0 {
					t.Fatalf("%s in %s is not greater than %s", n, *r.ShardId, before)
				}
				last[*r.ShardId] = n
			}
		}
		if len(last) != 2 {
			t.Fatalf("the keys 1 and 6 went to %d shards, want 2", len(last))
		}
	})
}

func TestRefusedPuts(t *testing.T) {
	c := open(t, kinesis.Options{Limits: true})
	c.create("s", 1)
	s := aws.String("s")
	one := func(edit func(*sdk.PutRecordInput)) func() error {
		return func() error {
			in := &sdk.PutRecordInput{StreamName: s, PartitionKey: aws.String("k"), Data: []byte("x")}
			edit(in)
			_, err := c.PutRecord(t.Context(), in)
			return err
		}
	}
	many := func(records []types.PutRecordsRequestEntry) func() error {
		return func() error {
			_, err := c.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: s, Records: records})
			return err
		}
	}
	noKey := entries(3, 1)
	noKey[1].PartitionKey = aws.String("")
	for _, test := range []struct {
		name       string
		do         func() error
		code, text string
	}{
		{"no stream", one(func(in *sdk.PutRecordInput) { in.StreamName = aws.String("nope") }), "ResourceNotFoundException", "Stream nope under account 000000000000 not found."},
		{"no name at all", one(func(in *sdk.PutRecordInput) { in.StreamName = nil }), "InvalidArgumentException", "StreamName or StreamARN"},
		{"bad name", one(func(in *sdk.PutRecordInput) { in.StreamName = aws.String("a/b") }), "ValidationException", "streamName"},
		{"empty key", one(func(in *sdk.PutRecordInput) { in.PartitionKey = aws.String("") }), "ValidationException", "partitionKey"},
		{"long key", one(func(in *sdk.PutRecordInput) { in.PartitionKey = aws.String(strings.Repeat("é", 257)) }), "ValidationException", "256"},
		{"large record", one(func(in *sdk.PutRecordInput) { in.Data = make([]byte, 1<<20) }), "InvalidArgumentException", "1048576"},
		{"hash key too large", one(func(in *sdk.PutRecordInput) {
			in.ExplicitHashKey = aws.String("340282366920938463463374607431768211456")
		}), "InvalidArgumentException", "[0, 2^128-1]"},
		{"hash key no number", one(func(in *sdk.PutRecordInput) { in.ExplicitHashKey = aws.String("0x1") }), "ValidationException", "explicitHashKey"},
		{"order after no number", one(func(in *sdk.PutRecordInput) {
			in.SequenceNumberForOrdering = aws.String("abc")
		}), "InvalidArgumentException", "SequenceNumberForOrdering abc"},
		{"order after another stream's record", one(func(in *sdk.PutRecordInput) {
			in.SequenceNumberForOrdering = aws.String("49" + strings.Repeat("0", 54))
		}), "InvalidArgumentException", "SequenceNumberForOrdering"},
		{"501 records", many(entries(501, 1)), "ValidationException", "500"},
		{"no records", many([]types.PutRecordsRequestEntry{}), "ValidationException", "records"},
		{"one without a key", many(noKey), "ValidationException", "records.2.member.partitionKey"},
	} {
		t.Run(test.name, func(t *testing.T) { wantError(t, test.do(), test.code, test.text) })
	}
	if data, _ := c.drain("s", shard0); len(data) > 0 {
		t.Errorf("refused calls stored %d records", len(data))
	}
	first := c.put("s", "k", "1")
	if err := one(func(in *sdk.PutRecordInput) { in.SequenceNumberForOrdering = first.SequenceNumber })(); err != nil {
		t.Errorf("in order after a record of the stream: %v", err)
	}
	if err := one(func(in *sdk.PutRecordInput) { in.PartitionKey = aws.String(strings.Repeat("é", 256)) })(); err != nil {
		t.Errorf("a key of 256 characters: %v", err)
	}
}

func TestWriteLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{Limits: true})
		c.create("s", 1)
		refused := func(records []types.PutRecordsRequestEntry) int32 {
			t.Helper()
			out, err := c.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: records})
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range out.Records {
				if (r.ErrorCode == nil) == (r.SequenceNumber == nil) {
					t.Fatalf("record %d has both or neither of an error and a number", i)
				}
				if r.ErrorCode != nil && (*r.ErrorCode != "ProvisionedThroughputExceededException" || !strings.Contains(*r.ErrorMessage, "Rate exceeded for shard shardId-000000000000 in stream s")) {
					t.Fatalf("record %d: %s: %s", i, *r.ErrorCode, *r.ErrorMessage)
				}
			}
			return *out.FailedRecordCount
		}
		for i, want := range []int32{0, 0, 10} { // 1,000 records a second
			if got := refused(entries([]int{500, 500, 10}[i], 10)); got != want {
				t.Errorf("call %d: %d records were refused, want %d", i, got, want)
			}
		}
		_, err := c.PutRecord(t.Context(), &sdk.PutRecordInput{StreamName: aws.String("s"), PartitionKey: aws.String("k"), Data: []byte("x")})
		wantError(t, err, "ProvisionedThroughputExceededException", "Rate exceeded for shard")
		time.Sleep(time.Second)
		if got := refused(entries(5, 256<<10-1)); got != 1 { // 1 MiB a second, keys included
			t.Errorf("of five records of 256 KiB %d were refused, want 1", got)
		}
		time.Sleep(time.Second)
		if got := refused(entries(1, 1<<20-1)); got != 0 {
			t.Error("a record of 1 MiB was refused after a second of rest")
		}
		if data, _ := c.drain("s", shard0); len(data) != 1000+4+1 {
			t.Errorf("%d records are stored, want the 1,005 that were taken", len(data))
		}
	})
}

func TestReadLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{Limits: true})
		c.create("s", 2)
		its := make([]string, 2)
		for i, s := range c.shards("s") {
			var err error
			if its[i], err = c.iterator("s", *s.ShardId, types.ShardIteratorTypeTrimHorizon, nil); err != nil {
				t.Fatal(err)
			}
		}
		for call := range 5 {
			if _, err := c.get(its[0], 1); err != nil {
				t.Fatalf("read %d of the second: %v", call+1, err)
			}
		}
		_, err := c.get(its[0], 1)
		wantError(t, err, "ProvisionedThroughputExceededException", "shardId-000000000000")
		if _, err := c.get(its[1], 1); err != nil {
			t.Errorf("the other shard is throttled too: %v", err)
		}
		time.Sleep(time.Second)
		if _, err := c.get(its[0], 1); err != nil {
			t.Errorf("a second later: %v", err)
		}
		// The same for all: how often an operation may be called.
		for range 20 {
			if _, err = c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: aws.String("s")}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: aws.String("s")})
		wantError(t, err, "LimitExceededException", "20 times a second")
	})
}

// A page of 10 MiB keeps the shard from being read for 5 s, whatever was read
// just before it.
func TestLargePageIsPaidFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{Limits: true})
		c.create("s", 1)
		for range 11 {
			c.put("s", "k", strings.Repeat("x", 1<<20-1))
			time.Sleep(time.Second)
		}
		it, err := c.iterator("s", shard0, types.ShardIteratorTypeLatest, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.get(it, 1); err != nil { // opens the second
			t.Fatal(err)
		}
		time.Sleep(900 * time.Millisecond)
		if it, err = c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil); err != nil {
			t.Fatal(err)
		}
		page, err := c.get(it, 10_000)
		if err != nil || len(page.Records) != 10 {
			t.Fatalf("%d records, %v", len(page.Records), err)
		}
		time.Sleep(4900 * time.Millisecond)
		_, err = c.get(*page.NextShardIterator, 1)
		wantError(t, err, "ProvisionedThroughputExceededException")
		time.Sleep(100 * time.Millisecond)
		if _, err := c.get(*page.NextShardIterator, 1); err != nil {
			t.Error(err)
		}
	})
}

// TestCBOR speaks the form that the SDK for Java does.
// inCBOR makes one call as SDKs do that speak CBOR.
func inCBOR(t *testing.T, client *http.Client, operation string, in map[string]any) (status int, out map[string]any) {
	t.Helper()
	body, err := cbor.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://kinesis.localhost/", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-cbor-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202."+operation)
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "application/x-amz-cbor-1.1" {
		t.Errorf("%s answers in %s", operation, kind)
	}
	reply, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	// Times are tagged, and in milliseconds where the tag means seconds.
	mode, err := cbor.DecOptions{DefaultMapType: nil, TimeTagToAny: cbor.TimeTagToTime}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	if len(reply) > 0 {
		if err := mode.Unmarshal(reply, &out); err != nil {
			t.Fatal(err)
		}
	}
	return response.StatusCode, out
}

func TestCBOR(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 1)
	call := func(operation string, in map[string]any) (int, map[string]any) {
		t.Helper()
		return inCBOR(t, c.http, operation, in)
	}
	before := time.Now().UnixMilli()
	if status, out := call("PutRecords", map[string]any{"StreamName": "s", "Records": []any{
		map[string]any{"Data": []byte{0, 0xff}, "PartitionKey": "k"},
	}}); status != http.StatusOK || out["FailedRecordCount"] != uint64(0) {
		t.Fatalf("PutRecords: %d %v", status, out)
	}
	status, out := call("GetShardIterator", map[string]any{
		"StreamName": "s", "ShardId": shard0, "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": cbor.Tag{Number: 1, Content: before},
	})
	if status != http.StatusOK {
		t.Fatalf("GetShardIterator: %d %v", status, out)
	}
	status, out = call("GetRecords", map[string]any{"ShardIterator": out["ShardIterator"]})
	if records, _ := out["Records"].([]any); status != http.StatusOK || len(records) != 1 {
		t.Fatalf("GetRecords: %d %v", status, out)
	}
	record := out["Records"].([]any)[0].(map[any]any)
	if data, _ := record["Data"].([]byte); !bytes.Equal(data, []byte{0, 0xff}) {
		t.Errorf("the data came back as %v", record["Data"])
	}
	if at, _ := record["ApproximateArrivalTimestamp"].(time.Time); at.Unix() < before || at.Unix() > time.Now().UnixMilli() {
		t.Errorf("the arrival is %v, want unix milliseconds of now", record["ApproximateArrivalTimestamp"])
	}
	if status, out = call("SplitShard", map[string]any{
		"StreamName": "s", "ShardToSplit": shard0, "NewStartingHashKey": "1000",
	}); status != http.StatusOK {
		t.Fatalf("SplitShard: %d %v", status, out)
	}
	_, out = call("GetShardIterator", map[string]any{"StreamName": "s", "ShardId": shard0, "ShardIteratorType": "TRIM_HORIZON"})
	_, out = call("GetRecords", map[string]any{"ShardIterator": out["ShardIterator"]})
	children, _ := out["ChildShards"].([]any)
	if len(children) != 2 || out["NextShardIterator"] != nil || len(out["Records"].([]any)) != 1 {
		t.Fatalf("the last page of a shard: %v", out)
	}
	if child := children[0].(map[any]any); fmt.Sprint(child["ParentShards"]) != "["+shard0+"]" || child["HashKeyRange"].(map[any]any)["EndingHashKey"] != "999" {
		t.Errorf("the first child is %v", child)
	}
	if status, out = call("DescribeStream", map[string]any{"StreamName": "nope"}); status != http.StatusBadRequest || out["__type"] != "ResourceNotFoundException" {
		t.Errorf("a missing stream: %d %v", status, out)
	}
	if status, out = call("DescribeStream", map[string]any{"StreamName": map[int]int{1: 2}}); status != http.StatusBadRequest || out["__type"] != "SerializationException" {
		t.Errorf("a map for a name: %d %v", status, out)
	}
}

func TestUnknownOperation(t *testing.T) {
	c := open(t, kinesis.Options{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://kinesis.localhost/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.Frobnicate")
	response, err := c.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var out struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusBadRequest || out.Type != "UnknownOperationException" || !strings.Contains(out.Message, "Frobnicate") {
		t.Errorf("%d %+v", response.StatusCode, out)
	}
}

// What is wrong with a body is said in the words of the API.
func TestMalformedBodies(t *testing.T) {
	c := open(t, kinesis.Options{})
	for _, test := range []struct{ operation, body, text string }{
		{"DescribeStream", `{`, "unexpected end"},
		{"DescribeStream", `[]`, "must be an object, and it is a JSON array"},
		{"DescribeStream", `{"StreamName":5}`, "StreamName cannot be a JSON number"},
		{"PutRecords", `{"StreamName":"s","Records":{}}`, "Records cannot be a JSON object"},
		{"PutRecord", `{"StreamName":"s","PartitionKey":"k","Data":"!!"}`, "Data is not base64"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://kinesis.localhost/", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		r.Header.Set("X-Amz-Target", "Kinesis_20131202."+test.operation)
		response, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]string
		err = json.NewDecoder(response.Body).Decode(&out)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusBadRequest || out["__type"] != "SerializationException" ||
			!strings.Contains(out["message"], test.text) || strings.Contains(out["message"], "struct") {
			t.Errorf("%s %s: %d %v %v", test.operation, test.body, response.StatusCode, out, err)
		}
	}
}
