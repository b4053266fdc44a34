package stream

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const lastHashKey = "340282366920938463463374607431768211455" // 2^128-1

var everything = Shard{ID: "shardId-000000000000", HashStart: "0", HashEnd: lastHashKey}

// field is one protobuf field with bytes in it; n must be below 16 and the
// value below 128 bytes.
func field(n byte, value string) string { return string([]byte{n<<3 | 2, byte(len(value))}) + value }

// number is one protobuf field with a number in it.
func number(n byte, value uint64) string {
	return string(binary.AppendUvarint([]byte{n << 3}, value))
}

// user is a user record of an aggregate.
func user(key uint64, data string) string { return field(3, number(1, key)+field(3, data)) }

// packed is an aggregated record around a message.
func packed(message string) []byte {
	sum := md5.Sum([]byte(message))
	return []byte(aggregateMagic + message + string(sum[:]))
}

func outer(data []byte) Record {
	return Record{SequenceNumber: "49590338", PartitionKey: "outer", ArrivedAt: time.UnixMilli(1795163730123).UTC(), Data: data}
}

// The bytes of a whole aggregate, its checksum made by another program:
// keys "a" and "bc", explicit hash key "5", records "hi" of "a" and "x" of "bc"
// at the explicit hash key and with a tag.
func TestDeaggregateGolden(t *testing.T) {
	data, err := hex.DecodeString("f3899ac2" +
		"0a0161" + "0a026263" + "120135" +
		"1a06" + "0800" + "1a026869" +
		"1a0c" + "0801" + "1000" + "1a0178" + "22030a0174" +
		"3ed25711a132e83257e304e9d78a9869")
	if err != nil {
		t.Fatal(err)
	}
	arrived := outer(nil).ArrivedAt
	want := []Record{
		{SequenceNumber: "49590338", SubSequence: 0, PartitionKey: "a", ArrivedAt: arrived, Data: []byte("hi")},
		{SequenceNumber: "49590338", SubSequence: 1, PartitionKey: "bc", ArrivedAt: arrived, Data: []byte("x")},
	}
	got := Deaggregate(outer(data), everything, nil)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
	if &got[0].Data[0] != &data[bytes.Index(data, []byte("hi"))] {
		t.Error("the data was copied")
	}
	if cap(got[0].Data) != len(got[0].Data) {
		t.Error("appending to one record would write into the next")
	}

	first := Record{SequenceNumber: "1", Data: []byte("before")}
	if got := Deaggregate(outer(data), everything, []Record{first}); len(got) != 3 || got[0].SequenceNumber != "1" ||
		got[1].SubSequence != 0 || got[2].SubSequence != 1 {
		t.Errorf("behind another record: %+v", got)
	}
}

func TestDeaggregateTakesWhatIsBrokenAsPlain(t *testing.T) {
	good := field(1, "k") + user(0, "data")
	wrongSum := packed(good)
	wrongSum[len(wrongSum)-1] ^= 1
	flipped := packed(good)
	flipped[6] ^= 1
	for name, data := range map[string][]byte{
		"plain":                  []byte(`{"order_id":"o"}`),
		"empty":                  {},
		"part of the magic":      []byte("\xF3\x89\x9A"),
		"magic alone":            []byte(aggregateMagic),
		"no room for a message":  packed(""),
		"checksum":               wrongSum,
		"message":                flipped,
		"cut short":              packed(good)[:len(packed(good))-1],
		"text after":             append(packed(good), 'x'),
		"other magic":            append([]byte("\xF3\x89\x9A\xC3"), packed(good)[4:]...),
		"key index":              packed(field(1, "k") + user(1, "data")),
		"key index of 64 bits":   packed(field(1, "k") + user(1<<64-1, "data")),
		"no key table":           packed(user(0, "data")),
		"good, then bad index":   packed(good + user(7, "data")),
		"hash index":             packed(good + field(2, "5") + field(3, number(1, 0)+number(2, 1)+field(3, "x"))),
		"hash index of 64 bits":  packed(good + field(2, "5") + field(3, number(1, 0)+number(2, 1<<64-1)+field(3, "x"))),
		"hash key in letters":    packed(good + field(2, "5x")),
		"hash key empty":         packed(good + field(2, "")),
		"hash key of 2^128":      packed(good + field(2, "340282366920938463463374607431768211456")),
		"hash key of 40 digits":  packed(good + field(2, strings.Repeat("9", 40))),
		"record without a key":   packed(field(1, "k") + field(3, field(3, "data"))),
		"record without data":    packed(field(1, "k") + field(3, number(1, 0))),
		"data as a number":       packed(field(1, "k") + field(3, number(1, 0)+number(3, 4))),
		"length beyond the end":  packed(good + "\x1a\x7f"),
		"length of 64 bits":      packed(good + "\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
		"length without end":     packed(good + "\x1a\xff"),
		"number of 70 bits":      packed(good + "\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
		"field 0":                packed(good + "\x02\x01x"),
		"field number too large": packed(good + "\xfa\xff\xff\xff\xff\x01\x00"),
		"group":                  packed(good + "\x2b\x2c"),
		"wire type 7":            packed(good + "\x2f\x00"),
		"short fixed64":          packed(good + "\x29\x01\x02\x03"),
		"bad inner field":        packed(field(1, "k") + field(3, number(1, 0)+field(3, "d")+"\x1a\x05")),
	} {
		r := outer(data)
		if got := Deaggregate(r, everything, nil); !reflect.DeepEqual(got, []Record{r}) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDeaggregateReadsWhatProtobufAllows(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		want    []string
	}{
		"tables behind the records": {user(1, "x") + user(0, "y") + field(1, "a") + field(1, "b"), []string{"b x", "a y"}},
		"unknown fields": {
			number(9, 300) + field(1, "a") + field(8, "new") + "\x29\x01\x02\x03\x04\x05\x06\x07\x08" + "\x2d\x01\x02\x03\x04" +
				field(3, number(7, 1)+number(1, 0)+field(6, "new")+field(3, "x")),
			[]string{"a x"},
		},
		"the last of a field counts":    {field(1, "a") + field(1, "b") + field(3, number(1, 0)+field(3, "x")+field(3, "y")+number(1, 1)), []string{"b y"}},
		"known numbers in other shapes": {number(1, 5) + field(1, "a") + field(3, field(1, "?")+number(1, 0)+field(3, "x")), []string{"a x"}},
		"empty data and empty key":      {field(1, "") + user(0, ""), []string{" "}},
		"an aggregate of an aggregate":  {field(1, "a") + user(0, string(packed(field(1, "b")+user(0, "x")))), []string{"a " + string(packed(field(1, "b")+user(0, "x")))}},
		"no records":                    {field(1, "a"), nil},
	} {
		var got []string
		for _, r := range Deaggregate(outer(packed(c.message)), everything, nil) {
			got = append(got, r.PartitionKey+" "+string(r.Data))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// The hash of "a" is 16955237001963240173058271559858726497, as another
// program says; an explicit hash key goes before it.
func TestDeaggregateFiltersByHashRange(t *testing.T) {
	const hashOfA = "16955237001963240173058271559858726497"
	plain := field(1, "a") + user(0, "x")
	explicit := field(1, "a") + field(2, "500") + field(2, lastHashKey)
	at := func(index uint64) string { return field(3, number(1, 0)+number(2, index)+field(3, "x")) }
	for _, c := range []struct {
		name, start, end, message string
		want                      int
	}{
		{"the range is one key", hashOfA, hashOfA, plain, 1},
		{"just above", "16955237001963240173058271559858726498", lastHashKey, plain, 0},
		{"just below", "0", "16955237001963240173058271559858726496", plain, 0},
		{"explicit", "500", "500", explicit + at(0), 1},
		{"explicit, last of all", lastHashKey, lastHashKey, explicit + at(1), 1},
		{"explicit outside", "501", lastHashKey, explicit + at(0), 0},
		{"first in, second out", "0", "600", explicit + at(0) + at(1), 0},
		{"first in, second out, third in", "0", "600", explicit + at(0) + at(1) + at(0), 0},
		{"first out, second in", "0", "600", explicit + at(1) + at(0), 0},
		{"all in", "0", lastHashKey, explicit + at(0) + at(1) + user(0, "y"), 3},
		{"a shard of no known range", "", "", explicit + at(0) + at(1), 2},
	} {
		earlier := []Record{{SequenceNumber: "1"}}
		got := Deaggregate(outer(packed(c.message)), Shard{HashStart: c.start, HashEnd: c.end}, earlier)
		if len(got) != c.want+1 || got[0].SequenceNumber != "1" {
			t.Errorf("%s: %d records, want %d", c.name, len(got)-1, c.want)
		}
	}
}

func TestHashKeyAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	limit := new(big.Int).Lsh(big.NewInt(1), 128)
	value := func(h hashKey) *big.Int {
		n := new(big.Int).Lsh(new(big.Int).SetUint64(h.hi), 64)
		return n.Or(n, new(big.Int).SetUint64(h.lo))
	}
	var before hashKey
	for range 20_000 {
		digits := make([]byte, 1+r.IntN(41))
		for i := range digits {
			digits[i] = byte('0' + r.IntN(10))
		}
		want, _ := new(big.Int).SetString(string(digits), 10)
		got, ok := parseHashKey(string(digits))
		if ok != (want.Cmp(limit) < 0) || ok && value(got).Cmp(want) != 0 {
			t.Fatalf("%s: %v %v", digits, value(got), ok)
		}
		if ok {
			if got.less(before) != (want.Cmp(value(before)) < 0) {
				t.Fatalf("%v less than %v: %v", want, value(before), got.less(before))
			}
			before = got
		}
	}
}

// FuzzDeaggregate gives the message a right checksum, without which the
// fuzzer would never get behind it.
func FuzzDeaggregate(f *testing.F) {
	f.Add([]byte("plain"), false)
	f.Add([]byte(field(1, "a")+field(2, "500")+user(0, "x")+field(3, number(1, 0)+number(2, 0)+field(3, "y"))), true)
	f.Add([]byte(user(1, "x")+field(1, "a")+field(1, "b")+number(9, 300)), true)
	f.Add([]byte(field(1, "a")), true)
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		if seal {
			data = packed(string(data))
		}
		r := outer(data)
		got := Deaggregate(r, everything, nil)
		message, sealed := aggregateMessage(data)
		if len(got) == 0 {
			if a, ok := parseAggregate(message); !sealed || !ok {
				t.Fatalf("%q was lost: %+v", data, a)
			}
			return
		}
		if !sealed {
			checkEvents(t, data)
		}
		total := 0
		for i, u := range got {
			total += len(u.Data)
			if u.SubSequence != int64(i) || u.SequenceNumber != r.SequenceNumber || !u.ArrivedAt.Equal(r.ArrivedAt) {
				t.Fatalf("record %d is %+v", i, u)
			}
		}
		if total > len(data) {
			t.Fatalf("%d bytes came out of %d", total, len(data))
		}
		half := Shard{HashStart: "0", HashEnd: "170141183460469231731687303715884105727"}
		if n := len(Deaggregate(r, half, nil)); n != 0 && n != len(got) {
			t.Fatalf("%d of %d records: an aggregate is taken whole or not at all", n, len(got))
		}
	})
}

func BenchmarkDeaggregate(b *testing.B) {
	var message strings.Builder
	message.WriteString(field(1, "a") + field(1, "b"))
	for i := range 100 {
		message.WriteString(user(uint64(i%2), strings.Repeat("x", 100)))
	}
	plain, aggregated := outer(bytes.Repeat([]byte("x"), 200)), outer(packed(message.String()))
	dst := make([]Record, 0, 200)
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = Deaggregate(plain, everything, dst[:0])
		}
	})
	b.Run("100 records", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			dst = Deaggregate(aggregated, everything, dst[:0])
		}
	})
}
