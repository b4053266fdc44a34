package simulation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// leastLoaderCalls is how long the recorded run of a worker that loads for a fleet
// must be, from the moment on at which it does.
const leastLoaderCalls = 100

// TestG2_TheLoaderCrashesAtEveryCall is TestG2_CrashAtEveryCall for a fleet of two or
// three workers that load together: the one that loads for all crashes, and the others
// go on. Calls are counted from where it has loaded for all of them.
func TestG2_TheLoaderCrashesAtEveryCall(t *testing.T) {
	crashEverywhere(t, leastLoaderCalls, loaderCrashRun)
}

// loaderCrashRun lets the one that loads crash at a call, 0 for none. It returns the
// calls that this worker made.
func loaderCrashRun(t *testing.T, f *Fleet, at int, after bool) int {
	t.Helper()
	ctx, rng := t.Context(), rand.New(rand.NewPCG(8, 8))
	alive, die := context.WithCancel(ctx)
	defer die()
	f.mixed, f.together = true, true
	f.born = 3 // the next ones load together, with files that end within a record
	var all []*crash
	f.spoil = func(next http.RoundTripper) http.RoundTripper {
		all = append(all, &crash{next: next, after: after, died: die})
		return all[len(all)-1]
	}
	err := f.splitOnce(ctx)
	for range 2 + at%2 {
		err = errors.Join(err, f.start(ctx, 1))
	}
	f.spoil = nil
	if err != nil {
		t.Fatal(err)
	}
	loader, err := f.awaitLoads(ctx, rng)
	if err != nil {
		crashFailed(t, f, at, after, err)
		return 0
	}
	before := all[loader].strike(at)
	err = loaderScenario(ctx, alive, f, rng)
	calls := all[loader].count() - before
	if at > 0 {
		err = errors.Join(err, f.untilDead(ctx, alive))
		f.crash(loader)
		err = errors.Join(err, f.glance(ctx)) // G3: never a position past what is loaded
		if after {
			if f.born%4 == 2 {
				f.born++ // that one would be of an older version, which neither loads for others nor sweeps
			}
			err = errors.Join(err, f.start(ctx, 1))
		}
	}
	if err := errors.Join(err, f.publish(ctx, 10, rng), f.settle(ctx, true), f.swept(ctx)); err != nil {
		crashFailed(t, f, at, after, err)
	}
	return calls
}

// strike has the nth call from now on crash, 0 for none. It returns the calls until now.
func (c *crash) strike(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > 0 {
		c.at = c.calls + n
	}
	return c.calls
}

// splitOnce gives the stream a few open shards.
func (f *Fleet) splitOnce(ctx context.Context) error {
	for n := range mostOpen - 2 {
		if err := errors.Join(f.reshard(ctx, step{verb: doSplit, n: n}), f.world.Stream.WaitActive(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// awaitLoads waits until all workers have had something loaded by the same one, and
// returns which.
func (f *Fleet) awaitLoads(ctx context.Context, rng *rand.Rand) (loader int, err error) {
	for range 40 {
		if err := errors.Join(f.publish(ctx, 6, rng), f.until(ctx, time.Now().Add(pollTime))); err != nil {
			return 0, err
		}
		names := make(map[string]bool)
		together := true
		for _, m := range f.live {
			s := m.run.Fleet.Status()
			names[s.Loader] = true
			together = together && s.Together && s.Loads >= 2
		}
		loader = slices.IndexFunc(f.live, func(m *member) bool { return names[m.name] })
		if together && len(names) == 1 && loader >= 0 {
			return loader, nil
		}
	}
	return 0, errors.New("the workers do not load together")
}

// loaderScenario is what happens meanwhile; it ends early with the worker's life.
func loaderScenario(ctx, alive context.Context, f *Fleet, rng *rand.Rand) error {
	return f.play(ctx, alive, rng, schedule{
		{wait: 300 * time.Millisecond, verb: doPublish, n: 20},
		{wait: 2 * time.Second, verb: doPublish, n: 20},
		{wait: 500 * time.Millisecond, verb: doMerge, n: 1},
		{wait: 2 * time.Second, verb: doPublish, n: 10},
		{wait: 4 * time.Second, verb: doVerify},
	})
}

// swept waits until nothing is staged any more, whoever has died. Word of quiet shards
// may stay.
func (f *Fleet) swept(ctx context.Context) error {
	bucket, err := f.world.Account.Bucket(stagingURL)
	if err != nil {
		return err
	}
	var left []string
	for range 150 {
		if left, err = waitingIn(ctx, bucket, f.world.stream); err != nil || len(left) == 0 {
			return err
		}
		if err := f.until(ctx, time.Now().Add(pollTime)); err != nil {
			return err
		}
	}
	return fmt.Errorf("still staged: %s", strings.Join(left, ", "))
}

// waitingIn lists what is staged of a stream, without word of quiet shards.
func waitingIn(ctx context.Context, bucket *aws.Bucket, stream string) (out []string, err error) {
	names, err := bucket.List(ctx, "")
	for _, name := range names {
		if !strings.Contains(name, "/staged/") {
			continue
		}
		body, err := bucket.Get(ctx, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case !strings.Contains(string(body), `"News":true`) && strings.Contains(string(body), strconv.Quote(stream)):
			out = append(out, name)
		}
	}
	return out, err
}
