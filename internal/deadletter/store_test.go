package deadletter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	streamName = "order-events"
	shardID    = "shardId-000000000000"
)

var (
	trimHorizon = stream.Position{Sequence: stream.TrimHorizon}
	morning     = time.Date(2026, 3, 4, 5, 59, 58, 0, time.UTC)
)

func letter(seq string, sub int64, at time.Time) deadletter.Letter {
	return deadletter.Letter{
		Reason: "bad json", Detail: "at offset 3", Stream: streamName, ShardID: shardID,
		SequenceNumber: seq, SubSequenceNumber: sub, PartitionKey: "store-1",
		ArrivedAt: at, RejectedAt: at.Add(time.Second), Data: []byte("record " + seq),
	}
}

func openDir(t *testing.T, path string) *deadletter.DirBucket {
	t.Helper()
	d, err := deadletter.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func mustPut(t *testing.T, s *deadletter.Store, from stream.Position, letters ...deadletter.Letter) {
	t.Helper()
	if err := s.Put(t.Context(), from, letters); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, s *deadletter.Store) []deadletter.Letter {
	t.Helper()
	var out []deadletter.Letter
	for l, err := range s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

// rawPlaces reads the files themselves, as an operator with jq would, so that a
// letter stored twice is seen twice.
func rawPlaces(t *testing.T, dir string) []stream.Position {
	t.Helper()
	var out []stream.Position
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for text := range bytes.Lines(body) {
			var l deadletter.Letter
			if err := l.UnmarshalJSON(text); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			out = append(out, l.Place())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantPlaces(t *testing.T, got []stream.Position, want ...stream.Position) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("places %v, want %v", got, want)
	}
}

func places(letters []deadletter.Letter) []stream.Position {
	var out []stream.Position
	for _, l := range letters {
		out = append(out, l.Place())
	}
	return out
}

var errCrash = errors.New("crash")

// crashing is a bucket whose process dies, or whose network fails, at random
// calls: before they take effect, or after.
type crashing struct {
	deadletter.Bucket
	rng    *rand.Rand
	chance float64
	dead   bool // a dead process makes no more calls; a network failure passes
}

func (c *crashing) call(effect func() error) error {
	if c.dead {
		return errCrash
	}
	if c.rng.Float64() >= c.chance {
		return effect()
	}
	c.dead = c.rng.IntN(2) == 0
	if c.rng.IntN(2) == 0 {
		if err := effect(); err != nil {
			return err
		}
	}
	return errCrash
}

func (c *crashing) PutIfAbsent(ctx context.Context, name string, body []byte) (created bool, err error) {
	err = c.call(func() (err error) { created, err = c.Bucket.PutIfAbsent(ctx, name, body); return err })
	return created && err == nil, err
}

func (c *crashing) Get(ctx context.Context, name string) (body []byte, err error) {
	err = c.call(func() (err error) { body, err = c.Bucket.Get(ctx, name); return err })
	return body, err
}

func (c *crashing) List(ctx context.Context, prefix string) (names []string, err error) {
	err = c.call(func() (err error) { names, err = c.Bucket.List(ctx, prefix); return err })
	return names, err
}

// history is one shard and what becomes of its records: loaded, refused by the
// decoder, or refused by the warehouse only when the load is tried.
type history struct {
	records   []deadletter.Letter
	byDecoder []bool
	byLoad    []bool
	committed int // records behind the checkpoint, as the warehouse has it
}

func newHistory(rng *rand.Rand, n int) *history {
	h := &history{}
	seq, sub := int64(95), int64(0) // soon three digits: text order is not number order
	at := morning
	for range n {
		if rng.IntN(3) == 0 {
			sub++ // one more of an aggregated record, which has one arrival
		} else {
			seq, sub = seq+1+rng.Int64N(40), 0
			at = at.Add(time.Duration(rng.IntN(400)) * time.Second)
		}
		h.records = append(h.records, letter(fmt.Sprint(seq), sub, at))
		h.byDecoder = append(h.byDecoder, rng.IntN(3) == 0)
		h.byLoad = append(h.byLoad, rng.IntN(8) == 0)
	}
	return h
}

func (h *history) from() stream.Position {
	if h.committed == 0 {
		return trimHorizon
	}
	return h.records[h.committed-1].Place()
}

// refused is what of records [lo, hi) one of the two refuses.
func (h *history) refused(lo, hi int, by []bool) []deadletter.Letter {
	var out []deadletter.Letter
	for i := lo; i < hi; i++ {
		if by[i] {
			out = append(out, h.records[i])
		}
	}
	return out
}

// live runs one process until it has loaded everything, or dies.
func (h *history) live(ctx context.Context, b *crashing) {
	s := deadletter.New(b, streamName)
	for h.committed < len(h.records) {
		end := min(len(h.records), h.committed+1+b.rng.IntN(40))
		for _, by := range [][]bool{h.byDecoder, h.byLoad} {
			err := s.Put(ctx, h.from(), h.refused(h.committed, end, by))
			for err != nil && !b.dead { // as the worker does: the same again, or another cut
				end = min(len(h.records), h.committed+1+b.rng.IntN(40))
				err = s.Put(ctx, h.from(), h.refused(h.committed, end, h.byDecoder))
				if err == nil {
					err = s.Put(ctx, h.from(), h.refused(h.committed, end, h.byLoad))
				}
			}
			if b.dead || b.rng.Float64() < b.chance {
				return // between the letters and the load
			}
		}
		// The first pass may have stored letters of a longer cut: the load takes
		// only as much as both passes covered.
		h.committed = end
	}
}

func TestG1_G2_EachLetterOnceThroughCrashesAndOtherCuts(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			h := newHistory(rng, 400)
			path := t.TempDir()
			lives := 0
			for ; h.committed < len(h.records); lives++ {
				if lives > 2000 {
					t.Fatalf("no progress: %d of %d records", h.committed, len(h.records))
				}
				h.live(t.Context(), &crashing{Bucket: openDir(t, path), rng: rng, chance: 0.25})
			}
			either := make([]bool, len(h.records))
			for i := range either {
				either[i] = h.byDecoder[i] || h.byLoad[i]
			}
			want := places(h.refused(0, len(h.records), either))
			if lives < 3 {
				t.Fatalf("only %d lives: this run crashed too little to mean anything", lives)
			}
			wantPlaces(t, places(all(t, deadletter.New(openDir(t, path), streamName))), want...)
			// All holds every one; as many lines as that means none twice.
			if raw := rawPlaces(t, path); len(raw) != len(want) {
				t.Errorf("%d lines in the files for %d letters", len(raw), len(want))
			}
		})
	}
}

// The case that a prefix for each starting point would store twice: see the
// package comment.
func TestG2_SmallerCutAfterTwoCrashes(t *testing.T) {
	path := t.TempDir()
	a, b, c := letter("10", 0, morning), letter("11", 0, morning), letter("12", 0, morning)
	mustPut(t, deadletter.New(openDir(t, path), streamName), trimHorizon, a, b, c)

	mustPut(t, deadletter.New(openDir(t, path), streamName), trimHorizon, a) // and its load commits

	third := deadletter.New(openDir(t, path), streamName)
	mustPut(t, third, a.Place(), b)
	mustPut(t, third, a.Place(), b, c)
	wantPlaces(t, rawPlaces(t, path), a.Place(), b.Place(), c.Place())
}

func TestForgetSeesWhatAnotherWorkerStored(t *testing.T) {
	path := t.TempDir()
	a, b, c := letter("10", 0, morning), letter("11", 0, morning), letter("12", 0, morning)
	ours := deadletter.New(openDir(t, path), streamName)
	mustPut(t, ours, trimHorizon, a)
	mustPut(t, deadletter.New(openDir(t, path), streamName), a.Place(), b, c) // owns the shard for a while
	ours.Forget(shardID)
	mustPut(t, ours, a.Place(), c)
	if got := rawPlaces(t, path); len(got) != 3 {
		t.Errorf("stored %v, want each of three once", got)
	}
}

func TestTwoLiveWritersAreReadOnce(t *testing.T) {
	path := t.TempDir()
	a, b, c := letter("10", 0, morning), letter("11", 0, morning), letter("12", 0, morning)
	stale, owner := deadletter.New(openDir(t, path), streamName), deadletter.New(openDir(t, path), streamName)
	mustPut(t, stale, trimHorizon, a)
	mustPut(t, owner, trimHorizon, a) // both have looked now
	mustPut(t, stale, a.Place(), b, c)
	mustPut(t, owner, a.Place(), b)
	if got := rawPlaces(t, path); len(got) != 4 {
		t.Fatalf("stored %v: the race that this test is about did not happen", got)
	}
	wantPlaces(t, places(all(t, owner)), a.Place(), b.Place(), c.Place())
}

func TestAnExistingNameIsSubtracted(t *testing.T) {
	path := t.TempDir()
	a, b, c, d := letter("10", 0, morning), letter("11", 0, morning), letter("12", 0, morning), letter("13", 0, morning)
	stale, owner := deadletter.New(openDir(t, path), streamName), deadletter.New(openDir(t, path), streamName)
	mustPut(t, stale, trimHorizon, a)
	mustPut(t, owner, trimHorizon, a)
	mustPut(t, stale, a.Place(), b, d)
	mustPut(t, owner, a.Place(), b, c, d) // the same first and last letter, and so the same name
	wantPlaces(t, places(all(t, owner)), a.Place(), b.Place(), c.Place(), d.Place())
	if got := rawPlaces(t, path); len(got) != 4 {
		t.Errorf("stored %v, want each of four once", got)
	}
}

func TestPutSortsAndGivesEachOnce(t *testing.T) {
	path := t.TempDir()
	s := deadletter.New(openDir(t, path), streamName)
	l := func(seq string, sub int64) deadletter.Letter { return letter(seq, sub, morning) }
	mustPut(t, s, trimHorizon, l("100", 0), l("99", 1), l("99", 1), l("99", 0), l("100", 2))
	want := []stream.Position{{Sequence: "99"}, {Sequence: "99", Sub: 1}, {Sequence: "100"}, {Sequence: "100", Sub: 2}}
	wantPlaces(t, rawPlaces(t, path), want...)
	wantPlaces(t, places(all(t, s)), want...)
}

func TestPutRefusesLettersOfTwoShards(t *testing.T) {
	s := deadletter.New(openDir(t, t.TempDir()), streamName)
	other := letter("11", 0, morning)
	other.ShardID = "shardId-000000000001"
	err := s.Put(t.Context(), trimHorizon, []deadletter.Letter{letter("10", 0, morning), other})
	if err == nil || !strings.Contains(err.Error(), other.ShardID) {
		t.Fatalf("Put = %v, want an error that names %s", err, other.ShardID)
	}
	if got := all(t, s); len(got) != 0 {
		t.Errorf("stored %v of a refused call", places(got))
	}
}

func TestLargeBatchesAreSplit(t *testing.T) {
	path := t.TempDir()
	s := deadletter.New(openDir(t, path), streamName)
	var letters []deadletter.Letter
	for i := range 4 {
		l := letter(fmt.Sprint(100+i), 0, morning)
		l.Data = bytes.Repeat([]byte{byte(i)}, 1_200_000)
		letters = append(letters, l)
	}
	letters[1].Data = bytes.Repeat([]byte{5}, 3_200_000) // larger than an object should be, and kept
	mustPut(t, s, trimHorizon, letters...)
	got := all(t, s)
	for i, l := range got {
		if !bytes.Equal(l.Data, letters[i].Data) {
			t.Errorf("letter %d: %d bytes differ from the %d put", i, len(l.Data), len(letters[i].Data))
		}
	}
	if len(got) != len(letters) {
		t.Errorf("%d letters, want %d", len(got), len(letters))
	}
	files, _ := filepath.Glob(filepath.Join(path, "*", "*", "*", "*.ndjson"))
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > 4<<20 && strings.Contains(filepath.Base(f), "_") {
			t.Errorf("%s has %d bytes and more than one letter", f, info.Size())
		}
	}
	if len(files) != 3 { // one, the large one, the other two
		t.Errorf("%d files, want 3: %q", len(files), files)
	}
}

func TestOtherStreamsAndShardsStayApart(t *testing.T) {
	bucket := openDir(t, t.TempDir())
	orders, eu := deadletter.New(bucket, "orders"), deadletter.New(bucket, "orders-eu")
	first, second := letter("10", 0, morning), letter("10", 0, morning)
	second.ShardID = "shardId-000000000001"
	mustPut(t, orders, trimHorizon, second)
	mustPut(t, orders, trimHorizon, first)
	mustPut(t, eu, trimHorizon, first)
	got := all(t, orders)
	if len(got) != 2 || got[0].ShardID != first.ShardID || got[1].ShardID != second.ShardID {
		t.Errorf("All of orders = %v, want one letter of each of two shards in order", got)
	}
	if got := all(t, eu); len(got) != 1 {
		t.Errorf("All of orders-eu = %d letters, want 1", len(got))
	}
}

// The longest sequence numbers that Kinesis's API allows: two of them are too
// long for one file name.
func TestLongestSequenceNumbers(t *testing.T) {
	s := deadletter.New(openDir(t, t.TempDir()), streamName)
	l := func(last string) deadletter.Letter {
		return letter(strings.Repeat("9", 128)+last, math.MaxInt64-1, morning)
	}
	mustPut(t, s, stream.AfterSequence("1"), l("1"), l("2"), l("3"))
	wantPlaces(t, places(all(t, s)), l("1").Place(), l("2").Place(), l("3").Place())
}

func TestCorruptObjectsAreNamed(t *testing.T) {
	good, err := letter("11", 0, morning).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for what, body := range map[string]string{
		"not JSON":          "hello\n",
		"cut short":         string(good[:len(good)/2]),
		"no end of line":    string(good) + "\n" + string(good),
		"empty line":        string(good) + "\n\n" + string(good) + "\n",
		"null":              "null\n",
		"no place":          `{"shard_id":"s","arrived_at":"2026-01-02T03:04:05Z","rejected_at":"2026-01-02T03:04:05Z","data_base64":""}` + "\n",
		"no data":           strings.Replace(string(good), "data_base64", "data", 1) + "\n",
		"data not base64":   strings.Replace(string(good), `data_base64":"`, `data_base64":"!`, 1) + "\n",
		"time not RFC 3339": strings.Replace(string(good), "2026-", "26-", 1) + "\n",
	} {
		t.Run(what, func(t *testing.T) {
			path := t.TempDir()
			bucket := openDir(t, path)
			name := streamName + "/" + shardID + "/2026-03-04T05/10-0_12-0.ndjson"
			if _, err := bucket.PutIfAbsent(t.Context(), name, []byte(body)); err != nil {
				t.Fatal(err)
			}
			s := deadletter.New(bucket, streamName)
			err := s.Put(t.Context(), trimHorizon, []deadletter.Letter{letter("11", 0, morning)})
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "move it away") {
				t.Errorf("Put = %v, want an error that names %s and says what to do", err, name)
			}
			// The walk names it too, and goes on.
			mustPut(t, s, trimHorizon, letter("20", 0, morning))
			var failed, found int
			for l, err := range s.All(t.Context()) {
				switch {
				case err != nil && strings.Contains(err.Error(), name):
					failed++
				case err != nil:
					t.Error(err)
				case l.SequenceNumber == "20":
					found++
				}
			}
			if failed != 1 || found != 1 {
				t.Errorf("All named the object %d times and gave the other letter %d times, want 1 and 1", failed, found)
			}
			// Doing what the message says helps.
			if err := os.Rename(filepath.Join(path, name), filepath.Join(t.TempDir(), "away")); err != nil {
				t.Fatal(err)
			}
			mustPut(t, s, trimHorizon, letter("11", 0, morning))
		})
	}
}

func TestAllReadsCopiesAndStopsWhenAsked(t *testing.T) {
	path := t.TempDir()
	s := deadletter.New(openDir(t, path), streamName)
	a, b := letter("10", 0, morning), letter("11", 0, morning)
	mustPut(t, s, trimHorizon, a, b)
	dir := filepath.Join(path, streamName, shardID, "2026-03-04T05")
	body, err := os.ReadFile(filepath.Join(dir, "10-0_11-0.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{"copy of it.ndjson": body, "notes.txt": []byte("asked the shop")} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantPlaces(t, places(all(t, s)), a.Place(), b.Place())
	for l, err := range s.All(t.Context()) {
		if err != nil || l.Place() != a.Place() {
			t.Fatalf("first of All = %v, %v", l.Place(), err)
		}
		break // must not call again
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.All(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("All under an ended context gave %v", err)
		}
	}
}
