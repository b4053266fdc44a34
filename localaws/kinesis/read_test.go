package kinesis_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
)

const shard0 = "shardId-000000000000"

func TestIteratorTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 1)
		var arrived []time.Time
		var sequence []string
		for _, data := range numbered("r", 5) {
			time.Sleep(time.Second) // of the bubble's clock: arrivals a second apart
			arrived = append(arrived, time.Now())
			sequence = append(sequence, *c.put("s", "k", data).SequenceNumber)
		}
		shard := c.shards("s")[0]
		for _, test := range []struct {
			name string
			kind types.ShardIteratorType
			edit func(*sdk.GetShardIteratorInput)
			want []string
		}{
			{"trim horizon", types.ShardIteratorTypeTrimHorizon, nil, numbered("r", 5)},
			{"latest", types.ShardIteratorTypeLatest, nil, nil},
			{"at", types.ShardIteratorTypeAtSequenceNumber, from(sequence[2]), numbered("r", 5)[2:]},
			{"after", types.ShardIteratorTypeAfterSequenceNumber, from(sequence[2]), numbered("r", 5)[3:]},
			{"after the last", types.ShardIteratorTypeAfterSequenceNumber, from(sequence[4]), nil},
			{"at the shard's start", types.ShardIteratorTypeAtSequenceNumber, from(*shard.SequenceNumberRange.StartingSequenceNumber), numbered("r", 5)},
			{"after the shard's start", types.ShardIteratorTypeAfterSequenceNumber, from(*shard.SequenceNumberRange.StartingSequenceNumber), numbered("r", 5)},
			{"at a record's time", types.ShardIteratorTypeAtTimestamp, at(arrived[3]), numbered("r", 5)[3:]},
			{"between two records", types.ShardIteratorTypeAtTimestamp, at(arrived[1].Add(time.Millisecond)), numbered("r", 5)[2:]},
			{"before the stream", types.ShardIteratorTypeAtTimestamp, at(arrived[0].Add(-time.Hour)), numbered("r", 5)},
			{"now", types.ShardIteratorTypeAtTimestamp, at(arrived[4].Add(time.Millisecond)), nil},
		} {
			time.Sleep(time.Second)
			it, err := c.iterator("s", shard0, test.kind, test.edit)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			if len(it) > 512 {
				t.Errorf("%s: the iterator has %d characters, and AWS's have up to 512", test.name, len(it))
			}
			got, err := c.get(it, 100)
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			var data []string
			for _, r := range got.Records {
				data = append(data, string(r.Data))
			}
			if !slices.Equal(data, test.want) {
				t.Errorf("%s: got %q, want %q", test.name, data, test.want)
			}
			if got.NextShardIterator == nil || len(got.ChildShards) > 0 {
				t.Errorf("%s: an open shard ended", test.name)
			}
		}
	})
}

func TestLatestSeesWhatComesLater(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 1)
	c.put("s", "k", "before")
	it, err := c.iterator("s", shard0, types.ShardIteratorTypeLatest, nil)
	if err != nil {
		t.Fatal(err)
	}
	put := c.put("s", "clé \"\\\x01 \u2028 🥐", "after\x00\xff")
	out, err := c.get(it, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Records) != 1 {
		t.Fatalf("got %d records, want 1", len(out.Records))
	}
	r := out.Records[0]
	if string(r.Data) != "after\x00\xff" || *r.PartitionKey != "clé \"\\\x01 \u2028 🥐" || *r.SequenceNumber != *put.SequenceNumber {
		t.Errorf("the record came back changed: %q %q %s", r.Data, *r.PartitionKey, *r.SequenceNumber)
	}
}

func TestRefusedIterators(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 2)
	c.create("other", 2)
	mine := c.put("s", "k", "x")
	elsewhere := "shardId-000000000001"
	if *mine.ShardId == elsewhere {
		elsewhere = shard0
	}
	beyond := strings.Replace(*mine.SequenceNumber, "00000000000001", "00000000000009", 1)
	for _, test := range []struct {
		name, stream, shard string
		kind                types.ShardIteratorType
		edit                func(*sdk.GetShardIteratorInput)
		code, text          string
	}{
		{"no such stream", "nope", shard0, types.ShardIteratorTypeLatest, nil, "ResourceNotFoundException", "Stream nope under account 000000000000 not found."},
		{"no such shard", "s", "shardId-000000000009", types.ShardIteratorTypeLatest, nil, "ResourceNotFoundException", "shardId-000000000009"},
		{"no such type", "s", shard0, "SOMEWHERE", nil, "ValidationException", "SOMEWHERE"},
		{"another shard's number", "s", elsewhere, types.ShardIteratorTypeAtSequenceNumber, from(*mine.SequenceNumber), "InvalidArgumentException", *mine.SequenceNumber},
		{"another stream's number", "other", *mine.ShardId, types.ShardIteratorTypeAfterSequenceNumber, from(*mine.SequenceNumber), "InvalidArgumentException", "did not come from this stream"},
		{"a number beyond the tip", "s", *mine.ShardId, types.ShardIteratorTypeAfterSequenceNumber, from(beyond), "InvalidArgumentException", beyond},
		{"not a number of ours", "s", shard0, types.ShardIteratorTypeAtSequenceNumber, from("123"), "InvalidArgumentException", "123"},
		{"number missing", "s", shard0, types.ShardIteratorTypeAtSequenceNumber, nil, "InvalidArgumentException", "StartingSequenceNumber"},
		{"time missing", "s", shard0, types.ShardIteratorTypeAtTimestamp, nil, "InvalidArgumentException", "timestampInMillis"},
		{"time to come", "s", shard0, types.ShardIteratorTypeAtTimestamp, at(time.Now().Add(time.Hour)), "InvalidArgumentException", "cannot be greater"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.iterator(test.stream, test.shard, test.kind, test.edit)
			wantError(t, err, test.code, test.text)
		})
	}
}

// TestStreamsOfOneMillisecondAreToldApart makes streams while the clock stands.
func TestStreamsOfOneMillisecondAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		seen := map[string]string{}
		for _, name := range []string{"one", "two", "three"} {
			c.create(name, 1)
			put := c.put(name, "k", "x")
			begin := (*put.SequenceNumber)[:17] // by which the stream is known
			if other, twice := seen[begin]; twice {
				t.Errorf("%s and %s have the same sequence numbers: %s", name, other, *put.SequenceNumber)
			}
			seen[begin] = name
		}
	})
}

func TestIteratorExpiresAndCannotBeBent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 1)
		it, err := c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(299 * time.Second)
		out, err := c.get(it, 1)
		if err != nil {
			t.Fatalf("after 299 s: %v", err)
		}
		time.Sleep(2 * time.Second)
		_, err = c.get(it, 1)
		wantError(t, err, "ExpiredIteratorException", "tolerated delay of 300000 milliseconds")
		// The next iterator's five minutes began with the reply that carried it.
		if _, err = c.get(*out.NextShardIterator, 1); err != nil {
			t.Fatalf("the next iterator after 2 s: %v", err)
		}
		fresh := *out.NextShardIterator
		for i := range fresh {
			bent := []byte(fresh)
			bent[i] ^= 1
			if _, err := c.get(string(bent), 1); err == nil {
				t.Fatalf("an iterator with its character %d changed was taken", i)
			}
		}
	})
}

func TestMillisBehindLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 1)
		for _, data := range numbered("r", 3) {
			c.put("s", "k", data)
			time.Sleep(10 * time.Second)
		}
		it, err := c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil)
		if err != nil {
			t.Fatal(err)
		}
		var lags []time.Duration
		for range 4 {
			out, err := c.get(it, 1)
			if err != nil {
				t.Fatal(err)
			}
			lags = append(lags, (time.Duration(*out.MillisBehindLatest) * time.Millisecond).Truncate(time.Second))
			it = *out.NextShardIterator
		}
		// The oldest unread record is 20 s old, then 10 s; then none is left.
		if want := []time.Duration{20 * time.Second, 10 * time.Second, 0, 0}; !slices.Equal(lags, want) {
			t.Errorf("lags %v, want %v", lags, want)
		}
	})
}

func TestLimitOfGetRecords(t *testing.T) {
	c := open(t, kinesis.Options{})
	c.create("s", 1)
	for _, data := range numbered("r", 3) {
		c.put("s", "k", data)
	}
	it, err := c.iterator("s", shard0, types.ShardIteratorTypeTrimHorizon, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.get(it, 2)
	if err != nil || len(out.Records) != 2 {
		t.Errorf("a limit of 2 gave %v, %v", out, err)
	}
	for _, limit := range []int32{-1, 0, 10_001} {
		_, err = c.get(it, limit)
		wantError(t, err, "InvalidArgumentException", "limit")
	}
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, kinesis.Options{})
		c.create("s", 1)
		old := c.put("s", "k", "old")
		time.Sleep(23 * time.Hour)
		c.put("s", "k", "young")
		time.Sleep(2 * time.Hour)
		if data, _ := c.drain("s", shard0); !slices.Equal(data, []string{"young"}) {
			t.Fatalf("after 25 h the shard holds %q, want the young record alone", data)
		}
		// A position that was trimmed away starts at the horizon.
		for _, kind := range []types.ShardIteratorType{types.ShardIteratorTypeAtSequenceNumber, types.ShardIteratorTypeAfterSequenceNumber} {
			it, err := c.iterator("s", shard0, kind, from(*old.SequenceNumber))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := c.get(it, 10); err != nil || len(out.Records) != 1 || string(out.Records[0].Data) != "young" {
				t.Errorf("%s of a trimmed record: %v %v, want the young record", kind, out, err)
			}
		}
		name, week, day := "s", int32(168), int32(24)
		if _, err := c.IncreaseStreamRetentionPeriod(t.Context(), &sdk.IncreaseStreamRetentionPeriodInput{StreamName: &name, RetentionPeriodHours: &week}); err != nil {
			t.Fatal(err)
		}
		if data, _ := c.drain("s", shard0); !slices.Equal(data, []string{"young"}) {
			t.Fatalf("a longer retention brought back %q", data)
		}
		time.Sleep(100 * time.Hour)
		if data, _ := c.drain("s", shard0); !slices.Equal(data, []string{"young"}) {
			t.Fatalf("within a week the shard holds %q", data)
		}
		_, err := c.IncreaseStreamRetentionPeriod(t.Context(), &sdk.IncreaseStreamRetentionPeriodInput{StreamName: &name, RetentionPeriodHours: &day})
		wantError(t, err, "InvalidArgumentException", "shorter")
		if _, err := c.DecreaseStreamRetentionPeriod(t.Context(), &sdk.DecreaseStreamRetentionPeriodInput{StreamName: &name, RetentionPeriodHours: &day}); err != nil {
			t.Fatal(err)
		}
		if data, _ := c.drain("s", shard0); len(data) != 0 {
			t.Fatalf("after the retention went down to a day the shard holds %q", data)
		}
	})
}
