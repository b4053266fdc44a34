package kinesis

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestJournal holds the journal against a plain slice, through random appends,
// trims, searches and reads.
func TestJournal(t *testing.T) {
	type record struct {
		ordinal uint64
		at      int64
		text    string
	}
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 0))
		j := newJournal()
		var kept []record
		now := int64(1000)
		for range 400 {
			switch rng.IntN(8) {
			case 0:
				horizon := now - rng.Int64N(200)
				j.trim(horizon)
				for len(kept) > 0 && kept[0].at <= horizon {
					kept = kept[1:]
				}
			case 1:
				at := now - rng.Int64N(300)
				want := j.next
				for _, r := range kept {
					if r.at >= at {
						want = r.ordinal
						break
					}
				}
				if got := j.since(at); got != want {
					t.Fatalf("seed %d: since(%d) is %d, want %d", seed, at, got, want)
				}
			case 2:
				from, limit, size := j.first+rng.Uint64N(j.next-j.first+3), 1+rng.IntN(50), 1+rng.IntN(2<<20)
				views, next, _ := j.read(nil, from, limit, size)
				var got []record
				for _, v := range views {
					start := v.start
					for i, e := range v.entries {
						got = append(got, record{v.first + uint64(i), e.at, string(v.text[start:e.end])})
						start = e.end
					}
				}
				var want []record
				bytes := 0
				for _, r := range kept {
					if r.ordinal < from {
						continue
					}
					if len(want) == limit || len(want) > 0 && bytes+len(r.text) > size {
						break
					}
					want, bytes = append(want, r), bytes+len(r.text)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d: read(%d, %d, %d) gave %d records, want %d", seed, from, limit, size, len(got), len(want))
				}
				if len(want) > 0 && next != want[len(want)-1].ordinal+1 {
					t.Fatalf("seed %d: next is %d", seed, next)
				}
			default:
				now += rng.Int64N(30)
				data := bytes.Repeat([]byte{byte('a' + rng.IntN(26))}, rng.IntN(200<<10)*rng.IntN(2))
				kept = append(kept, record{j.next, now, "k" + string(data)})
				j.append(now, []byte("k"), data)
			}
		}
	}
}

func TestPageHolds10MiB(t *testing.T) {
	st := newStream("s", "us-east-1", 1, time.Now())
	data := make([]byte, 1<<20-1) // with its key exactly 1 MiB
	for range 11 {
		st.put([]put{{key: []byte("k"), data: data}}, time.Now(), false)
	}
	p, ok := st.open[0].read(0, maxPageRecords, 0, time.Now(), false)
	if !ok || p.records() != 10 || p.behind == 0 || p.ended {
		t.Errorf("the first page: %v, %d records, lag %d; want the 10 that make 10 MiB, and a lag", ok, p.records(), p.behind)
	}
	p, ok = st.open[0].read(p.next, maxPageRecords, 0, time.Now(), false)
	if !ok || p.records() != 1 || p.behind != 0 {
		t.Errorf("the second page: %v, %d records, lag %d; want the last one", ok, p.records(), p.behind)
	}
}

func TestSequenceText(t *testing.T) {
	q := sequence{created: 1_795_420_100_392, at: 1_795_420_104_505, ordinal: 12_345, shard: 7}
	text := q.String()
	if len(text) != 56 {
		t.Errorf("%s has %d digits", text, len(text))
	}
	if back, ok := parseSequence(text); !ok || back != q {
		t.Errorf("%s reads as %+v", text, back)
	}
	for _, later := range []sequence{
		{created: q.created, at: q.at, ordinal: q.ordinal + 1, shard: q.shard},
		{created: q.created, at: q.at + 1, ordinal: q.ordinal + 1, shard: q.shard},
		{created: q.created + 1, at: q.at + 1, ordinal: 1, shard: q.shard},
	} {
		if later.String() <= text { // the same length: as text, or as numbers
			t.Errorf("%s is not after %s", later, text)
		}
	}
	for _, bad := range []string{"", "0", text[1:], text + "1", "59" + text[2:], text[:20] + "x" + text[21:], text[:20] + "+" + text[21:]} {
		if _, ok := parseSequence(bad); ok {
			t.Errorf("%q passes for a sequence number", bad)
		}
	}
}

func TestHashKeys(t *testing.T) {
	const last = "340282366920938463463374607431768211455" // 2^128-1
	for _, text := range []string{"0", "1", "9", "10", "18446744073709551615", "18446744073709551616", last} {
		if h, ok := parseHashKey(text); !ok || h.String() != text {
			t.Errorf("%s reads as %s, %v", text, h, ok)
		}
	}
	for _, text := range []string{"", "00", "01", "-1", "+1", " 1", "1x", "340282366920938463463374607431768211456", "999999999999999999999999999999999999999", last + "0"} {
		if h, ok := parseHashKey(text); ok {
			t.Errorf("%q passes for the hash key %s", text, h)
		}
	}
	if hashOf([]byte("")).String() != "281949768489412648962353822266799178366" { // MD5 d41d8cd98f00b204e9800998ecf8427e
		t.Errorf("the MD5 of nothing is not %s", hashOf(nil))
	}
	if share(2, 4) != share(3, 6) || share(0, 5) != (hashKey{}) {
		t.Error("equal fractions of the range differ")
	}
	if h := share(1, 2); h.previous().next() != h || h.previous() != (hashKey{1<<63 - 1, ^uint64(0)}) {
		t.Errorf("half of the range is %s", h)
	}
}

func TestPutRecordsHolds10MiB(t *testing.T) {
	data := make([]byte, 1<<20-1) // with its key exactly 1 MiB
	inputs := make([]putInput, 11)
	for i := range inputs {
		inputs[i] = putInput{data: data, key: []byte("k"), hasData: true, hasKey: true}
	}
	if err := checkPuts(inputs[:10], true); err != nil {
		t.Errorf("10 MiB: %v", err)
	}
	if err := checkPuts(inputs, true); err == nil || err.Code != codeArgument {
		t.Errorf("11 MiB: %v, want %s", err, codeArgument)
	}
}
