// Package kinesistest tries aws.Stream and its readers over the wire against the
// local AWS's Kinesis, and against another one where the environment names it.
package kinesistest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/localaws/endpoint"
	"github.com/cloudcafe/analytics-worker/localaws/kinesis"
	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestReader runs the suite on the local AWS, its documented limits included.
func TestReader(t *testing.T) {
	service, err := kinesis.New(kinesis.Options{Limits: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // once it is not served any more
		if err := service.Close(); err != nil {
			t.Error(err)
		}
	})
	run(t, endpoint.New(endpoint.Options{Services: []wire.Service{service}}).Start(t).URL)
}

// TestPeerReader runs it on another Kinesis, such as kinesis-local.
func TestPeerReader(t *testing.T) {
	url := os.Getenv("KINESIS_PEER_URL")
	if url == "" {
		t.Skip("KINESIS_PEER_URL names no other Kinesis")
	}
	run(t, url)
}

// run is the suite: what the worker relies on, whoever answers.
func run(t *testing.T, url string) {
	t.Setenv("AWS_ENDPOINT_URL", url)
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	t.Setenv("AWS_REGION", "us-east-1")
	account, err := aws.Open(t.Context(), aws.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(account.Close)
	for name, test := range map[string]func(*subject){
		"positions": testPositions, "resume": testResume, "paging": testPaging, "split": testSplit, "merge": testMerge,
		"ends": testEnds, "listing": testListing, "missing": testMissing,
	} {
		t.Run(name, func(t *testing.T) {
			name := fmt.Sprintf("orders-%s-%d", name, time.Now().UnixNano())
			test(&subject{t, account, account.Stream(name)})
		})
	}
}

// subject is a stream of the test's own at whoever is tested.
type subject struct {
	*testing.T
	account *aws.Account
	stream  *aws.Stream
}

var horizon = stream.Position{Sequence: stream.TrimHorizon}

func (s *subject) create(shards int) {
	s.Helper()
	if err := s.stream.Create(s.Context(), shards); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := s.stream.Delete(context.Background()); err != nil {
			s.Errorf("the stream stays: %v", err)
		}
	})
	s.active()
}

func (s *subject) active() {
	s.Helper()
	if err := s.stream.WaitActive(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// put puts orders with the numbers from one to before the other.
func (s *subject) put(from, to int) {
	s.Helper()
	var list []aws.Entry
	for i := from; i < to; i++ {
		list = append(list, aws.Entry{PartitionKey: fmt.Sprintf("customer-%d ż", i%20), Data: fmt.Appendf(nil, "order %d", i)})
	}
	if failed, err := s.stream.Put(s.Context(), list); err != nil {
		s.Fatalf("put: %d failed: %v", len(failed), err)
	}
}

func orders(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("order %d", i))
	}
	return out
}

func (s *subject) shards() []stream.Shard {
	s.Helper()
	all, err := s.stream.Shards(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return all
}

// next reads one page, when the limits allow it.
func (s *subject) next(r *aws.ShardReader) stream.Page {
	s.Helper()
	for {
		wait := time.NewTimer(time.Until(r.NotBefore()))
		select {
		case <-wait.C:
		case <-s.Context().Done():
			s.Fatal("the test ended")
		}
		page, err := r.Next(s.Context())
		if errors.Is(err, stream.ErrThrottled) {
			continue
		}
		if err != nil {
			s.Fatal(err)
		}
		return page
	}
}

// read reads until so many records are there, or to the end of the shard where
// want is negative.
func (s *subject) read(r *aws.ShardReader, want int) (got []stream.Record, last stream.Page) {
	s.Helper()
	for !last.Ended && (want < 0 || len(got) < want) {
		last = s.next(r)
		got = append(got, last.Records...)
	}
	return got, last
}

func texts(records []stream.Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, string(r.Data))
	}
	return out
}

func (s *subject) same(what string, got, want []string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: read %d records, want %d; the first are %q", what, len(got), len(want), got[:min(3, len(got))])
	}
}

func testPositions(s *subject) {
	s.create(1)
	before := time.Now()
	s.put(0, 40)
	shard := s.shards()[0]
	all, _ := s.read(s.stream.Reader(shard, horizon), 40)
	s.same("from the horizon", texts(all), orders(0, 40))
	for i, r := range all {
		if i > 0 && stream.CompareSequence(all[i-1].SequenceNumber, r.SequenceNumber) >= 0 {
			s.Fatalf("record %d is not after the one before it", i)
		}
		if r.PartitionKey != fmt.Sprintf("customer-%d ż", i%20) {
			s.Fatalf("record %d has the partition key %q", i, r.PartitionKey)
		}
		if r.ArrivedAt.Before(before.Add(-time.Second)) || r.ArrivedAt.After(time.Now().Add(time.Second)) {
			s.Fatalf("record %d arrived at %v", i, r.ArrivedAt)
		}
	}
	for what, c := range map[string]struct {
		from stream.Position
		want []string
	}{
		"after a record":           {stream.After(all[25]), orders(26, 40)},
		"before a record":          {stream.BeforeSequence(all[25].SequenceNumber), orders(25, 40)},
		"at a time before them":    {stream.AtTime(before.Add(-time.Minute)), orders(0, 40)},
		"at the shard's beginning": {stream.BeforeSequence(shard.FirstSequence), orders(0, 40)},
	} {
		got, _ := s.read(s.stream.Reader(shard, c.from), len(c.want))
		s.same(what, texts(got), c.want)
	}
	latest := s.stream.Reader(shard, stream.Position{Sequence: stream.Latest})
	if page := s.next(latest); len(page.Records) != 0 {
		s.Errorf("at the latest: %d records", len(page.Records))
	}
	s.put(40, 45)
	got, _ := s.read(latest, 5)
	s.same("after the latest", texts(got), orders(40, 45))
}

// A worker that ends in the middle is followed by one that goes on behind the
// last record that was committed.
func testResume(s *subject) {
	s.create(1)
	s.put(0, 60)
	shard := s.shards()[0]
	at := horizon
	var got []string
	for len(got) < 60 {
		r := s.stream.Reader(shard, at)
		r.Limit = 17
		records, _ := s.read(r, 1)
		got, at = append(got, texts(records)...), stream.After(records[len(records)-1])
	}
	s.same("over several readers", got, orders(0, 60))
}

func testPaging(s *subject) {
	s.create(1)
	r := s.stream.Reader(s.shards()[0], horizon)
	r.Limit = 10
	if page := s.next(r); len(page.Records) != 0 || page.Ended || page.Behind != 0 {
		s.Errorf("an empty shard: %+v", page)
	}
	s.put(0, 35)
	var got []stream.Record
	for len(got) < 35 {
		page := s.next(r)
		if len(page.Records) > 10 {
			s.Errorf("a page of %d records", len(page.Records))
		}
		got = append(got, page.Records...)
	}
	s.same("page by page", texts(got), orders(0, 35))
	if page := s.next(r); len(page.Records) != 0 || page.Ended || page.Behind != 0 {
		s.Errorf("caught up: %+v", page)
	}
}

func ids(shards []stream.Shard) []string {
	var out []string
	for _, c := range shards {
		out = append(out, c.ID)
	}
	slices.Sort(out)
	return out
}

// children are the listed shards that have the shard as a parent.
func (s *subject) children(of stream.Shard) []stream.Shard {
	s.Helper()
	return slices.DeleteFunc(s.shards(), func(c stream.Shard) bool { return !slices.Contains(c.Parents, of.ID) })
}

func testSplit(s *subject) {
	s.create(1)
	parent := s.shards()[0]
	s.put(0, 30)
	if err := s.stream.Split(s.Context(), parent); err != nil {
		s.Fatal(err)
	}
	s.active()
	s.put(30, 60)
	records, end := s.read(s.stream.Reader(parent, horizon), -1)
	s.same("the parent", texts(records), orders(0, 30))
	children := s.children(parent)
	if len(children) != 2 || !end.Ended {
		s.Fatalf("the parent has ended: %v, its children are %q", end.Ended, ids(children))
	}
	for _, c := range children {
		if !slices.Equal(c.Parents, []string{parent.ID}) || c.HashStart == "" || c.HashEnd == "" {
			s.Errorf("child %+v", c)
		}
	}
	if a, b := children[0], children[1]; a.HashStart != parent.HashStart || b.HashEnd != parent.HashEnd || a.HashEnd == parent.HashEnd {
		s.Errorf("hash ranges: parent %+v, children %+v", parent, children)
	}
	s.gathered(children, orders(30, 60))
}

// gathered reads what the shards hold between them.
func (s *subject) gathered(shards []stream.Shard, want []string) {
	s.Helper()
	var got []stream.Record
	for _, c := range shards {
		r := s.stream.Reader(c, horizon)
		for caughtUp := false; !caughtUp; {
			page := s.next(r)
			got = append(got, page.Records...)
			caughtUp = page.Ended || page.Behind == 0 && len(page.Records) == 0
		}
	}
	all := texts(got)
	slices.SortFunc(all, func(a, b string) int { // by their numbers
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	s.same("gathered", all, want)
}

func testMerge(s *subject) {
	s.create(2)
	both := s.shards()
	s.put(0, 30)
	if err := s.stream.Merge(s.Context(), both[0], both[1]); err != nil {
		s.Fatal(err)
	}
	s.active()
	s.put(30, 60)
	s.gathered(both, orders(0, 30))
	for _, parent := range both {
		if _, end := s.read(s.stream.Reader(parent, horizon), -1); !end.Ended {
			s.Fatalf("%s ends with %+v", parent.ID, end)
		}
	}
	child := s.children(both[0])
	if len(child) != 1 || !slices.Equal(slices.Sorted(slices.Values(child[0].Parents)), ids(both)) || !slices.Equal(ids(child), ids(s.children(both[1]))) {
		s.Fatalf("listed as the child: %+v", child)
	}
	records, _ := s.read(s.stream.Reader(child[0], horizon), 30)
	s.same("the child", texts(records), orders(30, 60))
}

// The end of a shard is found again by whoever starts behind its last record.
func testEnds(s *subject) {
	s.create(1)
	s.put(0, 5)
	parent := s.shards()[0]
	records, _ := s.read(s.stream.Reader(parent, horizon), 5)
	if err := s.stream.Split(s.Context(), parent); err != nil {
		s.Fatal(err)
	}
	s.active()
	for what, from := range map[string]stream.Position{
		"the horizon": horizon, "the last record": stream.After(records[4]),
	} {
		r := s.stream.Reader(parent, from)
		_, end := s.read(r, -1)
		if !end.Ended {
			s.Errorf("from %s: %+v", what, end)
		}
		if again := s.next(r); !again.Ended || len(again.Records) != 0 {
			s.Errorf("from %s, after the end: %+v", what, again)
		}
	}
}

func testListing(s *subject) {
	s.create(3)
	listed := s.shards()
	if len(listed) != 3 {
		s.Fatalf("shards: %+v", listed)
	}
	for i, sh := range listed {
		if sh.Closed || sh.FirstSequence == "" || len(sh.Parents) != 0 || i > 0 && sh.ID <= listed[i-1].ID {
			s.Errorf("shard %d: %+v", i, sh)
		}
	}
	if err := s.stream.Split(s.Context(), listed[1]); err != nil {
		s.Fatal(err)
	}
	s.active()
	after := s.shards()
	if len(after) != 5 || !after[1].Closed || after[1].ClosedSequence == "" || after[4].Closed {
		s.Errorf("after a split: %+v", after)
	}
	sum, err := s.stream.Summary(s.Context())
	if err != nil || sum.OpenShards != 4 || sum.Status != "ACTIVE" || sum.Retention != 24*time.Hour || sum.Name != s.stream.Name() {
		s.Errorf("summary %+v, %v", sum, err)
	}
}

func testMissing(s *subject) {
	if _, err := s.stream.Summary(s.Context()); !errors.Is(err, stream.ErrGone) {
		s.Errorf("describe: %v", err)
	}
	if _, err := s.stream.Shards(s.Context()); !errors.Is(err, stream.ErrGone) {
		s.Errorf("list: %v", err)
	}
	shard := stream.Shard{ID: "shardId-000000000000"}
	if _, err := s.stream.Reader(shard, horizon).Next(s.Context()); !errors.Is(err, stream.ErrGone) {
		s.Errorf("read: %v", err)
	}
}
