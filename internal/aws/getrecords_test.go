package aws

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// samples are replies as services write them, with what the fast path makes of
// them: plain ones it decodes itself, odd ones it leaves to encoding/json.
var samples = []struct {
	name  string
	body  string
	plain bool
}{
	{"as AWS writes it", `{"MillisBehindLatest":1200,"NextShardIterator":"AAAA/+==","Records":[{"ApproximateArrivalTimestamp":1459799926.480,"Data":"YmxvYg==","EncryptionType":"NONE","PartitionKey":"k","SequenceNumber":"49557632290893146"},{"ApproximateArrivalTimestamp":1.459799926481E9,"Data":"","PartitionKey":"partition-key-8","SequenceNumber":"49557632290893147"}]}`, true},
	{"any order, white space, unknown members", "{ \"Records\" : [ {\n\"SequenceNumber\" : \"1\" , \"X\" : {\"a\":[1,{\"b\":\"}]\\\"\"}],\"c\":null} , \"Data\":\"aGVsbG8gd29ybGQsIGhlbGxv\" , \"PartitionKey\":\"p\"} ] , \"New\":[true,false], \"N\":-1.5e3, \"MillisBehindLatest\" : 0 , \"NextShardIterator\" : null } ", true},
	{"escapes and Unicode in keys", `{"Records":[{"SequenceNumber":"1","PartitionKey":"a\"b\\c\u00e9\ud83d\ude00","Data":"aGk="},{"SequenceNumber":"2","PartitionKey":"żółw","Data":"aGk="}],"NextShardIterator":"i"}`, true},
	{"end of a shard", `{"ChildShards":[{"ShardId":"shardId-000000000001","ParentShards":["shardId-000000000000"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"7"}}],"MillisBehindLatest":0,"Records":[{"SequenceNumber":"1","Data":"aGk=","PartitionKey":"p"}]}`, true},
	{"nothing", `{"Records":[],"NextShardIterator":"i","MillisBehindLatest":0}`, true},
	{"no partition key", `{"Records":[{"SequenceNumber":"1","Data":"aGk="}],"NextShardIterator":"i"}`, true},
	{"escaped base64", `{"Records":[{"SequenceNumber":"1","Data":"\/\/\/\/","PartitionKey":"p"}],"NextShardIterator":"i"}`, false},
	{"nulls", `{"Records":[{"SequenceNumber":"1","Data":"aGk=","PartitionKey":null,"ApproximateArrivalTimestamp":null}],"MillisBehindLatest":null,"NextShardIterator":"i"}`, false},
	{"escaped member name", `{"R\u0065cords":[{"SequenceNumber":"1","Data":"aGk="}],"NextShardIterator":"i"}`, false},
	{"line break in base64", `{"Records":[{"SequenceNumber":"1","Data":"aG\nk=","PartitionKey":"p"}],"NextShardIterator":"i"}`, false},
	{"given twice", `{"Records":[{"SequenceNumber":"9","Data":"aGk="}],"Records":[{"SequenceNumber":"1","Data":"eA==","Data":"aGk="}],"NextShardIterator":"a","NextShardIterator":"b"}`, true},
}

func TestScanAgreesWithEncodingJSON(t *testing.T) {
	for _, c := range samples {
		t.Run(c.name, func(t *testing.T) {
			var want reply
			if err := decodeAny([]byte(c.body), &want); err != nil {
				t.Fatal(err)
			}
			var got reply
			b := buffers{body: []byte(c.body)}
			if ok := b.scan(&got); ok != c.plain {
				t.Fatalf("scan took it: %v, want %v", ok, c.plain)
			}
			if c.plain {
				sameReply(t, got, want)
			}
		})
	}
}

func TestScanReadsWhatTheServiceSaid(t *testing.T) {
	var got reply
	b := buffers{body: []byte(samples[0].body)}
	if !b.scan(&got) {
		t.Fatal("not scanned")
	}
	want := []stream.Record{
		{SequenceNumber: "49557632290893146", PartitionKey: "k", ArrivedAt: time.UnixMilli(1459799926480).UTC(), Data: []byte("blob")},
		{SequenceNumber: "49557632290893147", PartitionKey: "partition-key-8", ArrivedAt: time.UnixMilli(1459799926481).UTC(), Data: []byte{}},
	}
	if !reflect.DeepEqual(got.records, want) {
		t.Errorf("records\n got %+v\nwant %+v", got.records, want)
	}
	if got.next != "AAAA/+==" || got.behind != 1200*time.Millisecond || got.first != want[0].SequenceNumber {
		t.Errorf("got next %q, behind %s, first %s", got.next, got.behind, got.first)
	}
	if wantRead := len("blob") + len("k") + len("partition-key-8"); got.read != wantRead {
		t.Errorf("metered %d bytes, want %d", got.read, wantRead)
	}
}

func TestScanRefusesBrokenReplies(t *testing.T) {
	for _, body := range []string{
		``, `{`, `[]`, `{"Records":`, `{"Records":[{"Data":"aGk"}]}`, `{"Records":[{"Data":"aGk="}]`, `{"Records":[{"Data":"aGk="},]}`,
		`{"Records":[]} x`, `{"Records":[],}`, `{"MillisBehindLatest":01}`, `{"MillisBehindLatest":1.}`, `{"MillisBehindLatest":1e}`,
		`{"MillisBehindLatest":99999999999999999999}`, `{"X":tru}`, `{"X":{]}`, `{"X":"` + "\x01" + `"}`, `{"X":"\q"}`, `{"ChildShards":7}`,
		`{"Records":[{"PartitionKey":"` + "\x02" + `","Data":"aGk="}]}`,
	} {
		var r reply
		b := buffers{body: []byte(body)}
		if b.scan(&r) {
			t.Errorf("%q was scanned", body)
		}
		if err := decodeAny([]byte(body), &r); err == nil {
			t.Errorf("%q was decoded", body)
		}
	}
}

func TestDecimalKeepsMillisecondsExact(t *testing.T) {
	for _, c := range []struct {
		text string
		want int64
		ok   bool
	}{
		{"1459799926.480", 1459799926480, true},
		{"1459799926.48", 1459799926480, true},
		{"1459799926", 1459799926000, true},
		{"1.459799926480E9", 1459799926480, true},
		{"1.45979992648e+09", 1459799926480, true},
		{"1459799926480e-3", 1459799926480, true},
		{"1459799926.4799999237060547", 1459799926480, true}, // a float that was printed whole
		{"1459799926.4804", 1459799926480, true},
		{"0.0005", 1, true},
		{"0.00049999", 0, true},
		{"-1.5", -1500, true},
		{"0", 0, true},
		{"0e999", 0, true},
		{"01", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{".5", 0, false},
		{"1e", 0, false},
		{"1e+", 0, false},
		{"1e1000", 0, false},
		{"1e30", 0, false},
		{"9223372036854775807", 0, false},
		{"1x", 0, false},
		{"1.2.3", 0, false},
	} {
		got, ok := decimal([]byte(c.text), 3)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: got %d, %v, want %d, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

// FuzzGetRecordsReply: what the scanner takes, encoding/json takes too, and both
// read the same.
func FuzzGetRecordsReply(f *testing.F) {
	for _, c := range samples {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want reply
		b := buffers{body: body}
		if !b.scan(&got) {
			return
		}
		if err := decodeAny(body, &want); err != nil {
			t.Fatalf("scanned, but encoding/json says: %v", err)
		}
		sameReply(t, got, want)
	})
}

func sameReply(t *testing.T, got, want reply) {
	t.Helper()
	for _, r := range []*reply{&got, &want} {
		r.held = 0 // the arenas differ, the content must not
		for i := range r.records {
			r.records[i].Data = append([]byte{}, r.records[i].Data...)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// page writes a reply of n orders of 213 bytes.
func page(n int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		order := fmt.Sprintf(`{"order_id":"ord-%016x","customer_id":"cust-%08x","store_id":%d,"total_amount":%d.%02d,"item_count":%d,"event_type":"order_created","event_timestamp":"2026-11-23T07:08:09.%06dZ","source":"%s"}`,
			rng.Uint64(), rng.Uint32(), 1+rng.IntN(9), 1+rng.IntN(9), rng.IntN(100), 1+rng.IntN(9), rng.IntN(1e6), "order-service-2a")
		fmt.Fprintf(&b, `{"SequenceNumber":"4965%052d","ApproximateArrivalTimestamp":%d.%03d,"Data":%q,"PartitionKey":"cust-%08x"}`,
			i, 1763881689+i/100, i%1000, base64.StdEncoding.EncodeToString([]byte(order)), rng.Uint32())
	}
	b.WriteString(`],"NextShardIterator":"` + strings.Repeat("A", 240) + `","MillisBehindLatest":1000}`)
	return b.Bytes()
}

// canned answers every request with one body.
type canned []byte

func (c canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
		ContentLength: int64(len(c)), Body: io.NopCloser(bytes.NewReader(c)),
	}, nil
}

func cannedAccount(body []byte) *Account {
	cfg := sdk.Config{
		Region: "us-east-1", HTTPClient: &http.Client{Transport: canned(body)},
		Credentials: sdk.CredentialsProviderFunc(func(context.Context) (sdk.Credentials, error) {
			return sdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	}
	return &Account{cfg: cfg, kinesis: newKinesis(cfg)}
}

func TestAPageCostsFewAllocations(t *testing.T) {
	body := page(1000)
	b := buffers{body: body}
	var r reply
	b.scan(&r) // the pooled buffers grow once
	allocs := testing.AllocsPerRun(5, func() {
		r = reply{}
		if !b.scan(&r) || len(r.records) != 1000 {
			t.Fatal("not scanned")
		}
	})
	if allocs > 10 {
		t.Errorf("%v allocations for a page of 1,000 records", allocs)
	}
}

// BenchmarkGetRecords is the decoding of a reply through the whole SDK client,
// with the SDK's own decoder and with ours, per record.
func BenchmarkGetRecords(b *testing.B) {
	const n = 10_000
	a := cannedAccount(page(n))
	in := &kinesis.GetRecordsInput{ShardIterator: sdk.String("i")}
	perRecord := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/record")
	}
	b.Run("sdk", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out, err := a.kinesis.GetRecords(b.Context(), in)
			if err != nil || len(out.Records) != n {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r reply
			if _, err := a.kinesis.GetRecords(withReply(b.Context(), &r), in); err != nil || len(r.records) != n {
				b.Fatal(err)
			}
		}
		perRecord(b)
	})
	b.Run("decode alone", func(b *testing.B) {
		b.ReportAllocs()
		buf := buffers{body: page(n)}
		for b.Loop() {
			var r reply
			if !buf.scan(&r) {
				b.Fatal("not scanned")
			}
		}
		perRecord(b)
	})
}
