package simulation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed   = flag.Uint64("seed", 0, "run the simulation of this seed alone")
	worlds    = flag.Uint64("worlds", 1, "how many seeds TestSimulation runs, from 1 on")
	soaking   = flag.Duration("soak", 0, "for how long TestSoak draws new seeds")
	crashStep = flag.Int("crashes", 128, "TestG2_CrashAtEveryCall crashes at every n-th call; 1 is all of them")
	oneCrash  = flag.Int("crash", 0, "TestG2_CrashAtEveryCall crashes at this call alone")
)

// perWorld is how many schedules one seed stands for: they follow one another
// on one stream and fleet, whose past grows with them. The checker, which reads
// the stream from its beginning, is asked after every fullEvery of them.
const (
	perWorld  = 20
	fullEvery = 10
)

// simulation is what became of a seed.
type simulation struct {
	seed  uint64
	drawn []schedule
	spent int // schedules in which no fault struck
	tally *tally
	story string
	err   error
}

// simulate runs the first schedules of a seed, perWorld at most. It must be called in a bubble.
//
// The seed decides what is published, which faults strike which worker or
// service and at which virtual moment. It does not decide in which order
// goroutines run that are ready at the same moment, nor the jitter of the
// workers' own waits: a failure that hangs on those may take some tries.
func simulate(ctx context.Context, seed uint64, schedules int) (out simulation) {
	out.seed = seed
	rng := rand.New(rand.NewPCG(seed, 0x51))
	shards, moody := 1+rng.IntN(3), rng.IntN(2) == 0
	f, err := NewFleet(ctx, shards, atPace(seed, moody))
	if err != nil {
		out.err = err
		return out
	}
	f.moody = moody
	f.together = seed%4 > 1
	if seed%2 == 1 && !moody { // with numbers of their own, as those of rng are what a seed stands for
		f.replays = rand.New(rand.NewPCG(seed, 0x52))
	}
	out.err = f.world.Local.Faults().Put(f.standing())
	out.tally = f.tally
	if rng.IntN(2) == 0 {
		out.err = f.inherit(ctx, rng)
	}
	bucket := rand.New(rand.NewPCG(seed, 0x53)) // apart from rng, for the same reason
	for n := 1; n <= schedules && out.err == nil; n++ {
		s := draw(rng, f.moody)
		if f.together {
			s = s.amid(bucket)
		}
		out.drawn = append(out.drawn, s)
		f.note("schedule %d", n)
		f.mixed = rng.IntN(2) == 0
		before := f.tally.total()
		out.err = f.Run(ctx, s, rng, n%fullEvery == 0)
		if f.tally.total() == before {
			out.spent++
		}
	}
	out.err = errors.Join(out.err, f.Close())
	out.story = f.log.String()
	return out
}

// atPace says whether the warehouse of a seed takes Redshift's time: one in four
// does, and of those with moods one in sixteen, where rows are looked for by many
// loads and a seed costs four times as much. It is not drawn, as that would change
// what all seeds stand for.
func atPace(seed uint64, moody bool) bool {
	if moody {
		return seed%16 == 10
	}
	return seed%4 == 2
}

// runSeed runs a seed in a bubble and says how to run it again if it fails.
func runSeed(t *testing.T, seed uint64, schedules int) (out simulation) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { out = simulate(t.Context(), seed, schedules) })
	if out.err != nil || os.Getenv("SIMULATION_LOG") != "" {
		t.Logf("seed %d, schedule %d:\n%s", seed, len(out.drawn), out.story)
	}
	if out.err != nil {
		t.Errorf("seed %d, schedule %d: %v\nto replay: go test ./internal/simulation -run TestSimulation -seed=%d -v", seed, len(out.drawn), out.err, seed)
	}
	return out
}

// TestSimulation runs fleets through a fixed set of schedules.
func TestSimulation(t *testing.T) {
	t.Parallel()
	if *oneSeed != 0 {
		runSeed(t, *oneSeed, perWorld)
		return
	}
	var mu sync.Mutex // guards distinct, all and spent
	distinct, all, spent := make(map[string]bool), newTally(), 0
	schedules := withDetector(fullEvery, perWorld)
	t.Run("seeds", func(t *testing.T) {
		for seed := uint64(1); seed <= *worlds; seed++ {
			t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
				t.Parallel()
				out := runSeed(t, seed, schedules)
				mu.Lock()
				defer mu.Unlock()
				for _, s := range out.drawn {
					distinct[s.String()] = true
				}
				if out.tally != nil {
					all.merge(out.tally)
				}
				spent += out.spent
			})
		}
	})
	t.Logf("%d distinct schedules; in %d of them a fault struck. What happened:%s", len(distinct), len(distinct)-spent, all)
	if t.Failed() {
		return
	}
	if want := int(*worlds) * schedules; len(distinct) != want {
		t.Errorf("%d distinct schedules, want %d", len(distinct), want)
	}
	// Schedules that strike nothing would be easy to survive. Some do: a fault of
	// the warehouse's for a fleet that had nothing to load while it stood.
	if spent*4 > len(distinct) {
		t.Errorf("in %d of %d schedules no fault struck", spent, len(distinct))
	}
}

// TestSoak draws new seeds until the time is up.
func TestSoak(t *testing.T) {
	if *soaking == 0 {
		t.Skip("it runs for as long as -soak says: make soak MINUTES=30")
	}
	began := time.Now()
	var next, done atomic.Uint64
	next.Store(uint64(began.UnixNano()) % 1e12)
	var running sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() {
			for time.Since(began) < *soaking {
				seed := next.Add(1)
				t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) { runSeed(t, seed, perWorld) })
				if n := done.Add(1); n%10 == 0 {
					fmt.Fprintf(os.Stderr, "%s: %d seeds, %d schedules, failed: %v\n", time.Since(began).Round(time.Second), n, n*perWorld, t.Failed())
				}
			}
		})
	}
	running.Wait()
	t.Logf("%d seeds, %d schedules", done.Load(), done.Load()*perWorld)
}
