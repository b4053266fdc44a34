package redrive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/redrive"
	"github.com/cloudcafe/analytics-worker/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const streamName = "redriven" // the name that a careless prefix would mix up with the marks

var arrived = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// shop is a store of dead letters with a stream beside it. It dies at one call
// of its choice, before the call's effect or after.
type shop struct {
	*deadletter.Store
	puts  map[string]int // by sequence number: how often the record went onto the stream
	mu    sync.Mutex     // held through each call, so that they come one after another
	calls int
	dieAt int // 0 = never
	after bool
}

var errDied = errors.New("died")

func newShop(t *testing.T, letters int) *shop {
	t.Helper()
	dir, err := deadletter.Dir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	s := &shop{Store: deadletter.New(dir, streamName), puts: map[string]int{}}
	var all []deadletter.Letter
	for i := range letters {
		all = append(all, deadletter.Letter{
			Reason: []string{"not JSON", "unknown family"}[i%2], ShardID: "shardId-000000000001", SequenceNumber: strconv.Itoa(100 + i),
			PartitionKey: "k" + strconv.Itoa(i), ArrivedAt: arrived.Add(time.Duration(i) * time.Minute), Data: []byte{byte(i)},
		})
	}
	if err := s.Put(t.Context(), stream.Position{Sequence: stream.TrimHorizon}, all); err != nil {
		t.Fatal(err)
	}
	return s
}

// call runs effect unless the process has died by then.
func (s *shop) call(effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.dieAt > 0 && (s.calls > s.dieAt || s.calls == s.dieAt && !s.after) {
		return errDied
	}
	err := effect()
	if s.calls == s.dieAt {
		return errDied
	}
	return err
}

func (s *shop) Claim(ctx context.Context, l deadletter.Letter, n int, run string) (ok bool, err error) {
	err = s.call(func() (err error) { ok, err = s.Store.Claim(ctx, l, n, run); return err })
	return ok && err == nil, err
}

func (s *shop) Settle(ctx context.Context, l deadletter.Letter, n int, o deadletter.Outcome, run string) error {
	return s.call(func() error { return s.Store.Settle(ctx, l, n, o, run) })
}

func (s *shop) put(_ context.Context, letters []deadletter.Letter) ([]deadletter.Outcome, error) {
	out := make([]deadletter.Outcome, len(letters))
	err := s.call(func() error {
		for _, l := range letters {
			s.puts[l.SequenceNumber]++
		}
		return nil
	})
	for i := range out {
		out[i] = deadletter.Placed
		if err != nil {
			out[i] = deadletter.InDoubt
		}
	}
	return out, err
}

func (s *shop) config(run string) redrive.Config {
	return redrive.Config{Letters: s.All(context.Background()), Marks: s, Put: s.put, Run: run}
}

// Whatever call a run dies at, before or after its effect: no letter goes onto
// the stream twice, none is forgotten, and what is in doubt is known to be.
func TestG2_G8_AtMostOnceWhereverItDies(t *testing.T) {
	const letters = 3
	const calls = 2*letters + 1 // a claim and a note each, and one put
	for at := 1; at <= calls; at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d after=%v", at, after), func(t *testing.T) {
				s := newShop(t, letters)
				s.dieAt, s.after = at, after
				if _, err := redrive.Run(t.Context(), s.config("first")); !errors.Is(err, errDied) {
					t.Fatalf("the run that dies returned %v", err)
				}
				s.dieAt = 0
				sum, err := redrive.Run(t.Context(), s.config("second"))
				if err != nil {
					t.Fatal(err)
				}
				if got := sum.Already + sum.Doubtful + sum.Placed; got != letters {
					t.Errorf("%+v accounts for %d of %d letters", sum, got, letters)
				}
				once := 0
				for seq, n := range s.puts {
					if n > 1 {
						t.Errorf("letter %s went onto the stream %d times", seq, n)
					}
					once += n
				}
				if once < letters-sum.Doubtful {
					t.Errorf("%d letters are on the stream and %d in doubt, of %d", once, sum.Doubtful, letters)
				}

				c := s.config("third")
				c.Doubtful = true
				if third, err := redrive.Run(t.Context(), c); err != nil || third.Placed != sum.Doubtful || len(s.puts) != letters {
					t.Errorf("asked for those in doubt: %+v, %v; on the stream: %v", third, err, s.puts)
				}
				if last, err := redrive.Run(t.Context(), s.config("fourth")); err != nil || last.Already != letters {
					t.Errorf("in the end %+v, %v", last, err)
				}
			})
		}
	}
}

func TestFiltersLimitAndDryRun(t *testing.T) {
	s := newShop(t, 10)
	c := s.config("a")
	c.Match = func(l deadletter.Letter) bool { return l.Reason == "not JSON" }
	c.Limit, c.DryRun = 3, true
	if sum, err := redrive.Run(t.Context(), c); err != nil || sum.Due != 3 || len(s.puts) != 0 || s.calls != 0 {
		t.Fatalf("dry run: %+v, %v, %d calls", sum, err, s.calls)
	}
	c.DryRun = false
	if sum, err := redrive.Run(t.Context(), c); err != nil || sum.Placed != 3 || len(s.puts) != 3 {
		t.Fatalf("three of them: %+v, %v", sum, err)
	}
	c.Run, c.Limit = "b", 0
	c.InVain = func(deadletter.Letter) bool { return true } // of those that went back it is not asked
	sum, err := redrive.Run(t.Context(), c)
	want := redrive.Summary{Letters: 10, Matched: 5, Already: 3, InVain: 2}
	if err != nil || sum != want || len(s.puts) != 3 {
		t.Errorf("in vain: %+v, %v, want %+v", sum, err, want)
	}
	c.InVain = nil
	sum, err = redrive.Run(t.Context(), c)
	want = redrive.Summary{Letters: 10, Matched: 5, Already: 3, Due: 2, Placed: 2}
	if err != nil || sum != want {
		t.Errorf("the rest: %+v, %v, want %+v", sum, err, want)
	}
}

// What the stream refuses for lack of room is put again under the same claim;
// what it refuses for good is tried again by the next run, in a new attempt.
// TestARowThatWentInLaterStays: a letter whose row the warehouse took at a later
// try has nothing to go back; one that is parked or final has.
func TestARowThatWentInLaterStays(t *testing.T) {
	s := newShop(t, 0)
	var all []deadletter.Letter
	for i := range 3 {
		all = append(all, deadletter.Letter{
			Reason: deadletter.RefusedByWarehouse, ShardID: "shardId-000000000001", SequenceNumber: strconv.Itoa(100 + i), ArrivedAt: arrived,
		})
	}
	if err := errors.Join(
		s.Put(t.Context(), stream.Position{Sequence: stream.TrimHorizon}, all),
		s.MarkFate(t.Context(), all[0], deadletter.Loaded),
		s.MarkFate(t.Context(), all[1], deadletter.Final),
	); err != nil {
		t.Fatal(err)
	}
	sum, err := redrive.Run(t.Context(), s.config("one"))
	if err != nil || sum.Loaded != 1 || sum.Placed != 2 || s.puts["100"] != 0 {
		t.Errorf("%+v, %v, puts %v; want the loaded one left and the others put back", sum, err, s.puts)
	}
}

func TestRefusals(t *testing.T) {
	s := newShop(t, 2)
	c := s.config("a")
	var seen []int
	c.Put = func(ctx context.Context, ls []deadletter.Letter) ([]deadletter.Outcome, error) {
		seen = append(seen, len(ls))
		switch len(seen) {
		case 1:
			_, _ = s.put(ctx, ls[:1])
			return []deadletter.Outcome{deadletter.Placed, deadletter.Refused}, fmt.Errorf("full: %w", stream.ErrThrottled)
		case 2:
			return []deadletter.Outcome{deadletter.Refused}, stream.ErrDenied
		}
		return s.put(ctx, ls)
	}
	if sum, err := redrive.Run(t.Context(), c); !errors.Is(err, stream.ErrDenied) || sum.Placed != 1 || sum.Refused != 1 {
		t.Fatalf("%+v, %v", sum, err)
	}
	c.Run = "b"
	if sum, err := redrive.Run(t.Context(), c); err != nil || sum.Placed != 1 || sum.Already != 1 {
		t.Fatalf("the next run: %+v, %v", sum, err)
	}
	if !slices.Equal(seen, []int{2, 1, 1}) || s.puts["100"] != 1 || s.puts["101"] != 1 {
		t.Errorf("puts of %v letters, on the stream %v", seen, s.puts)
	}
}

// A run that is told to end while it waits for room leaves nothing in doubt.
func TestAnInterruptWhileWaitingLeavesNoDoubt(t *testing.T) {
	s := newShop(t, 2)
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithCancel(t.Context())
		c := s.config("a")
		c.Put = func(ctx context.Context, ls []deadletter.Letter) ([]deadletter.Outcome, error) {
			if ctx.Err() != nil { // what a client does that is not to call any more
				return []deadletter.Outcome{deadletter.InDoubt, deadletter.InDoubt}, ctx.Err()
			}
			time.AfterFunc(time.Millisecond, interrupt) // by then it waits
			return []deadletter.Outcome{deadletter.Refused, deadletter.Refused}, stream.ErrThrottled
		}
		if sum, err := redrive.Run(ctx, c); !errors.Is(err, context.Canceled) || sum.Refused != 2 || sum.Unknown != 0 {
			t.Errorf("%+v, %v", sum, err)
		}
	})
	if sum, err := redrive.Run(t.Context(), s.config("b")); err != nil || sum.Placed != 2 || sum.Doubtful != 0 {
		t.Errorf("the next run: %+v, %v", sum, err)
	}
}

// Of two runs at the same time one puts the record.
func TestTwoRunsShareTheLetters(t *testing.T) {
	s := newShop(t, 1)
	c := s.config("a")
	inner := s.config("b")
	var second redrive.Summary
	c.Put = func(ctx context.Context, ls []deadletter.Letter) ([]deadletter.Outcome, error) {
		var err error
		if second, err = redrive.Run(ctx, inner); err != nil {
			t.Error(err)
		}
		return s.put(ctx, ls)
	}
	if sum, err := redrive.Run(t.Context(), c); err != nil || sum.Placed != 1 || second.Placed != 0 || second.Doubtful != 1 {
		t.Errorf("%+v, %v beside %+v", sum, err, second)
	}
	if s.puts["100"] != 1 {
		t.Errorf("on the stream %d times", s.puts["100"])
	}
}
