package stream

import (
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestCompareSequenceAgainstBig(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	digits := func() string {
		b := make([]byte, 1+r.IntN(129))
		for i := range b {
			b[i] = byte('0' + r.IntN(10))
		}
		return string(b)
	}
	for range 20_000 {
		a, b := digits(), digits()
		switch r.IntN(4) {
		case 0: // neighbours
			n, _ := new(big.Int).SetString(a, 10)
			b = n.Add(n, big.NewInt(r.Int64N(2))).String()
		case 1:
			b = strings.Repeat("0", r.IntN(4)) + a
		}
		x, _ := new(big.Int).SetString(a, 10)
		y, _ := new(big.Int).SetString(b, 10)
		if got := CompareSequence(a, b); got != x.Cmp(y) {
			t.Fatalf("CompareSequence(%s, %s) = %d", a, b, got)
		}
	}
	for _, c := range []struct {
		a, b string
		want int
	}{{"9", "10", -1}, {"10", "9", 1}, {"0", "", 0}, {"18446744073709551617", "1", 1}} {
		if got := CompareSequence(c.a, c.b); got != c.want {
			t.Errorf("CompareSequence(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

func TestCovers(t *testing.T) {
	record := func(seq string, sub int64) Record { return Record{SequenceNumber: seq, SubSequence: sub} }
	for _, c := range []struct {
		p    Position
		r    Record
		want bool
	}{
		{Position{}, record("1", 0), false},
		{Position{Sequence: TrimHorizon}, record("1", 0), false},
		{Position{Sequence: Latest}, record("1", 0), false},
		{AtTime(time.Now()), record("1", 0), false},
		{Position{Sequence: ShardEnd}, record("1", 0), true},
		{After(record("99", 0)), record("99", 0), true},
		{After(record("99", 0)), record("98", 7), true},
		{After(record("99", 0)), record("99", 1), false},
		{After(record("99", 0)), record("100", 0), false},
		{After(record("99", 4)), record("99", 4), true},
		{After(record("99", 4)), record("99", 5), false},
		{AfterSequence("99"), record("99", 1_000_000), true},
		{AfterSequence("99"), record("100", 0), false},
		{BeforeSequence("99"), record("99", 0), false},
		{BeforeSequence("99"), record("98", 5), true},
	} {
		if got := c.p.Covers(c.r); got != c.want {
			t.Errorf("%v covers (%s, %d): %v", c.p, c.r.SequenceNumber, c.r.SubSequence, got)
		}
	}
}

// After a restart behind any of its records, an aggregate goes on with the next
// one: none is left out and none comes twice.
func TestCoversResumesWithinAnAggregate(t *testing.T) {
	records := Deaggregate(outer(packed(field(1, "k")+user(0, "a")+user(0, "b")+user(0, "c"))), everything, nil)
	for done := range records {
		p := After(records[done])
		for i, r := range records {
			if p.Covers(r) != (i <= done) {
				t.Errorf("behind record %d, record %d: covered %v", done, i, p.Covers(r))
			}
		}
	}
}

func TestPositionString(t *testing.T) {
	when := time.Date(2026, 11, 20, 8, 15, 30, 250e6, time.UTC)
	for want, p := range map[string]Position{
		"":                                     {},
		"TRIM_HORIZON":                         {Sequence: TrimHorizon},
		"SHARD_END":                            {Sequence: ShardEnd},
		"AT_TIMESTAMP 2026-11-20T08:15:30.25Z": AtTime(when),
		"4959":                                 {Sequence: "4959"},
		"4959/3":                               {Sequence: "4959", Sub: 3},
		"4959/-1":                              BeforeSequence("4959"),
		"495":                                  AfterSequence("495"),
	} {
		if got := p.String(); got != want {
			t.Errorf("%#v is written %q, want %q", p, got, want)
		}
	}
	if got := AtTime(when).Time(); !got.Equal(when) || got.Location() != time.UTC {
		t.Errorf("the time %v came back as %v", when, got)
	}
	if AfterSequence("1").Sub != math.MaxInt64 || !(Position{}).IsZero() || AfterSequence("1").IsZero() {
		t.Error("AfterSequence or IsZero")
	}
	for seq, want := range map[string]bool{"": false, "0": true, "49": true, TrimHorizon: false, ShardEnd: false, AtTimestamp: false} {
		if got := (Position{Sequence: seq}).IsSequence(); got != want {
			t.Errorf("IsSequence of %q: %v", seq, got)
		}
	}
}
