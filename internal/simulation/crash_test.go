package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// leastCalls is how long the recorded run must be.
const leastCalls = 300

// crashesPerWorld is for how many calls one world serves. Each of their runs
// begins with a new stream, new leases and an empty warehouse.
const crashesPerWorld = 10

// TestG2_CrashAtEveryCall records a run, and repeats it for the calls that it
// made, crashing just before and just after each, replacing the worker, and
// asking the oracle.
//
// With -crashes=1, as make simulate and make soak have it, that is every call.
// Here, where the race detector may be on, it is a fixed sample.
func TestG2_CrashAtEveryCall(t *testing.T) { crashEverywhere(t, leastCalls, crashRun) }

// crashEverywhere has run crash before and after each of the calls that it makes, or
// before and after a sample of them. run takes a new fleet of one shard, and the call.
func crashEverywhere(t *testing.T, least int, run func(t *testing.T, f *Fleet, at int, after bool) (calls int)) {
	t.Parallel()
	calls := 0
	synctest.Test(t, func(t *testing.T) { calls = run(t, spoiledFleet(t, 1), 0, false) })
	if calls < least {
		t.Fatalf("a run makes %d calls; it is to make %d", calls, least)
	}
	t.Logf("the run makes %d calls", calls)
	var points []int
	for at := 1; at <= calls; at++ {
		if *oneCrash == at || *oneCrash == 0 && at%max(1, *crashStep) == 0 {
			points = append(points, at)
		}
	}
	for group := range slices.Chunk(points, crashesPerWorld) {
		t.Run(fmt.Sprintf("calls-%d-to-%d", group[0], group[len(group)-1]), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := spoiledFleet(t, 1)
				for _, at := range group {
					for _, after := range []bool{false, true} {
						if err := f.renew(t.Context()); err != nil {
							t.Fatal(err)
						}
						run(t, f, at, after)
					}
				}
			})
		})
	}
}

// crashRun runs the scenario with a worker that crashes at a call, 0 for none.
// It returns the calls that this worker made.
func crashRun(t *testing.T, f *Fleet, at int, after bool) int {
	t.Helper()
	ctx, rng := t.Context(), rand.New(rand.NewPCG(7, 7))
	alive, die := context.WithCancel(ctx)
	defer die()
	f.mixed = true
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
	if at > 0 {
		err = errors.Join(err, f.untilDead(ctx, alive))
		f.crash(0)
		err = errors.Join(err, f.glance(ctx)) // G3: never a position past what is loaded
	}
	if err := errors.Join(err, f.publish(ctx, 10, rng), f.settle(ctx, true)); err != nil {
		crashFailed(t, f, at, after, err)
	}
	return calls
}

// untilDead waits for the end of a worker's life. The jitter of the waits makes a run a
// few calls shorter or longer: the last calls may be yet to come.
func (f *Fleet) untilDead(ctx, alive context.Context) (err error) {
	for err == nil && alive.Err() == nil {
		err = f.until(ctx, time.Now().Add(leaseTime/10))
	}
	return err
}

func crashFailed(t *testing.T, f *Fleet, at int, after bool, err error) {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	t.Errorf("crash at call %d, after it %v: %v\n%s\nto replay: go test ./internal/simulation -run '^%s$' -crash=%d -v", at, after, err, f.log.String(), name, at)
}

// scenario is what happens meanwhile; it ends early with the worker's life. The
// loads, which cost the most, come late: most repeats end before them.
func scenario(ctx, alive context.Context, f *Fleet, rng *rand.Rand) error {
	return f.play(ctx, alive, rng, schedule{
		{wait: 1200 * time.Millisecond, verb: doSplit},
		{wait: 5 * time.Second, verb: doPublish, n: 20},
		{wait: 3 * time.Second, verb: doMerge},
		{wait: 300 * time.Millisecond, verb: doPublish, n: 20},
		{wait: 3 * time.Second, verb: doPublish, n: 10},
		{wait: 5500 * time.Millisecond, verb: doVerify},
	})
}

// play takes the steps of a schedule until it or the worker's life ends.
func (f *Fleet) play(ctx, alive context.Context, rng *rand.Rand, steps schedule) error {
	for _, s := range steps {
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
