package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// leastCalls is how long the recorded run must be.
const leastCalls = 300

// TestG2_CrashAtEveryCall records a run, and repeats it for the calls that it
// made, crashing just before and just after each, replacing the worker, and
// asking the oracle.
//
// With -crashes=1, as make soak has it, that is every call. Here it is a fixed
// sample, and every one of the first calls: claim, first reads and first load.
func TestG2_CrashAtEveryCall(t *testing.T) {
	calls := 0
	synctest.Test(t, func(t *testing.T) { calls = crashRun(t, 0, false) })
	if calls < leastCalls {
		t.Fatalf("a run makes %d calls; it is to make %d", calls, leastCalls)
	}
	t.Logf("the run makes %d calls", calls)
	const first = 12
	for at := 1; at <= calls; at++ {
		if at > first && at%max(1, *crashStep) != 0 {
			continue
		}
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call-%d-after-%v", at, after), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { crashRun(t, at, after) })
			})
		}
	}
}

// crashRun runs the scenario with a worker that crashes at a call, 0 for none.
// It returns the calls that this worker made.
func crashRun(t *testing.T, at int, after bool) int {
	t.Helper()
	ctx, f, rng := t.Context(), spoiledFleet(t, 1), rand.New(rand.NewPCG(7, 7))
	alive, die := context.WithCancel(ctx)
	defer die()
	c := &crash{at: at, after: after, died: die}
	f.spoil = func(next http.RoundTripper) http.RoundTripper { c.next = next; return c }
	f.born = 3             // the next one stages its rows in S3: the way with the most calls
	err := f.start(ctx, 4) // many calls in little virtual time
	f.spoil = nil
	if err != nil {
		t.Fatal(err)
	}
	err = scenario(ctx, alive, f, rng)
	calls := c.count()
	if alive.Err() != nil {
		f.crash(0)
		err = errors.Join(err, f.glance(ctx)) // G3: never a position past what is loaded
	} else if at > 0 {
		// The jitter of the waits makes a run a few calls shorter or longer.
		t.Logf("call %d was not made: there were %d", at, calls)
	}
	if err := errors.Join(err, f.publish(ctx, 10, rng), f.settle(ctx, true)); err != nil {
		t.Errorf("crash at call %d, after it %v: %v\n%s", at, after, err, f.log.String())
	}
	return calls
}

// scenario is what happens meanwhile; it ends early with the worker's life.
func scenario(ctx, alive context.Context, f *Fleet, rng *rand.Rand) error {
	for _, s := range (schedule{
		{verb: doPublish, n: 30},
		{wait: 1200 * time.Millisecond, verb: doSplit},
		{wait: 300 * time.Millisecond, verb: doPublish, n: 20},
		{wait: 6 * time.Second, verb: doMerge},
		{wait: 300 * time.Millisecond, verb: doPublish, n: 10},
		{wait: 12 * time.Second, verb: doVerify},
	}) {
		if f.until(alive, time.Now().Add(s.wait)) != nil {
			return ctx.Err()
		}
		f.note("%s", s)
		if err := f.take(ctx, s, rng); err != nil {
			return err
		}
	}
	return nil
}
