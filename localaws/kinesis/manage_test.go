package kinesis_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
)

func ids(shards []types.Shard) []string {
	var out []string
	for _, s := range shards {
		out = append(out, (*s.ShardId)[len(*s.ShardId)-2:])
	}
	return out
}

const middleOfFirstHalf = "85070591730234615865843651857942052864" // 2^126

// TestReshardedStream follows a split and a merge with all that lists show of
// them, until the parents expire.
func TestReshardedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 2)
		created := time.Now()
		s := aws.String("s")
		time.Sleep(time.Hour)
		if _, err := c.SplitShard(t.Context(), &sdk.SplitShardInput{StreamName: s, ShardToSplit: aws.String(shard0), NewStartingHashKey: aws.String(middleOfFirstHalf)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, err := c.MergeShards(t.Context(), &sdk.MergeShardsInput{StreamName: s, ShardToMerge: aws.String("shardId-000000000003"), AdjacentShardToMerge: aws.String("shardId-000000000001")}); err != nil {
			t.Fatal(err)
		}
		c.put("s", "k", "x")
		list := func(f types.ShardFilter) []string {
			t.Helper()
			out, err := c.ListShards(t.Context(), &sdk.ListShardsInput{StreamName: s, ShardFilter: &f})
			if err != nil {
				t.Fatal(err)
			}
			return ids(out.Shards)
		}
		when := func(d time.Duration) *time.Time { at := created.Add(d); return &at }
		for _, test := range []struct {
			filter types.ShardFilter
			want   []string
		}{
			{types.ShardFilter{Type: types.ShardFilterTypeFromTrimHorizon}, []string{"00", "01", "02", "03", "04"}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTrimHorizon}, []string{"00", "01"}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtLatest}, []string{"02", "04"}},
			{types.ShardFilter{Type: types.ShardFilterTypeAfterShardId, ShardId: aws.String("shardId-000000000002")}, []string{"03", "04"}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: when(90 * time.Minute)}, []string{"01", "02", "03"}},
			{types.ShardFilter{Type: types.ShardFilterTypeFromTimestamp, Timestamp: when(90 * time.Minute)}, []string{"01", "02", "03", "04"}},
			{types.ShardFilter{Type: types.ShardFilterTypeAtTimestamp, Timestamp: when(-time.Hour)}, []string{"00", "01"}},
		} {
			if got := list(test.filter); !slices.Equal(got, test.want) {
				t.Errorf("%s lists %q, want %q", test.filter.Type, got, test.want)
			}
		}
		checkEnds(t, c)
		// Parents are listed until their last possible record is past the
		// retention, and then are gone.
		time.Sleep(24*time.Hour - 30*time.Minute)
		if got := ids(c.shards("s")); !slices.Equal(got, []string{"01", "02", "03", "04"}) {
			t.Errorf("after the first parent's retention %q are listed", got)
		}
		_, err := c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil)
		wantError(t, err, "ResourceNotFoundException", shard0)
	})
}

// checkEnds reads each shard of TestReshardedStream to its end.
func checkEnds(t *testing.T, c *client) {
	t.Helper()
	shards := c.shards("s")
	for i, want := range [][]string{{"02", "03"}, {"04"}, nil, {"04"}, nil} {
		_, last := c.drain("s", *shards[i].ShardId)
		var children []string
		for _, child := range last.ChildShards {
			children = append(children, (*child.ShardId)[len(*child.ShardId)-2:])
			if !slices.Contains(child.ParentShards, *shards[i].ShardId) || child.HashKeyRange == nil {
				t.Errorf("the child %s does not name its parent %s", *child.ShardId, *shards[i].ShardId)
			}
		}
		if !slices.Equal(children, want) || (last.NextShardIterator == nil) != (want != nil) {
			t.Errorf("shard %d ends with the children %q, want %q", i, children, want)
		}
		if closed := shards[i].SequenceNumberRange.EndingSequenceNumber != nil; closed != (want != nil) {
			t.Errorf("shard %d: an ending sequence number: %v", i, closed)
		}
	}
	merged := shards[4]
	if aws.ToString(merged.ParentShardId) != "shardId-000000000003" || aws.ToString(merged.AdjacentParentShardId) != "shardId-000000000001" {
		t.Errorf("the merged shard's parents are %v and %v", merged.ParentShardId, merged.AdjacentParentShardId)
	}
}

func TestRefusedResharding(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 3)
	s := aws.String("s")
	split := func(shard, at string) error {
		_, err := c.SplitShard(t.Context(), &sdk.SplitShardInput{StreamName: s, ShardToSplit: &shard, NewStartingHashKey: &at})
		return err
	}
	merge := func(a, b string) error {
		_, err := c.MergeShards(t.Context(), &sdk.MergeShardsInput{StreamName: s, ShardToMerge: &a, AdjacentShardToMerge: &b})
		return err
	}
	resize := func(n int32) error {
		_, err := c.UpdateShardCount(t.Context(), &sdk.UpdateShardCountInput{StreamName: s, TargetShardCount: &n, ScalingType: types.ScalingTypeUniformScaling})
		return err
	}
	wantError(t, split(shard0, "1"), "InvalidArgumentException", "not both greater than one plus")
	wantError(t, split(shard0, "340282366920938463463374607431768211455"), "InvalidArgumentException", "less than the shard's EndingHashKey")
	wantError(t, split("shardId-000000000007", "9"), "ResourceNotFoundException", "shardId-000000000007")
	wantError(t, merge(shard0, "shardId-000000000002"), "InvalidArgumentException", "not an adjacent pair")
	wantError(t, merge(shard0, shard0), "InvalidArgumentException", "not an adjacent pair")
	wantError(t, resize(7), "InvalidArgumentException", "double")
	wantError(t, resize(1), "InvalidArgumentException", "halve")
	if err := merge(shard0, "shardId-000000000001"); err != nil {
		t.Fatal(err)
	}
	wantError(t, split(shard0, middleOfFirstHalf), "InvalidArgumentException", "already been merged or split")
	if err := resize(4); err != nil {
		t.Fatal(err)
	}
	if sum, err := c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: s}); err != nil || *sum.StreamDescriptionSummary.OpenShardCount != 4 {
		t.Errorf("after a resize to 4: %v %v", sum, err)
	}
}

func TestPagesOfShards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 7)
		in := &sdk.ListShardsInput{StreamName: aws.String("s"), MaxResults: aws.Int32(3)}
		var got []string
		var token *string
		for {
			out, err := c.ListShards(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(out.Shards)...)
			if out.NextToken == nil {
				break
			}
			token = out.NextToken
			in = &sdk.ListShardsInput{NextToken: token, MaxResults: aws.Int32(3)}
		}
		if want := []string{"00", "01", "02", "03", "04", "05", "06"}; !slices.Equal(got, want) {
			t.Errorf("pages of 3 list %q", got)
		}
		_, err := c.ListShards(t.Context(), &sdk.ListShardsInput{NextToken: token, StreamName: aws.String("s")})
		wantError(t, err, "InvalidArgumentException", "NextToken")
		arn := aws.String("arn:aws:kinesis:us-east-1:000000000000:stream/s")
		_, err = c.ListShards(t.Context(), &sdk.ListShardsInput{NextToken: token, StreamARN: arn})
		wantError(t, err, "InvalidArgumentException", "NextToken and StreamARN cannot be provided together.")
		time.Sleep(301 * time.Second)
		_, err = c.ListShards(t.Context(), &sdk.ListShardsInput{NextToken: token})
		wantError(t, err, "ExpiredNextTokenException")

		out, err := c.DescribeStream(t.Context(), &sdk.DescribeStreamInput{StreamName: aws.String("s"), Limit: aws.Int32(2), ExclusiveStartShardId: aws.String("shardId-000000000004")})
		if err != nil {
			t.Fatal(err)
		}
		if d := out.StreamDescription; !slices.Equal(ids(d.Shards), []string{"05", "06"}) || *d.HasMoreShards || d.StreamStatus != types.StreamStatusActive {
			t.Errorf("DescribeStream shows %q, more %v, %s", ids(d.Shards), *d.HasMoreShards, d.StreamStatus)
		}
	})
}

// Who looks for other consumers gets an answer, though nobody can be one here.
func TestConsumersAreListed(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 1)
	d, err := c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	arn := d.StreamDescriptionSummary.StreamARN
	out, err := c.ListStreamConsumers(t.Context(), &sdk.ListStreamConsumersInput{StreamARN: arn})
	if err != nil || out.Consumers == nil || len(out.Consumers) != 0 || out.NextToken != nil {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err = c.ListStreamConsumers(t.Context(), &sdk.ListStreamConsumersInput{StreamARN: aws.String(*arn + "-of-nobody")})
	wantError(t, err, "ResourceNotFoundException", "s-of-nobody")
	_, err = c.ListStreamConsumers(t.Context(), &sdk.ListStreamConsumersInput{StreamARN: arn, MaxResults: aws.Int32(0)})
	wantError(t, err, "ValidationException", "maxResults")
	_, err = c.ListStreamConsumers(t.Context(), &sdk.ListStreamConsumersInput{StreamARN: arn, NextToken: aws.String("x")})
	wantError(t, err, "InvalidArgumentException", "NextToken")
}

func TestStreams(t *testing.T) {
	c := open(t, kinesis.Options{})
	for i := range 5 {
		c.create(fmt.Sprintf("stream-%d", i), 1)
	}
	_, err := c.CreateStream(t.Context(), &sdk.CreateStreamInput{StreamName: aws.String("stream-1"), ShardCount: aws.Int32(1)})
	wantError(t, err, "ResourceInUseException", "already exists")
	_, err = c.CreateStream(t.Context(), &sdk.CreateStreamInput{StreamName: aws.String("huge"), ShardCount: aws.Int32(30_000)})
	wantError(t, err, "LimitExceededException", "30000")

	var names []string
	in := &sdk.ListStreamsInput{Limit: aws.Int32(2)}
	for {
		out, err := c.ListStreams(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, out.StreamNames...)
		if !*out.HasMoreStreams {
			break
		}
		in.NextToken = out.NextToken
	}
	if !slices.Equal(names, numbered("stream", 5)) {
		t.Errorf("pages of 2 list %q", names)
	}
	// Everything takes the ARN in place of the name.
	d, err := c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: aws.String("stream-1")})
	if err != nil {
		t.Fatal(err)
	}
	arn := d.StreamDescriptionSummary.StreamARN
	if _, err := c.PutRecord(t.Context(), &sdk.PutRecordInput{StreamARN: arn, PartitionKey: aws.String("k"), Data: []byte("by ARN")}); err != nil {
		t.Fatal(err)
	}
	if data, _ := c.drain("stream-1", shard0); !slices.Equal(data, []string{"by ARN"}) {
		t.Errorf("the stream holds %q", data)
	}
	it, err := c.iterator("stream-1", shard0, types.ShardIteratorTypeLatest, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteStream(t.Context(), &sdk.DeleteStreamInput{StreamARN: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.get(it, 1)
	wantError(t, err, "ResourceNotFoundException", "Stream stream-1 under account 000000000000 not found.")
}

func TestTags(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 1)
	s := aws.String("s")
	if _, err := c.AddTagsToStream(t.Context(), &sdk.AddTagsToStreamInput{StreamName: s, Tags: map[string]string{"a": "1", "b": "2", "c": "3"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RemoveTagsFromStream(t.Context(), &sdk.RemoveTagsFromStreamInput{StreamName: s, TagKeys: []string{"b"}}); err != nil {
		t.Fatal(err)
	}
	out, err := c.ListTagsForStream(t.Context(), &sdk.ListTagsForStreamInput{StreamName: s})
	if err != nil || len(out.Tags) != 2 || *out.Tags[1].Value != "3" {
		t.Errorf("tags %v, %v", out, err)
	}
}

// TestDataOutlivesTheProcess opens the data again, with a torn tail in it.
func TestDataOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	c := open(t, kinesis.Options{DataDir: dir})
	c.create("s", 1)
	c.create("gone", 1)
	if _, err := c.DeleteStream(t.Context(), &sdk.DeleteStreamInput{StreamName: aws.String("gone")}); err != nil {
		t.Fatal(err)
	}
	for _, data := range numbered("r", 3) {
		c.put("s", "k", data)
	}
	it, err := c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.SplitShard(t.Context(), &sdk.SplitShardInput{StreamName: aws.String("s"), ShardToSplit: aws.String(shard0), NewStartingHashKey: aws.String(middleOfFirstHalf)}); err != nil {
		t.Fatal(err)
	}
	last := c.put("s", "k", "in a child")
	before := c.shards("s")
	c.stop()

	logs, err := filepath.Glob(filepath.Join(dir, "kinesis", "s@*", *last.ShardId+".log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("the child's log: %v %v", logs, err)
	}
	whole, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(logs[0], append(whole, whole[:len(whole)-3]...), 0o644); err != nil { // a second frame, torn
		t.Fatal(err)
	}

	c = open(t, kinesis.Options{DataDir: dir})
	if got := c.shards("s"); fmt.Sprint(ids(got)) != fmt.Sprint(ids(before)) || *got[0].SequenceNumberRange.EndingSequenceNumber != *before[0].SequenceNumberRange.EndingSequenceNumber {
		t.Errorf("after a restart the shards are %q", ids(got))
	}
	if out, err := c.get(it, 10); err != nil || len(out.Records) != 3 || len(out.ChildShards) != 2 {
		t.Errorf("an iterator from before the restart: %v %v", out, err)
	}
	c.put("s", "k", "after the restart")
	if data, _ := c.drain("s", *last.ShardId); !slices.Equal(data, []string{"in a child", "after the restart"}) {
		t.Errorf("the child holds %q", data)
	}
	_, err = c.DescribeStreamSummary(t.Context(), &sdk.DescribeStreamSummaryInput{StreamName: aws.String("gone")})
	wantError(t, err, "ResourceNotFoundException")
}

// TestLogsAreShortened puts more than a log keeps past its retention, and
// opens it twice: written anew, it must still say where the shard goes on.
func TestLogsAreShortened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c := open(t, kinesis.Options{DataDir: dir})
		c.create("s", 1)
		for range 40 {
			_, err := c.PutRecords(t.Context(), &sdk.PutRecordsInput{StreamName: aws.String("s"), Records: entries(1, 512<<10)})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(25 * time.Hour)
		young := c.put("s", "k", "young")
		for range 2 {
			c.stop()
			c = open(t, kinesis.Options{DataDir: dir})
			if data, _ := c.drain("s", shard0); !slices.Equal(data, []string{"young"}) {
				t.Fatalf("the shard holds %q", data)
			}
		}
		if next := c.put("s", "k", "next"); *next.SequenceNumber <= *young.SequenceNumber {
			t.Errorf("the sequence went back from %s to %s", *young.SequenceNumber, *next.SequenceNumber)
		}
		logs, err := filepath.Glob(filepath.Join(dir, "kinesis", "s@*", "*.log"))
		if err != nil || len(logs) != 1 {
			t.Fatal(logs, err)
		}
		if info, err := os.Stat(logs[0]); err != nil || info.Size() > 1<<10 {
			t.Errorf("the log has %d bytes: %v", info.Size(), err)
		}
	})
}
