package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/middleware"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// madeOrder is an order of 213 bytes.
func madeOrder(rng *rand.Rand) []byte {
	return fmt.Appendf(nil, `{"order_id":"ord-%016x","customer_id":"cust-%08x","store_id":%d,"total_amount":%d.%02d,"item_count":%d,"event_type":"order_created","event_timestamp":"2026-11-23T07:08:09.%06dZ","source":"%s"}`,
		rng.Uint64(), rng.Uint32(), 1+rng.IntN(9), 1+rng.IntN(9), rng.IntN(100), 1+rng.IntN(9), rng.IntN(1e6), "order-service-2a")
}

// orderPage is a reply of n orders.
func orderPage(n int) any {
	rng := rand.New(rand.NewPCG(7, 7))
	records := make(list, n)
	for i := range records {
		records[i] = object{
			"ApproximateArrivalTimestamp", at(1763881689000 + int64(i)), "Data", madeOrder(rng), "EncryptionType", "NONE",
			"PartitionKey", fmt.Sprintf("cust-%08x", rng.Uint32()), "SequenceNumber", fmt.Sprintf("4965%052d", i),
		}
	}
	return object{"MillisBehindLatest", 1000, "NextShardIterator", strings.Repeat("A", 240), "Records", records}
}

// orderPageJSON is orderPage in JSON.
func orderPageJSON(n int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	b := []byte(`{"MillisBehindLatest":1000,"NextShardIterator":"` + strings.Repeat("A", 240) + `","Records":[`)
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		data := base64.StdEncoding.EncodeToString(madeOrder(rng))
		b = fmt.Appendf(b, `{"ApproximateArrivalTimestamp":%d.%03d,"Data":%q,"PartitionKey":"cust-%08x","SequenceNumber":"4965%052d"}`,
			1763881689+i/1000, i%1000, data, rng.Uint32(), i)
	}
	return append(b, `]}`...)
}

// canned answers every request with one body, in the request's language, or in
// the only one that it has.
type canned map[string][]byte // by content type

const contentJSON = "application/x-amz-json-1.1"

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	content, status := r.Header.Get("Content-Type"), http.StatusOK
	body := c[content]
	if body == nil {
		content, status, body = contentJSON, http.StatusBadRequest, []byte(`{"__type":"SerializationException"}`)
	}
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {content}},
		ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

func cannedAccount(c canned) *Account {
	a := &Account{cfg: sdk.Config{
		Region: "us-east-1", HTTPClient: &http.Client{Transport: c},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
		APIOptions: []func(*middleware.Stack) error{guardReplies},
	}}
	a.openKinesis()
	return a
}

var anIterator = &kinesis.GetRecordsInput{ShardIterator: sdk.String("i")}

// TestBothLanguagesSayTheSame reads one page in CBOR, and from a service that
// knows JSON only.
func TestBothLanguagesSayTheSame(t *testing.T) {
	const n = 100
	inCBOR, err := cannedAccount(canned{contentCBOR: encoded(t, orderPage(n))}).getRecords(t.Context(), stream.Shard{}, nil, anIterator)
	if err != nil {
		t.Fatal(err)
	}
	a := cannedAccount(canned{contentJSON: orderPageJSON(n)})
	for range 2 { // the second time the language is known
		inJSON, err := a.getRecords(t.Context(), stream.Shard{}, nil, anIterator)
		if err != nil {
			t.Fatal(err)
		}
		got, want := *inJSON, *inCBOR
		if len(got.records) != n || got.free != nil || got.held <= 0 {
			t.Errorf("%d records that hold %d bytes", len(got.records), got.held)
		}
		got.held, want.held, want.free, want.cbor, want.decoded = 0, 0, nil, false, false
		sameReply(t, got, want)
	}
	if a.reading.spoken.Load() != -1 {
		t.Error("the service is asked in CBOR again and again")
	}
}

// TestRefusalsInCBORAreUnderstood: errors keep their names and their words.
func TestRefusalsInCBORAreUnderstood(t *testing.T) {
	_, a := scripted(t, records("b"), refuse("GetRecords", "ExpiredIteratorException"), refuse("GetRecords", "KMSDisabledException"))
	if _, err := a.getRecords(t.Context(), shard0, nil, anIterator); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ExpiredIteratorException", "KMSDisabledException"} {
		_, err := a.getRecords(t.Context(), shard0, nil, anIterator)
		if got := refusalOf(err); got.Code != want || got.Message != "no" {
			t.Errorf("got %+v of %v, want %s", got, err, want)
		}
	}
}

// TestOneOddAnswerDoesNotChangeTheLanguage: a proxy's page in between is an
// error like others once the service has spoken CBOR.
func TestOneOddAnswerDoesNotChangeTheLanguage(t *testing.T) {
	s, a := scripted(t, records("b"), answer{"GetRecords", 400, "odd"}, records("c"))
	for i, wantErr := range []bool{false, true, false} {
		if _, err := a.getRecords(t.Context(), shard0, nil, anIterator); (err != nil) != wantErr || errors.Is(err, errNotCBOR) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	for i, asked := range s.asked {
		if asked["content"] != contentCBOR {
			t.Errorf("call %d was in %v", i, asked["content"])
		}
	}
}

func TestARequestInCBORHoldsAllThatTheSDKWouldSend(t *testing.T) {
	s, a := scripted(t, records("b"))
	_, err := a.getRecords(t.Context(), shard0, nil, &kinesis.GetRecordsInput{
		ShardIterator: sdk.String("i"), Limit: sdk.Int32(7), StreamARN: sdk.String("arn:aws:kinesis:us-east-1:123456789012:stream/orders"),
	})
	if err != nil {
		t.Fatal(err)
	}
	asked := s.asked[0]
	if asked["ShardIterator"] != "i" || fmt.Sprint(asked["Limit"]) != "7" || asked["StreamARN"] != "arn:aws:kinesis:us-east-1:123456789012:stream/orders" {
		t.Errorf("asked for %v", asked)
	}
}

// TestARecordOutlivesOthersButNotItsPage: the memory of a page is used again
// once it was given back, and not before.
func TestARecordOutlivesOthersButNotItsPage(t *testing.T) {
	a := cannedAccount(canned{contentCBOR: encoded(t, orderPage(1000))})
	a.reading.pages.scribble = true
	first, err := a.getRecords(t.Context(), stream.Shard{}, nil, anIterator)
	if err != nil {
		t.Fatal(err)
	}
	position := stream.After(first.records[999])
	for range 20 {
		other, err := a.getRecords(t.Context(), stream.Shard{}, nil, anIterator)
		if err != nil {
			t.Fatal(err)
		}
		other.free()
	}
	for i, r := range first.records {
		if want := fmt.Sprintf("4965%052d", i); r.SequenceNumber != want || !json.Valid(r.Data) {
			t.Fatalf("record %d is %s: %s", i, r.SequenceNumber, r.Data)
		}
	}
	first.free()
	if want := fmt.Sprintf("4965%052d", 999); position.Sequence != want {
		t.Errorf("the position is %s", position.Sequence)
	}
}

// BenchmarkGetRecords is the decoding of a reply through the whole SDK client,
// with the SDK's own decoder and with ours, per record.
func BenchmarkGetRecords(b *testing.B) {
	const n = 10_000
	page := encoded(b, orderPage(n))
	a := cannedAccount(canned{contentCBOR: page, contentJSON: orderPageJSON(n)})
	perRecord := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	}
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out, err := a.kinesis.GetRecords(b.Context(), anIterator)
			if err != nil || len(out.Records) != n {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, err := a.getRecords(b.Context(), stream.Shard{}, nil, anIterator)
			if err != nil || len(r.records) != n {
				b.Fatal(err)
			}
			r.free()
		}
		perRecord(b)
	})
	b.Run("decode alone", func(b *testing.B) {
		b.ReportAllocs()
		m := &pageMemory{body: page}
		for b.Loop() {
			var r reply
			if !r.scan(m) {
				b.Fatal("not scanned")
			}
		}
		perRecord(b)
	})
}
