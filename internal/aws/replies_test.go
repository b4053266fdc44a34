package aws

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// raw answers with bytes as they are.
type raw struct {
	content string
	status  int
	body    string
	length  int64 // -1: not told
}

// answering answers call by call, and then the last answer for ever.
type answering struct {
	answers []raw
	calls   atomic.Int64
}

func (w *answering) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
	}
	n := w.calls.Add(1) - 1
	a := w.answers[min(int(n), len(w.answers)-1)]
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {a.content}},
		ContentLength: a.length, Body: io.NopCloser(strings.NewReader(a.body)), Request: r,
	}, nil
}

func (w *answering) account(t *testing.T) *Account {
	_, a := scripted(t)
	a.cfg.HTTPClient = &http.Client{Transport: w}
	a.openKinesis()
	return a
}

const (
	openShard   = `{"Shards":[{"ShardId":"shardId-0","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}`
	closedShard = `{"Shards":[{"ShardId":"shardId-0","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"9"}}]}`
	otherShard  = `{"Shards":[{"ShardId":"shardId-7","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}`
)

// oneReply are good replies to GetRecords, as bytes, that end no open shard.
var oneReply = map[string]raw{
	"empty body, CBOR":        {content: contentCBOR, body: ""},
	"empty body, JSON":        {content: contentJSON, body: ""},
	"empty body, no type":     {body: ""},
	"empty body, HTML":        {content: "text/html", body: ""},
	"empty body, not told":    {content: contentJSON, body: "", length: -1},
	"braces, JSON":            {content: contentJSON, body: "{}"},
	"braces, CBOR":            {content: contentCBOR, body: "\xa0"},
	"no iterator, CBOR":       {content: contentCBOR, body: "\xa2\x67Records\x80\x72MillisBehindLatest\x00"},
	"null iterator, CBOR":     {content: contentCBOR, body: "\xa3\x67Records\x80\x72MillisBehindLatest\x00\x71NextShardIterator\xf6"},
	"empty iterator, CBOR":    {content: contentCBOR, body: "\xa3\x67Records\x80\x72MillisBehindLatest\x00\x71NextShardIterator\x60"},
	"no iterator, odd CBOR":   {content: contentCBOR, body: "\xa2\x67Records\x9f\xff\x72MillisBehindLatest\xf9\x00\x00"},
	"no iterator, JSON":       {content: contentJSON, body: `{"Records":[],"MillisBehindLatest":0}`},
	"null iterator, JSON":     {content: contentJSON, body: `{"Records":[],"MillisBehindLatest":0,"NextShardIterator":null}`},
	"records, no iterator":    {content: contentJSON, body: `{"Records":[{"SequenceNumber":"5","Data":"YQ==","PartitionKey":"k","ApproximateArrivalTimestamp":1459799926.48}],"MillisBehindLatest":0}`},
	"children of another":     {content: contentJSON, body: `{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"shardId-1","ParentShards":["shardId-8"]}]}`},
	"children of nobody":      {content: contentJSON, body: `{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"shardId-1","ParentShards":[]}]}`},
	"no records, an iterator": {content: contentJSON, body: `{"NextShardIterator":"b","MillisBehindLatest":0}`},
	"no lag":                  {content: contentJSON, body: `{"Records":[],"NextShardIterator":"b"}`},
	"a record without data":   {content: contentJSON, body: `{"Records":[{"SequenceNumber":"5","PartitionKey":"k","ApproximateArrivalTimestamp":1459799926.48}],"NextShardIterator":"b","MillisBehindLatest":0}`},
	"a record without number": {content: contentJSON, body: `{"Records":[{"Data":"YQ==","PartitionKey":"k","ApproximateArrivalTimestamp":1459799926.48}],"NextShardIterator":"b","MillisBehindLatest":0}`},
	"a record without time":   {content: contentCBOR, body: "\xa3\x67Records\x81\xa2\x6eSequenceNumber\x617\x64Data\x42hi\x72MillisBehindLatest\x00\x71NextShardIterator\x61b"},
}

// TestOneReplyEndsNoOpenShard sends each such reply once, or, where the SDK asks
// again by itself, as often as it asks: nothing of it is taken, and the page that
// follows is read at the same place.
func TestOneReplyEndsNoOpenShard(t *testing.T) {
	for name, reply := range oneReply {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if reply.length == 0 {
					reply.length = int64(len(reply.body))
				}
				odd, good, asked := 0, records("b", "5", "6"), []string(nil)
				_, a := scripted(t)
				a.cfg.HTTPClient = &http.Client{Transport: serve(func(r *http.Request) raw {
					_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
					asked = append(asked, operation)
					switch {
					case operation == "GetShardIterator":
						return raw{content: contentJSON, body: `{"ShardIterator":"a"}`, length: -1}
					case operation == "ListShards":
						return raw{content: contentJSON, body: openShard, length: -1}
					case odd < 3:
						odd++
						return reply
					}
					return raw{content: contentJSON, body: good.body, length: -1}
				})}
				a.openKinesis()
				r := a.Stream("orders").Reader(shard0, stream.AfterSequence("4"))
				failed := 0
				for {
					page, err := r.Next(t.Context())
					if err != nil {
						if failed++; !errors.Is(err, stream.ErrIncomplete) {
							t.Fatalf("got %v", err)
						}
						continue
					}
					if page.Ended || sequences(page) != "5 6" {
						t.Fatalf("got %q, ended %v", sequences(page), page.Ended)
					}
					break
				}
				if failed == 0 {
					t.Error("the reply was taken for a good one")
				}
			})
		})
	}
}

// serve is a service as a function.
type serve func(r *http.Request) raw

func (s serve) RoundTrip(r *http.Request) (*http.Response, error) {
	w := &answering{answers: []raw{s(r)}}
	return w.RoundTrip(r)
}

func TestTheEndOfAShardIsShown(t *testing.T) {
	noIterator := answer{"GetRecords", 200, `{"MillisBehindLatest":0,"Records":[{"SequenceNumber":"5","Data":"YQ==","PartitionKey":"k","ApproximateArrivalTimestamp":1459799926.48}]}`}
	for name, c := range map[string]struct {
		answers []answer
		ended   bool
	}{
		"by children":       {[]answer{iterator("a"), records("", "5")}, true},
		"by the listing":    {[]answer{iterator("a"), noIterator, {"ListShards", 200, closedShard}}, true},
		"by its absence":    {[]answer{iterator("a"), noIterator, {"ListShards", 200, otherShard}}, true},
		"listed as open":    {[]answer{iterator("a"), noIterator, {"ListShards", 200, openShard}}, false},
		"listing refused":   {[]answer{iterator("a"), noIterator, refuse("ListShards", "AccessDeniedException")}, false},
		"an empty listing":  {[]answer{iterator("a"), noIterator, {"ListShards", 200, `{"Shards":[]}`}}, false},
		"a list of nothing": {[]answer{iterator("a"), noIterator, {"ListShards", 200, `{}`}}, false},
		"half a shard":      {[]answer{iterator("a"), noIterator, {"ListShards", 200, `{"Shards":[{"ShardId":"shardId-0"}]}`}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, a := scripted(t, c.answers...)
			r := a.Stream("orders").Reader(shard0, stream.AfterSequence("4"))
			page, err := r.Next(t.Context())
			if (err == nil) != c.ended || page.Ended != c.ended || c.ended && sequences(page) != "5" {
				t.Fatalf("got %+v, %v", page, err)
			}
			if c.ended {
				return
			}
			// What came with the page is read again, from the place where it was.
			s.answers = append(s.answers, iterator("b"), records("c", "5"))
			if page, err = r.Next(t.Context()); err != nil || sequences(page) != "5" {
				t.Fatalf("then %+v, %v", page, err)
			}
			if again := s.asked[len(s.asked)-2]; again["StartingSequenceNumber"] != "4" {
				t.Errorf("opened again with %v", again)
			}
		})
	}
}

// TestRepliesHoldWhatTheyMust gives each call a reply that the model of the
// service allows, and the service never sends.
func TestRepliesHoldWhatTheyMust(t *testing.T) {
	run := func(statements ...string) func(*Account, *testing.T) error {
		return func(a *Account, t *testing.T) error {
			_, err := a.Redshift(cluster).Run(t.Context(), "t", statements)
			return err
		}
	}
	finished := status("FINISHED", `,"HasResultSet":true,"ResultRows":1`)
	fetched := func(body string) []answer {
		out := []answer{submitted("ExecuteStatement"), finished}
		for range 6 {
			out = append(out, answer{"GetStatementResult", 200, body})
		}
		return out
	}
	times := func(n int, a answer) (out []answer) {
		for range n {
			out = append(out, a)
		}
		return out
	}
	put := func(a *Account, t *testing.T) error {
		fates, err := a.Stream("orders").PutOnce(t.Context(), []Entry{{PartitionKey: "k"}})
		if fates[0] != Unknown {
			t.Errorf("the fate of the record is %d", fates[0])
		}
		return err
	}
	list := func(a *Account, t *testing.T) error {
		_, err := a.LeaseTable("leases").List(t.Context())
		return err
	}
	for name, c := range map[string]struct {
		answers []answer
		call    func(*Account, *testing.T) error
	}{
		"no iterator": {[]answer{{"GetShardIterator", 200, `{}`}}, func(a *Account, t *testing.T) error {
			_, err := a.Stream("orders").Reader(shard0, stream.AfterSequence("4")).Next(t.Context())
			return err
		}},
		"no summary": {[]answer{{"DescribeStreamSummary", 200, `{}`}}, func(a *Account, t *testing.T) error {
			_, err := a.Stream("orders").Summary(t.Context())
			return err
		}},
		"half a summary": {[]answer{{"DescribeStreamSummary", 200, `{"StreamDescriptionSummary":{"StreamName":"orders"}}`}}, func(a *Account, t *testing.T) error {
			_, err := a.Stream("orders").Summary(t.Context())
			return err
		}},
		"a second page of nothing": {[]answer{{"ListShards", 200, `{"NextToken":"t",` + openShard[1:]}, {"ListShards", 200, `{}`}}, func(a *Account, t *testing.T) error {
			_, err := a.Stream("orders").Shards(t.Context())
			return err
		}},
		"no results of puts": {[]answer{{"PutRecords", 200, `{"FailedRecordCount":0}`}}, put},
		"an empty result":    {[]answer{{"PutRecords", 200, `{"FailedRecordCount":0,"Records":[{}]}`}}, put},
		"no statement id":    {times(maxSubmits, answer{"ExecuteStatement", 200, `{}`}), run("UPDATE x")},
		"no batch id":        {times(maxSubmits, answer{"BatchExecuteStatement", 200, `{}`}), run("UPDATE x", "UPDATE y")},
		"no sub-statements":  {[]answer{submitted("BatchExecuteStatement"), status("FINISHED", "")}, run("UPDATE x", "UPDATE y")},
		"too few of them":    {[]answer{submitted("BatchExecuteStatement"), status("FINISHED", `,"SubStatements":[{"Id":"id-1:1"}]`)}, run("UPDATE x", "UPDATE y")},
		"a SELECT without a result": {
			[]answer{submitted("BatchExecuteStatement"), status("FINISHED", `,"SubStatements":[{"Id":"id-1:1"},{"Id":"id-1:2"}]`)},
			run("UPDATE x", "SELECT shard_id FROM load_accepted"),
		},
		"a result without an id": {
			[]answer{submitted("BatchExecuteStatement"), status("FINISHED", `,"SubStatements":[{"Id":"id-1:1"},{"HasResultSet":true}]`)},
			run("UPDATE x", "SELECT y"),
		},
		"a result of nothing":  {fetched(`{}`), run("SELECT x")},
		"no rows":              {fetched(`{"ColumnMetadata":[{"name":"a"}]}`), run("SELECT x")},
		"no columns":           {fetched(`{"Records":[[{"longValue":7}]]}`), run("SELECT x")},
		"a short row":          {fetched(`{"ColumnMetadata":[{"name":"a"},{"name":"b"}],"Records":[[{"longValue":7}]]}`), run("SELECT x")},
		"a scan of nothing":    {[]answer{{"Scan", 200, `{}`}}, list},
		"a scan without items": {[]answer{{"Scan", 200, `{"Count":0,"ScannedCount":0}`}}, list},
		"an update without the row": {[]answer{{"UpdateItem", 200, `{}`}}, func(a *Account, t *testing.T) error {
			_, err := a.LeaseTable("leases").Update(t.Context(), lease.Row{Shard: "s"}, lease.Row{Shard: "s", Owner: "w"})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, a := scripted(t, c.answers...)
				if err := c.call(a, t); !errors.Is(err, stream.ErrIncomplete) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// TestEmptyRepliesAreErrors answers every call with success and nothing.
func TestEmptyRepliesAreErrors(t *testing.T) {
	for _, length := range []int64{0, -1} {
		for name, call := range everyCall() {
			t.Run(fmt.Sprintf("%s/%d", name, length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := &answering{answers: []raw{{content: contentJSON, length: length}}}
					err := call(w.account(t), t)
					if !errors.Is(err, stream.ErrIncomplete) {
						t.Errorf("got %v", err)
					}
				})
			})
		}
	}
}

// everyCall is a call of each operation that has an output.
func everyCall() map[string]func(*Account, *testing.T) error {
	orders := func(a *Account) *Stream { return a.Stream("orders") }
	bucket := func(a *Account, t *testing.T) *Bucket {
		b, err := a.Bucket("s3://lake/orders")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	row := lease.Row{Shard: "s", Counter: 1}
	return map[string]func(*Account, *testing.T) error{
		"GetShardIterator": func(a *Account, t *testing.T) error {
			_, err := orders(a).Reader(shard0, stream.AfterSequence("4")).Next(t.Context())
			return err
		},
		"GetRecords": func(a *Account, t *testing.T) error {
			r := orders(a).Reader(shard0, stream.AfterSequence("4"))
			r.iterator = "a"
			_, err := r.Next(t.Context())
			return err
		},
		"ListShards": func(a *Account, t *testing.T) error { _, err := orders(a).Shards(t.Context()); return err },
		"Summary":    func(a *Account, t *testing.T) error { _, err := orders(a).Summary(t.Context()); return err },
		"PutRecords": func(a *Account, t *testing.T) error {
			_, err := orders(a).Put(t.Context(), []Entry{{PartitionKey: "k"}})
			return err
		},
		"PutOnce": func(a *Account, t *testing.T) error {
			fates, err := orders(a).PutOnce(t.Context(), []Entry{{PartitionKey: "k"}})
			if fates[0] != Unknown {
				t.Errorf("the fate of the record is %d", fates[0])
			}
			return err
		},
		"Run": func(a *Account, t *testing.T) error {
			_, err := a.Redshift(cluster).Run(t.Context(), "t", []string{"SELECT 1"})
			return err
		},
		"Scan":    func(a *Account, t *testing.T) error { _, err := a.LeaseTable("l").List(t.Context()); return err },
		"PutItem": func(a *Account, t *testing.T) error { _, err := a.LeaseTable("l").Create(t.Context(), row); return err },
		"UpdateItem": func(a *Account, t *testing.T) error {
			_, err := a.LeaseTable("l").Update(t.Context(), row, row)
			return err
		},
		"DeleteItem": func(a *Account, t *testing.T) error { return a.LeaseTable("l").Delete(t.Context(), row) },
		"GetObject":  func(a *Account, t *testing.T) error { _, err := bucket(a, t).Get(t.Context(), "x"); return err },
		"PutObject": func(a *Account, t *testing.T) error {
			_, err := bucket(a, t).Put(t.Context(), "x", []byte("y"))
			return err
		},
		"PutIfAbsent": func(a *Account, t *testing.T) error {
			created, err := bucket(a, t).PutIfAbsent(t.Context(), "x", []byte("y"))
			if created {
				t.Error("an object is said to be made")
			}
			return err
		},
		"ListObjects":   func(a *Account, t *testing.T) error { _, err := bucket(a, t).List(t.Context(), ""); return err },
		"DeleteObjects": func(a *Account, t *testing.T) error { return bucket(a, t).Delete(t.Context(), "x", "y") },
		"Caller":        func(a *Account, t *testing.T) error { _, err := a.Caller(t.Context()); return err },
	}
}

// TestErrorsWithoutABodyKeepTheirStatus: a gateway's error is told from others by
// nothing else.
func TestErrorsWithoutABodyKeepTheirStatus(t *testing.T) {
	for status, content := range map[int]string{502: contentJSON, 400: contentJSON, 503: contentCBOR} {
		synctest.Test(t, func(t *testing.T) {
			w := &answering{answers: []raw{{content: content, status: status}}}
			_, err := w.account(t).Stream("orders").Shards(t.Context())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("HTTP %d %s", status, http.StatusText(status))) {
				t.Errorf("got %v", err)
			}
		})
	}
}
