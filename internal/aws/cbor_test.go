package aws

import (
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// object is a map whose members are written in order.
type object []any

func (o object) MarshalCBOR() ([]byte, error) {
	out := []byte{cborMap<<5 | byte(len(o)/2)} // up to 23 members
	for _, v := range o {
		b, err := cbor.Marshal(v)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	b, err := cbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at is a time as AWS writes it: milliseconds, although the tag says seconds.
func at(ms int64) cbor.Tag { return cbor.Tag{Number: 1, Content: ms} }

type list = []any

// samples are replies as services write them: plain ones, which the scanner
// takes itself, and odd ones, which it leaves to smithy's decoder.
var samples = []struct {
	name  string
	reply any
	plain bool
}{
	{"as AWS writes it", object{
		"MillisBehindLatest", 1200, "NextShardIterator", "AAAA/+==", "Records", list{
			object{"ApproximateArrivalTimestamp", at(1459799926480), "Data", []byte("blob"), "EncryptionType", "NONE", "PartitionKey", "k", "SequenceNumber", "49557632290893146"},
			object{"ApproximateArrivalTimestamp", at(1459799926481), "Data", []byte{}, "PartitionKey", "partition-key-8", "SequenceNumber", "49557632290893147"},
		},
	}, true},
	{"other order, unknown members", object{
		"Records",
		list{object{"SequenceNumber", "1", "X", object{"a", list{1, -2, "}"}, "c", nil, "t", at(7)}, "Data", []byte("hi"), "PartitionKey", "p"}},
		"New",
		list{true, false, nil, 1.5, float32(2.5)},
		"MillisBehindLatest", 0, "NextShardIterator", "i",
	}, true},
	{"times as seconds and as floats", object{"Records", list{
		object{"SequenceNumber", "1", "ApproximateArrivalTimestamp", cbor.Tag{Number: 1, Content: 1459799926.48}},
		object{"SequenceNumber", "2", "ApproximateArrivalTimestamp", 1459799926480.0},
		object{"SequenceNumber", "3", "ApproximateArrivalTimestamp", 1459799926},
	}, "NextShardIterator", "i"}, true},
	{"Unicode in keys", object{"Records", list{object{"SequenceNumber", "1", "PartitionKey", "a\"b\\żółw😀", "Data", []byte("hi")}}, "NextShardIterator", "i"}, true},
	{"end of a shard", object{"ChildShards", list{object{
		"ShardId", "shardId-000000000001", "ParentShards",
		list{"shardId-000000000000"},
		"HashKeyRange",
		object{"StartingHashKey", "0", "EndingHashKey", "7"},
	}}, "MillisBehindLatest", 0, "Records", list{object{"SequenceNumber", "1", "Data", []byte("hi"), "PartitionKey", "p"}}}, true},
	{"nothing", object{"Records", list{}, "NextShardIterator", "i", "MillisBehindLatest", 0}, true},
	{"no partition key", object{"Records", list{object{"SequenceNumber", "1", "Data", []byte("hi")}}, "NextShardIterator", "i"}, true},
	{"a member twice", object{"Records", list{object{"SequenceNumber", "1"}}, "Records", list{object{"SequenceNumber", "2"}}, "NextShardIterator", "i"}, true},
	{"without lengths", cbor.RawMessage("\xbf" +
		"\x67Records\x9f\xbf\x6eSequenceNumber\x617\x64Data\x42hi\xff\xff" + "\x71NextShardIterator\x61i\xff"), true},
	{"texts in pieces", cbor.RawMessage("\xa2" +
		"\x67Records\x81\xa2\x6eSequenceNumber\x7f\x614\x619\xff\x64Data\x5f\x42he\x43llo\xff" + "\x71NextShardIterator\x7f\x61i\xff"), false},
	{"half a float", cbor.RawMessage("\xa2\x72MillisBehindLatest\xf9\x3c\x00\x71NextShardIterator\x61i"), false},
	{"nulls", object{"Records", list{object{"SequenceNumber", "1", "Data", []byte("hi"), "PartitionKey", nil, "ApproximateArrivalTimestamp", nil}}, "MillisBehindLatest", nil, "NextShardIterator", nil}, false},
}

func TestScanAgreesWithSmithy(t *testing.T) {
	for _, c := range samples {
		t.Run(c.name, func(t *testing.T) {
			body := encoded(t, c.reply)
			var want reply
			m := &pageMemory{body: body}
			if err := want.decodeAny(m); err != nil {
				t.Fatal(err)
			}
			want.records = m.records
			var got reply
			m = &pageMemory{body: body}
			if ok := got.scan(m); ok != c.plain {
				t.Fatalf("scan took it: %v, want %v", ok, c.plain)
			}
			got.records = m.records
			if c.plain {
				sameReply(t, got, want)
			}
		})
	}
}

func TestScanReadsWhatTheServiceSaid(t *testing.T) {
	var got reply
	m := &pageMemory{body: encoded(t, samples[0].reply)}
	if !got.scan(m) {
		t.Fatal("not scanned")
	}
	want := []stream.Record{
		{SequenceNumber: "49557632290893146", PartitionKey: "k", ArrivedAt: time.UnixMilli(1459799926480).UTC(), Data: []byte("blob")},
		{SequenceNumber: "49557632290893147", PartitionKey: "partition-key-8", ArrivedAt: time.UnixMilli(1459799926481).UTC(), Data: []byte{}},
	}
	if !reflect.DeepEqual(m.records, want) {
		t.Errorf("records\n got %+v\nwant %+v", m.records, want)
	}
	if got.next != "AAAA/+==" || got.behind != 1200*time.Millisecond || got.first != want[0].SequenceNumber {
		t.Errorf("got next %q, behind %s, first %s", got.next, got.behind, got.first)
	}
	if wantRead := len("blob") + len("k") + len("partition-key-8"); got.read != wantRead {
		t.Errorf("metered %d bytes, want %d", got.read, wantRead)
	}
}

// Some services put base64 into CBOR, as they do into JSON.
func TestDataMayBeBase64(t *testing.T) {
	r := reply{}
	m := &pageMemory{body: encoded(t, object{"Records", list{object{"SequenceNumber", "1", "Data", "YmxvYg=="}}})}
	if r.scan(m) {
		t.Error("scanned as it is")
	}
	if err := r.decodeAny(m); err != nil || string(m.records[0].Data) != "blob" {
		t.Errorf("got %q, %v", m.records[0].Data, err)
	}
}

func TestTimesAreReadToTheMillisecond(t *testing.T) {
	var got reply
	m := &pageMemory{body: encoded(t, samples[2].reply)}
	if !got.scan(m) {
		t.Fatal("not scanned")
	}
	for i, want := range []int64{1459799926480, 1459799926480, 1459799926000} {
		if at := m.records[i].ArrivedAt.UnixMilli(); at != want {
			t.Errorf("record %d arrived at %d, want %d", i, at, want)
		}
	}
}

// TestScanRefusesBrokenReplies cuts each sample short at each byte, and turns
// single bytes: neither decoder may panic, and what is cut is refused.
func TestScanRefusesBrokenReplies(t *testing.T) {
	for _, c := range samples {
		whole := encoded(t, c.reply)
		for n := range whole {
			var r reply
			m := &pageMemory{body: whole[:n]}
			if r.scan(m) {
				t.Errorf("%s: its first %d bytes were scanned", c.name, n)
			}
			if err := r.decodeAny(m); err == nil {
				t.Errorf("%s: its first %d bytes were decoded", c.name, n)
			}
		}
	}
	for _, body := range []any{
		list{},
		7, "", nil,
		object{"Records", object{}},
		object{"Records", list{7}},
		object{"Records", list{object{"Data", "no base64"}}},
		object{"Records", list{object{"SequenceNumber", 7}}},
		object{"Records", list{object{"PartitionKey", []byte("k")}}},
		object{"Records", list{object{"ApproximateArrivalTimestamp", "now"}}},
		object{"NextShardIterator", 7},
		object{"MillisBehindLatest", "x"},
		object{"ChildShards", 7},
		object{"ChildShards", list{7}},
		object{"ChildShards", list{object{"ShardId", 7}}},
		object{"ChildShards", list{object{"ShardId", "s", "ParentShards", list{7}}}},
	} {
		var r reply
		m := &pageMemory{body: encoded(t, body)}
		if r.scan(m) {
			t.Errorf("%v was scanned", body)
		}
		if err := r.decodeAny(m); err == nil {
			t.Errorf("%v was decoded", body)
		}
	}
}

// FuzzRecordsReply: what the scanner takes, smithy's decoder takes too, and both
// read the same.
func FuzzRecordsReply(f *testing.F) {
	for _, c := range samples {
		f.Add(encoded(f, c.reply))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want reply
		scanned := &pageMemory{body: body}
		ok := got.scan(scanned)
		m := &pageMemory{body: body}
		err := want.decodeAny(m)
		if !ok {
			return
		}
		if err != nil {
			t.Fatalf("scanned, but smithy's decoder says: %v", err)
		}
		got.records, want.records = scanned.records, m.records
		sameReply(t, got, want)
	})
}

func sameReply(t *testing.T, got, want reply) {
	t.Helper()
	for _, r := range []*reply{&got, &want} {
		for i := range r.records {
			r.records[i].Data = append([]byte{}, r.records[i].Data...)
		}
		r.records = append([]stream.Record{}, r.records...)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestAPageCostsFewAllocations(t *testing.T) {
	m := &pageMemory{body: encoded(t, orderPage(1000))}
	var r reply
	r.scan(m) // the memory of the records grows once
	allocs := testing.AllocsPerRun(5, func() {
		r = reply{}
		if !r.scan(m) || len(m.records) != 1000 {
			t.Fatal("not scanned")
		}
	})
	if allocs > 2 {
		t.Errorf("%v allocations for a page of 1,000 records", allocs)
	}
}

func TestSizeClassesFitClosely(t *testing.T) {
	sizes := map[int]int{} // by class
	check := func(n int) {
		class, size := classOf(n)
		if size < n || size > n+n/4+1 || class >= pageClasses || (class < 0) != (n <= smallPage) {
			t.Fatalf("%d bytes: class %d of %d bytes", n, class, size)
		}
		if known, seen := sizes[class]; class >= 0 && seen && known != size {
			t.Fatalf("class %d has %d and %d bytes", class, known, size)
		}
		sizes[class] = size
	}
	for n := smallPage - 1; n <= maxReply; n += 4093 {
		check(n)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		check(rng.IntN(maxReply + 1))
	}
	for doubling := smallPage; doubling <= maxReply; doubling *= 2 {
		check(doubling)
		check(min(doubling+1, maxReply))
	}
}

func TestPagesAreLentAgainAndScribbledOver(t *testing.T) {
	p := pages{scribble: true}
	m := p.take(smallPage + 1)
	copy(m.body, "an order")
	m.records = append(m.records, stream.Record{PartitionKey: shared(m.body[:8])})
	order := m.records[0].PartitionKey
	p.give(m)
	if strings.Contains(order, "order") || m.records[0].PartitionKey != "" {
		t.Error("what was given back can still be read")
	}
	if again := p.take(maxReply); again == m || len(again.body) != maxReply {
		t.Errorf("%d bytes in place of %d", len(again.body), maxReply)
	}
}
