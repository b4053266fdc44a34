package awstest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/localaws"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

var horizon = stream.Position{Sequence: stream.TrimHorizon}

func startStream(t *testing.T, shards int) (*localaws.Running, *aws.Stream) {
	t.Helper()
	l, a := start(t, false)
	s := a.Stream("order-events")
	if err := s.Create(t.Context(), shards); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitActive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, s
}

func put(t *testing.T, s *aws.Stream, from, to int) {
	t.Helper()
	var list []aws.Entry
	for i := from; i < to; i++ {
		list = append(list, aws.Entry{PartitionKey: fmt.Sprintf("customer-%d ż", i%10), Data: fmt.Appendf(nil, "order %d", i)})
	}
	if failed, err := s.Put(t.Context(), list); err != nil {
		t.Fatalf("put: %d failed: %v", len(failed), err)
	}
}

// readAll reads a shard until it has ended or has delivered want records.
func readAll(t *testing.T, r *aws.ShardReader, want int) (data []string, last stream.Page) {
	t.Helper()
	for !last.Ended && (want < 0 || len(data) < want) {
		var err error
		if last, err = r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, record := range last.Records {
			data = append(data, string(record.Data))
		}
	}
	return data, last
}

func shards(t *testing.T, s *aws.Stream) []stream.Shard {
	t.Helper()
	out, err := s.Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func orders(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("order %d", i))
	}
	return out
}

func TestEveryRecordIsReadOnceInOrder(t *testing.T) {
	_, s := startStream(t, 1)
	before := time.Now()
	put(t, s, 0, 1200) // three calls of PutRecords
	shard := shards(t, s)[0]
	r := s.Reader(shard, horizon)
	r.Limit = 500
	var got []stream.Record
	for len(got) < 1200 {
		page, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Records) > 500 {
			t.Errorf("a page of %d records", len(page.Records))
		}
		got = append(got, page.Records...)
	}
	for i, record := range got {
		if want := fmt.Sprintf("order %d", i); string(record.Data) != want || record.PartitionKey != fmt.Sprintf("customer-%d ż", i%10) {
			t.Fatalf("record %d is %q of %q", i, record.Data, record.PartitionKey)
		}
		if i > 0 && stream.CompareSequence(got[i-1].SequenceNumber, record.SequenceNumber) >= 0 {
			t.Fatalf("record %d is not after the one before it", i)
		}
		if record.ArrivedAt.Before(before.Add(-time.Second)) || record.ArrivedAt.After(time.Now().Add(time.Second)) || record.ArrivedAt.Location() != time.UTC {
			t.Fatalf("record %d arrived at %s", i, record.ArrivedAt)
		}
	}
	for name, c := range map[string]struct {
		from stream.Position
		want []string
	}{
		"after a record":  {stream.After(got[1000]), orders(1001, 1200)},
		"before a record": {stream.BeforeSequence(got[1000].SequenceNumber), orders(1000, 1200)},
		"at a time":       {stream.AtTime(before.Add(-time.Hour)), orders(0, 1200)},
	} {
		if data, _ := readAll(t, s.Reader(shard, c.from), len(c.want)); !slices.Equal(data, c.want) {
			t.Errorf("%s: %d records, the first is %q", name, len(data), data[0])
		}
	}
	latest := s.Reader(shard, stream.Position{Sequence: stream.Latest})
	if page, err := latest.Next(t.Context()); err != nil || len(page.Records) != 0 || page.Behind != 0 {
		t.Fatalf("at the latest: %+v, %v", page, err)
	}
	put(t, s, 1200, 1203)
	if data, _ := readAll(t, latest, 3); !slices.Equal(data, orders(1200, 1203)) {
		t.Errorf("after the latest: %q", data)
	}
}

func TestFaultsOfReadingLoseAndRepeatNothing(t *testing.T) {
	l, s := startStream(t, 1)
	put(t, s, 0, 300)
	for _, kind := range []fault.Kind{fault.ExpiredIterator, fault.InternalError, fault.Reset, fault.ReplyLost, fault.EmptyReply} {
		r := s.Reader(shards(t, s)[0], horizon)
		r.Limit = 100
		got, _ := readAll(t, r, 100)
		l.SetFaults(fault.Fault{Service: "kinesis", Operation: "GetRecords", Kind: kind, Count: 1})
		more, _ := readAll(t, r, 200)
		struck(t, l)
		if got = append(got, more...); !slices.Equal(got, orders(0, 300)) {
			t.Errorf("%s: read %d records", kind, len(got))
		}
	}
	r := s.Reader(shards(t, s)[0], horizon)
	l.SetFaults(fault.Fault{Service: "kinesis", Operation: "GetRecords", Kind: fault.Throttle, Count: 1})
	if _, err := r.Next(t.Context()); !errors.Is(err, stream.ErrThrottled) {
		t.Errorf("throttle: got %v", err)
	}
	struck(t, l)
	if got, _ := readAll(t, r, 300); !slices.Equal(got, orders(0, 300)) {
		t.Errorf("after a throttle: read %d records", len(got))
	}
}

// TestAPageWithoutIteratorEndsNoOpenShard: it is an error, nothing of it is taken,
// and the same records come again.
func TestAPageWithoutIteratorEndsNoOpenShard(t *testing.T) {
	l, s := startStream(t, 1)
	put(t, s, 0, 300)
	shard := shards(t, s)[0]
	r := s.Reader(shard, horizon)
	r.Limit = 100
	got, _ := readAll(t, r, 100)
	for range 3 {
		l.SetFaults(fault.Fault{Service: "kinesis", Operation: "GetRecords", Kind: fault.NoIterator, Count: 1})
		if page, err := r.Next(t.Context()); !errors.Is(err, stream.ErrIncomplete) || page.Ended || len(page.Records) > 0 {
			t.Fatalf("got %+v, %v", page, err)
		}
		struck(t, l)
	}
	more, _ := readAll(t, r, 200)
	if got = append(got, more...); !slices.Equal(got, orders(0, 300)) {
		t.Errorf("read %d records", len(got))
	}
	if err := s.Split(t.Context(), shard); err != nil {
		t.Fatal(err)
	}
	if _, last := readAll(t, r, -1); !last.Ended {
		t.Error("a shard that was split has no end")
	}
}

// TestShardsByARNBeyondAPage: a page has 1,000 shards, closed ones included, and
// the pages after the first are asked for by their token alone.
func TestShardsByARNBeyondAPage(t *testing.T) {
	l, a := start(t, false)
	s := a.Stream("order-events")
	if err := s.Create(t.Context(), 1002); err != nil {
		t.Fatal(err)
	}
	sum, err := s.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"order-events", sum.ARN} {
		before := len(l.Calls("", "ListShards"))
		if got := shards(t, a.Stream(name)); len(got) != 1002 || got[1001].ID != "shardId-000000001001" {
			t.Errorf("%s: %d shards", name, len(got))
		}
		if calls := len(l.Calls("", "ListShards")) - before; calls != 2 {
			t.Errorf("%s: %d calls", name, calls)
		}
	}
}

func TestASplitAndAMergeAreReadToTheirEnd(t *testing.T) {
	_, s := startStream(t, 1)
	put(t, s, 0, 50)
	parent := shards(t, s)[0]
	if err := s.Split(t.Context(), parent); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitActive(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, 50, 100)
	data, last := readAll(t, s.Reader(parent, horizon), -1)
	children := shards(t, s)[1:]
	if !slices.Equal(data, orders(0, 50)) || !last.Ended || len(children) != 2 {
		t.Fatalf("the parent: %d records, ended %v, children %+v", len(data), last.Ended, children)
	}
	for _, child := range children {
		if !slices.Equal(child.Parents, []string{parent.ID}) {
			t.Errorf("child %s has parents %v", child.ID, child.Parents)
		}
	}
	if err := s.Merge(t.Context(), children[0], children[1]); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitActive(t.Context()); err != nil {
		t.Fatal(err)
	}
	var rest []string
	for _, child := range children {
		data, _ := readAll(t, s.Reader(child, horizon), -1)
		rest = append(rest, data...)
	}
	slices.SortFunc(rest, func(a, b string) int { return len(a) - len(b) })
	if slices.Sort(rest); !slices.Equal(rest, orders(50, 100)) {
		t.Errorf("the children hold %d records", len(rest))
	}
	listed := shards(t, s)
	if len(listed) != 4 || !listed[0].Closed || listed[0].ClosedSequence == "" || listed[3].Closed || len(listed[3].Parents) != 2 {
		t.Errorf("shards: %+v", listed)
	}
	sum, err := s.Summary(t.Context())
	if err != nil || sum.OpenShards != 1 || sum.Status != "ACTIVE" || sum.Retention != 24*time.Hour || sum.Name != "order-events" || sum.ARN == "" || sum.Created.IsZero() {
		t.Errorf("summary %+v, %v", sum, err)
	}
}

func TestStreamsThatAreThereAndThatAreNot(t *testing.T) {
	_, s := startStream(t, 1)
	if err := s.Create(t.Context(), 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("create again: %v", err)
	}
	shard := shards(t, s)[0]
	// A sequence number that another stream of the same name could have had.
	if _, err := s.Reader(shard, stream.AfterSequence("7")).Next(t.Context()); !errors.Is(err, stream.ErrBadPosition) {
		t.Errorf("a foreign position: %v", err)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	for {
		_, err := s.Summary(t.Context())
		if errors.Is(err, stream.ErrGone) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Reader(shard, horizon).Next(t.Context()); !errors.Is(err, stream.ErrGone) {
		t.Errorf("read from no stream: %v", err)
	}
}

func TestPutSurvivesFaults(t *testing.T) {
	l, s := startStream(t, 2)
	for _, kind := range []fault.Kind{fault.Reset, fault.InternalError} {
		l.SetFaults(fault.Fault{Service: "kinesis", Operation: "PutRecords", Kind: kind, Count: 1})
		put(t, s, 0, 10)
		struck(t, l)
	}
	n := 0
	for _, shard := range shards(t, s) {
		for r := s.Reader(shard, horizon); ; {
			page, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.Records)
			if page.Behind == 0 {
				break
			}
		}
	}
	if n != 20 {
		t.Errorf("%d records on the stream, want 20", n)
	}
}
