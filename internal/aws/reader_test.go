package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/fxamacker/cbor/v2"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// script is a service that answers with the bytes it was given, call by call,
// and keeps what it was asked. It stands in for what a local service will not
// do: trimmed positions, odd replies.
type script struct {
	mu      sync.Mutex // guards what follows
	answers []answer
	asked   []map[string]any
}

type answer struct {
	operation string
	status    int // 0: the connection breaks
	body      string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var asked map[string]any
	content := r.Header.Get("Content-Type")
	if content == contentCBOR {
		err = cbor.Unmarshal(body, &asked)
	} else {
		err = json.Unmarshal(body, &asked)
	}
	if err != nil {
		return nil, err
	}
	asked["content"] = content
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	asked["operation"] = operation
	s.asked = append(s.asked, asked)
	a := answer{operation, 400, `{"__type":"UnexpectedCall","message":"nothing more in the script"}`}
	if len(s.answers) > 0 && s.answers[0].operation == operation {
		a, s.answers = s.answers[0], s.answers[1:]
	}
	if a.status == 0 {
		return nil, errLost
	}
	text := []byte(a.body)
	if content == contentCBOR && json.Valid(text) {
		text = toCBOR(text)
	} else {
		content = contentJSON
	}
	return &http.Response{
		StatusCode: a.status, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, // the other way to read a body
		Header: http.Header{"Content-Type": {content}},
		Body:   io.NopCloser(bytes.NewReader(text)), Request: r,
	}, nil
}

// toCBOR is what a service that answers text in JSON answers in CBOR.
func toCBOR(text []byte) []byte {
	var v map[string]any
	if err := json.Unmarshal(text, &v); err != nil {
		panic(err) // a mistake in the test's own script
	}
	records, _ := v["Records"].([]any)
	for _, r := range records {
		r := r.(map[string]any)
		data, err := base64.StdEncoding.DecodeString(r["Data"].(string))
		if err != nil {
			panic(err)
		}
		r["Data"] = data
	}
	b, err := cbor.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

var errLost = errors.New("connection reset by peer")

func scripted(t *testing.T, answers ...answer) (*script, *Account) {
	t.Helper()
	s := &script{answers: answers}
	cfg := sdk.Config{
		Region: "us-east-1", HTTPClient: &http.Client{Transport: s},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
	t.Cleanup(func() {
		if len(s.answers) > 0 && !t.Failed() {
			t.Errorf("%d answers were not asked for, the first to %s", len(s.answers), s.answers[0].operation)
		}
	})
	cfg.APIOptions = append(cfg.APIOptions, guardReplies)
	a := &Account{cfg: cfg, log: slog.New(slog.DiscardHandler)}
	a.openKinesis()
	return s, a
}

// operations are the calls that were made, with repeats counted.
func (s *script) operations() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for i := 0; i < len(s.asked); {
		n := 1
		for i+n < len(s.asked) && s.asked[i+n]["operation"] == s.asked[i]["operation"] {
			n++
		}
		out = append(out, fmt.Sprintf("%dx%s", n, s.asked[i]["operation"]))
		i += n
	}
	return strings.Join(out, " ")
}

func iterator(name string) answer {
	return answer{"GetShardIterator", 200, fmt.Sprintf(`{"ShardIterator":%q}`, name)}
}

// records is a GetRecords reply; next is empty at the end of the shard.
func records(next string, sequences ...string) answer {
	var parts []string
	for _, s := range sequences {
		parts = append(parts, fmt.Sprintf(`{"SequenceNumber":%q,"Data":%q,"PartitionKey":"k","ApproximateArrivalTimestamp":1459799926.48}`, s, base64.StdEncoding.EncodeToString([]byte("order "+s))))
	}
	tail := `,"ChildShards":[{"ShardId":"shardId-1","ParentShards":["shardId-0"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}]`
	if next != "" {
		tail = fmt.Sprintf(`,"NextShardIterator":%q`, next)
	}
	return answer{"GetRecords", 200, `{"MillisBehindLatest":0,"Records":[` + strings.Join(parts, ",") + `]` + tail + `}`}
}

func refuse(operation, code string) answer {
	return answer{operation, 400, fmt.Sprintf(`{"__type":%q,"message":"no"}`, code)}
}

func sequences(p stream.Page) string {
	var out []string
	for _, r := range p.Records {
		out = append(out, r.SequenceNumber)
	}
	return strings.Join(out, " ")
}

var shard0 = stream.Shard{ID: "shardId-0", HashStart: "0", HashEnd: "340282366920938463463374607431768211455"}

func TestReaderOpensEachKindOfPosition(t *testing.T) {
	at := time.UnixMilli(1459799926480)
	for _, c := range []struct {
		from     stream.Position
		wantType string
		wantSeq  any
		wantTime any
		got      string // what the page holds of records 5, 6 and 7
		trimmed  bool
	}{
		{stream.Position{Sequence: stream.TrimHorizon}, "TRIM_HORIZON", nil, nil, "5 6 7", false},
		{stream.Position{Sequence: stream.Latest}, "LATEST", nil, nil, "5 6 7", false},
		{stream.AtTime(at), "AT_TIMESTAMP", nil, 1459799926.48, "5 6 7", false},
		{stream.AfterSequence("5"), "AT_SEQUENCE_NUMBER", "5", nil, "6 7", false},
		{stream.Position{Sequence: "5"}, "AT_SEQUENCE_NUMBER", "5", nil, "6 7", false},
		{stream.BeforeSequence("5"), "AT_SEQUENCE_NUMBER", "5", nil, "5 6 7", false},
		{stream.AfterSequence("4"), "AT_SEQUENCE_NUMBER", "4", nil, "5 6 7", true},
		{stream.BeforeSequence("4"), "AT_SEQUENCE_NUMBER", "4", nil, "5 6 7", false},
	} {
		t.Run(c.from.String(), func(t *testing.T) {
			s, a := scripted(t, iterator("a"), records("b", "5", "6", "7"))
			page, err := a.Stream("orders").Reader(shard0, c.from).Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			asked := s.asked[0]
			if asked["ShardIteratorType"] != c.wantType || asked["StartingSequenceNumber"] != c.wantSeq || asked["Timestamp"] != c.wantTime {
				t.Errorf("asked for %v", asked)
			}
			if got := sequences(page); got != c.got || page.Trimmed != c.trimmed {
				t.Errorf("got %s, trimmed %v, want %s, %v", got, page.Trimmed, c.got, c.trimmed)
			}
			if page.Bytes <= 0 {
				t.Errorf("the page holds %d bytes", page.Bytes)
			}
		})
	}
}

func TestReaderRenewsAnExpiredIteratorBehindTheLastDelivered(t *testing.T) {
	s, a := scripted(t,
		iterator("a"), records("b", "5", "6"),
		refuse("GetRecords", "ExpiredIteratorException"), iterator("c"), records("d", "6", "7"))
	r := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.TrimHorizon})
	for _, want := range []string{"5 6", "7"} {
		page, err := r.Next(t.Context())
		if err != nil || sequences(page) != want || page.Trimmed {
			t.Fatalf("got %q, trimmed %v, %v, want %q", sequences(page), page.Trimmed, err, want)
		}
	}
	if renewed := s.asked[3]; renewed["ShardIteratorType"] != "AT_SEQUENCE_NUMBER" || renewed["StartingSequenceNumber"] != "6" {
		t.Errorf("renewed with %v", renewed)
	}
}

func TestReaderNoticesATrimmedPositionAcrossEmptyPages(t *testing.T) {
	_, a := scripted(t, iterator("a"), records("b"), records("c", "9"))
	r := a.Stream("orders").Reader(shard0, stream.AfterSequence("5"))
	page, err := r.Next(t.Context())
	if err != nil || page.Trimmed || len(page.Records) != 0 {
		t.Fatalf("first page: %+v, %v", page, err)
	}
	if page, err = r.Next(t.Context()); err != nil || !page.Trimmed || sequences(page) != "9" {
		t.Fatalf("second page: %+v, %v", page, err)
	}
}

func TestReaderThatStartedAtLatestDoesNotSkipWhenItsIteratorExpiresUnused(t *testing.T) {
	s, a := scripted(t,
		iterator("a"), records("b"),
		refuse("GetRecords", "ExpiredIteratorException"), iterator("c"), records("d", "5"))
	r := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.Latest})
	before := float64(time.Now().Unix())
	for range 2 {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	renewed := s.asked[3]
	at, _ := renewed["Timestamp"].(float64)
	if renewed["ShardIteratorType"] != "AT_TIMESTAMP" || at > before || at < before-10 {
		t.Errorf("renewed with %v, opened at %.0f", renewed, before)
	}
}

func TestReaderKeepsItsIteratorWhenThrottled(t *testing.T) {
	s, a := scripted(t, iterator("a"), refuse("GetRecords", "ProvisionedThroughputExceededException"), records("b", "5"))
	r := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.TrimHorizon})
	asked := time.Now()
	if _, err := r.Next(t.Context()); !errors.Is(err, stream.ErrThrottled) {
		t.Fatalf("got %v", err)
	}
	if wait := r.NotBefore().Sub(asked); wait < throttleWindow || wait > 2*throttleWindow {
		t.Errorf("the next call is allowed %s later", wait)
	}
	page, err := r.Next(t.Context())
	if err != nil || sequences(page) != "5" {
		t.Fatalf("got %q, %v", sequences(page), err)
	}
	if s.asked[2]["ShardIterator"] != "a" {
		t.Errorf("asked with iterator %v", s.asked[2]["ShardIterator"])
	}
}

func TestReaderDeliversTheLastRecordsOfAShard(t *testing.T) {
	_, a := scripted(t, iterator("a"), records("", "5", "6"))
	r := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.TrimHorizon})
	page, err := r.Next(t.Context())
	if err != nil || sequences(page) != "5 6" || !page.Ended {
		t.Fatalf("got %+v, %v", page, err)
	}
	again, err := r.Next(t.Context()) // no call: the script is at its end
	if err != nil || !again.Ended || len(again.Records) != 0 {
		t.Fatalf("asked again: %+v, %v", again, err)
	}
}

func TestReaderAtTheEndOfAShardMakesNoCall(t *testing.T) {
	_, a := scripted(t)
	page, err := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.ShardEnd}).Next(t.Context())
	if err != nil || !page.Ended {
		t.Errorf("got %+v, %v", page, err)
	}
}

func TestReaderTellsErrorsApart(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []answer
		from    stream.Position
		want    error
	}{
		{"a sequence number of another stream", []answer{refuse("GetShardIterator", "InvalidArgumentException")}, stream.AfterSequence("5"), stream.ErrBadPosition},
		{"no such shard", []answer{refuse("GetShardIterator", "ResourceNotFoundException")}, stream.AfterSequence("5"), stream.ErrGone},
		{"denied", []answer{refuse("GetShardIterator", "AccessDeniedException")}, stream.AfterSequence("5"), stream.ErrDenied},
		{"too many iterators", []answer{refuse("GetShardIterator", "ProvisionedThroughputExceededException")}, stream.AfterSequence("5"), stream.ErrThrottled},
		{"no position", nil, stream.Position{}, stream.ErrBadPosition},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, a := scripted(t, c.answers...)
			_, err := a.Stream("orders").Reader(shard0, c.from).Next(t.Context())
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), shard0.ID) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

func TestReaderGivesUpOnAnIteratorThatIsNeverGood(t *testing.T) {
	var answers []answer
	for range maxRenewals + 1 {
		answers = append(answers, iterator("a"), refuse("GetRecords", "ExpiredIteratorException"))
	}
	_, a := scripted(t, answers...)
	if _, err := a.Stream("orders").Reader(shard0, stream.Position{Sequence: stream.TrimHorizon}).Next(t.Context()); err == nil {
		t.Error("no error")
	}
}

func TestReaderPacesByCallsAndBytes(t *testing.T) {
	var r ShardReader
	asked := time.Now()
	for read, want := range map[int]time.Duration{0: callGap, 1 << 10: callGap, 2 << 20: time.Second, 10 << 20: 5 * time.Second} {
		r.pace(asked, read, nil)
		if got := r.NotBefore().Sub(asked); got != want+callMargin {
			t.Errorf("after %d bytes: %s, want %s", read, got, want)
		}
	}
}

func TestStreamGivenAsARN(t *testing.T) {
	const arn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
	s, a := scripted(t, iterator("a"), records("b"))
	st := a.Stream(arn)
	if st.Name() != "orders" {
		t.Errorf("name %q", st.Name())
	}
	if _, err := st.Reader(shard0, stream.Position{Sequence: stream.TrimHorizon}).Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, asked := range s.asked {
		if asked["StreamARN"] != arn || asked["StreamName"] != nil {
			t.Errorf("asked with %v", asked)
		}
	}
}

func TestShardsFollowsPagesAndStartsAgainWhenItsTokenExpired(t *testing.T) {
	first := answer{"ListShards", 200, `{"NextToken":"t","Shards":[{"ShardId":"s0","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"8"}}]}`}
	second := answer{"ListShards", 200, `{"Shards":[{"ShardId":"s1","ParentShardId":"s0","AdjacentParentShardId":"sx","HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"9"}}]}`}
	s, a := scripted(t, first, refuse("ListShards", "ExpiredNextTokenException"), first, second)
	got, err := a.Stream("orders").Shards(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint([]stream.Shard{
		{ID: "s0", HashStart: "0", HashEnd: "9", Closed: true, FirstSequence: "1", ClosedSequence: "8"},
		{ID: "s1", Parents: []string{"s0", "sx"}, HashStart: "0", HashEnd: "9", FirstSequence: "9"},
	})
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if last := s.asked[3]; last["NextToken"] != "t" || last["StreamName"] != nil {
		t.Errorf("the second page was asked for with %v", last)
	}
}
