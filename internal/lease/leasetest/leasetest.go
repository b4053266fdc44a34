// Package leasetest holds the suite that every lease.Table must pass.
package leasetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Run runs the suite. open returns an empty table, a new one at each call.
func Run(t *testing.T, open func(t *testing.T) lease.Table) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, lease.Table)
	}{
		{"an empty table lists nothing", testEmpty},
		{"what is created is listed as it was", testRoundTrip},
		{"the second create changes nothing", testCreateTwice},
		{"an update sets its eight attributes and counts", testUpdate},
		{"an update keeps what others wrote beside it", testUpdateKeeps},
		{"an update is refused when the counter moved", testUpdateStaleCounter},
		{"an update is refused when the owner changed", testUpdateStaleOwner},
		{"an update never makes a row", testUpdateMissing},
		{"no owner is not an empty owner", testRelease},
		{"a write sent twice is recognised", testSentTwice},
		{"a delete needs the row as seen", testDelete},
		{"one of many takers wins", testRaceTake},
		{"one of many creators wins", testRaceCreate},
		{"300 rows are listed whole", testPaging},
		{"a cancelled call fails", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

var full = lease.Row{
	Shard: "shardId-000000000001", Owner: "w1", Counter: 7, OwnerSwitches: 2, Term: 3,
	Checkpoint: stream.Position{Sequence: "49" + strings.Repeat("0123456789", 12), Sub: math.MaxInt64},
	Parents:    []string{"shardId-000000000000", "shardId-00000000000x"},
	Children:   []string{"shardId-000000000002"},
	HashStart:  "0", HashEnd: "340282366920938463463374607431768211455",
	Stream: stream.Identity{ARN: "arn:aws:kinesis:us-east-1:123456789012:stream/orders", Created: time.UnixMilli(1_700_000_000_123).UTC()},
	Word:   `{"state":"fine"}`, Until: time.UnixMilli(1_700_000_001_456).UTC(),
}

var bare = lease.Row{
	Shard: "shardId-000000000009", Checkpoint: stream.Position{Sequence: stream.TrimHorizon},
	HashStart: "0", HashEnd: "1",
}

func testEmpty(t *testing.T, tb lease.Table) { check(t, list(t, tb)) }

func testRoundTrip(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	create(t, tb, bare)
	at := lease.Row{Shard: "shardId-000000000010", Checkpoint: stream.Position{Sequence: stream.AtTimestamp, Sub: 1_700_000_000_123}}
	create(t, tb, at)
	check(t, list(t, tb), full, bare, at)
}

func testCreateTwice(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	other := bare
	other.Shard = full.Shard
	if made, err := tb.Create(t.Context(), other); made || err != nil {
		t.Fatalf("second Create = %v, %v; want false, nil", made, err)
	}
	check(t, list(t, tb), full)
}

func testUpdate(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	want := full
	want.Owner, want.OwnerSwitches, want.Term = "w2", 5, 4
	want.Checkpoint = stream.Position{Sequence: stream.ShardEnd}
	want.Children = []string{"shardId-000000000003", "shardId-000000000004"}
	want.Stream.Created = want.Stream.Created.Add(time.Hour)
	want.Word, want.Until = "worse", want.Until.Add(time.Millisecond)
	// What Update does not write: the counter is its own, the rest belongs to Create.
	want.Counter, want.Parents, want.HashStart = 99, nil, "5"
	got := update(t, tb, full, want)
	want.Counter, want.Parents, want.HashStart = 8, full.Parents, full.HashStart
	check(t, []lease.Row{got}, want)
	check(t, list(t, tb), want)

	bared := want
	bared.Children, bared.OwnerSwitches, bared.Word = nil, 0, ""
	got = update(t, tb, want, bared)
	bared.Counter = 9
	check(t, []lease.Row{got}, bared)
	check(t, list(t, tb), bared)
}

func testUpdateKeeps(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	seen := full // of before KCL wrote the children, which leaves the counter alone
	seen.Children, seen.Checkpoint, seen.Term = nil, stream.Position{Sequence: "1"}, 1
	want := seen
	want.Owner = "w2"
	got := update(t, tb, seen, want)
	want = full
	want.Owner, want.Counter = "w2", 8
	check(t, []lease.Row{got}, want)
}

func testUpdateStaleCounter(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	now := update(t, tb, full, full)
	want := full
	want.Term = 50
	_, err := tb.Update(t.Context(), full, want)
	conflict(t, err, &now)
	check(t, list(t, tb), now)
}

func testUpdateStaleOwner(t *testing.T, tb lease.Table) {
	// KCL 3 hands over by changing the owner without the counter.
	create(t, tb, full)
	for _, owner := range []string{"someone", ""} {
		seen := full
		seen.Owner = owner
		_, err := tb.Update(t.Context(), seen, full)
		conflict(t, err, &full)
	}
	create(t, tb, bare)
	seen := bare
	seen.Owner = "someone"
	_, err := tb.Update(t.Context(), seen, bare)
	conflict(t, err, &bare)
	check(t, list(t, tb), full, bare)
}

func testUpdateMissing(t *testing.T, tb lease.Table) {
	for _, seen := range []lease.Row{full, bare} {
		_, err := tb.Update(t.Context(), seen, full)
		conflict(t, err, nil)
	}
	check(t, list(t, tb))
}

func testRelease(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	want := full
	want.Owner = ""
	released := update(t, tb, full, want)
	want.Counter = 8
	check(t, list(t, tb), want)
	want.Owner = "w9"
	taken := update(t, tb, released, want)
	want.Counter = 9
	check(t, []lease.Row{taken}, want)
}

func testSentTwice(t *testing.T, tb lease.Table) {
	create(t, tb, bare)
	want := bare
	want.Owner, want.Term = "w1", 1
	now := update(t, tb, bare, want)
	_, err := tb.Update(t.Context(), bare, want)
	conflict(t, err, &now)
}

func testDelete(t *testing.T, tb lease.Table) {
	create(t, tb, full)
	create(t, tb, bare)
	now := update(t, tb, full, full)
	conflict(t, tb.Delete(t.Context(), full), &now)
	check(t, list(t, tb), now, bare)
	for range 2 { // what is gone is deleted
		if err := tb.Delete(t.Context(), now); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	check(t, list(t, tb), bare)
	create(t, tb, full)
}

const racers = 12

// race runs f in racers goroutines at once and returns how many said that they won.
func race(t *testing.T, f func(i int) (bool, error)) int {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	wins := 0
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			won, err := f(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("racer %d: %v", i, err)
			}
			if won {
				wins++
			}
		})
	}
	close(start)
	wg.Wait()
	return wins
}

func testRaceTake(t *testing.T, tb lease.Table) {
	create(t, tb, bare)
	seen := bare
	for round := range 5 {
		wins := race(t, func(i int) (bool, error) {
			want := seen
			want.Owner, want.Term = fmt.Sprintf("w%d", i), seen.Term+1
			_, err := tb.Update(t.Context(), seen, want)
			if errors.Is(err, lease.ErrConflict) {
				return false, nil
			}
			return err == nil, err
		})
		rows := list(t, tb)
		if wins != 1 || len(rows) != 1 || rows[0].Counter != int64(round+1) || rows[0].Term != int64(round+1) {
			t.Fatalf("round %d: %d winners, table %+v", round, wins, rows)
		}
		seen = rows[0]
	}
}

func testRaceCreate(t *testing.T, tb lease.Table) {
	wins := race(t, func(i int) (bool, error) {
		r := bare
		r.Term = int64(i)
		return tb.Create(t.Context(), r)
	})
	if n := len(list(t, tb)); wins != 1 || n != 1 {
		t.Fatalf("%d creators won, %d rows; want one of each", wins, n)
	}
}

func testPaging(t *testing.T, tb lease.Table) {
	// 4 KB a row: past the megabyte at which DynamoDB ends a page.
	var children []string
	for i := range 200 {
		children = append(children, fmt.Sprintf("shardId-%012d", 1000+i))
	}
	var want []lease.Row
	for i := range 300 {
		r := full
		r.Shard, r.Children = fmt.Sprintf("shardId-%012d", i), children
		want = append(want, r)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < len(want); i += 8 {
				if made, err := tb.Create(t.Context(), want[i]); !made || err != nil {
					t.Errorf("Create %s = %v, %v", want[i].Shard, made, err)
					return
				}
			}
		})
	}
	wg.Wait()
	check(t, list(t, tb), want...)
}

func testCancelled(t *testing.T, tb lease.Table) {
	create(t, tb, bare)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tb.List(ctx); err == nil {
		t.Error("List succeeded under a cancelled context")
	}
	if _, err := tb.Update(ctx, bare, full); err == nil || errors.Is(err, lease.ErrConflict) {
		t.Errorf("Update under a cancelled context = %v; want its error", err)
	}
	if made, err := tb.Create(ctx, full); err == nil || made {
		t.Errorf("Create under a cancelled context = %v, %v; want its error", made, err)
	}
	if err := tb.Delete(ctx, bare); err == nil {
		t.Error("Delete succeeded under a cancelled context")
	}
	check(t, list(t, tb), bare)
}

func create(t *testing.T, tb lease.Table, r lease.Row) {
	t.Helper()
	if made, err := tb.Create(t.Context(), r); !made || err != nil {
		t.Fatalf("Create %s = %v, %v; want true, nil", r.Shard, made, err)
	}
}

func update(t *testing.T, tb lease.Table, seen, want lease.Row) lease.Row {
	t.Helper()
	got, err := tb.Update(t.Context(), seen, want)
	if err != nil {
		t.Fatalf("Update %s: %v", seen.Shard, err)
	}
	return got
}

func list(t *testing.T, tb lease.Table) []lease.Row {
	t.Helper()
	rows, err := tb.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	return rows
}

// conflict checks that err reports the row now, or its absence.
func conflict(t *testing.T, err error, now *lease.Row) {
	t.Helper()
	var c *lease.ConflictError
	if !errors.As(err, &c) || !errors.Is(err, lease.ErrConflict) {
		t.Fatalf("error = %v; want a ConflictError", err)
	}
	if now == nil {
		if c.Found {
			t.Fatalf("conflict shows %+v; want no row", c.Now)
		}
		return
	}
	if !c.Found {
		t.Fatalf("conflict shows no row; want %+v", *now)
	}
	check(t, []lease.Row{c.Now}, *now)
}

// check compares rows without regard to their order.
func check(t *testing.T, got []lease.Row, want ...lease.Row) {
	t.Helper()
	by := make(map[string]lease.Row, len(got))
	for _, r := range got {
		by[r.Shard] = r
	}
	if len(got) != len(want) || len(by) != len(want) {
		t.Fatalf("%d rows of %d shards; want %d", len(got), len(by), len(want))
	}
	for _, w := range want {
		if g, ok := by[w.Shard]; !ok || !reflect.DeepEqual(g, w) {
			t.Fatalf("row of %s:\n got %+v\nwant %+v", w.Shard, g, w)
		}
	}
}
