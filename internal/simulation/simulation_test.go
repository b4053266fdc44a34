package simulation

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var (
	oneSeed = flag.Uint64("seed", 0, "run the simulation of this seed alone")
	worlds  = flag.Uint64("worlds", 10, "how many seeds TestSimulation runs")
)

// perWorld is how many schedules one seed stands for: they follow one another
// on one stream, whose past grows with them.
const perWorld = 20

// simulate runs the schedules of a seed.
func simulate(ctx context.Context, seed uint64) (story string, done int, err error) {
	rng := rand.New(rand.NewPCG(seed, 0x51))
	f, err := NewFleet(ctx, 1+rng.IntN(3))
	if err != nil {
		return "", 0, err
	}
	for ; done < perWorld && err == nil; done++ {
		f.note("schedule %d", done+1)
		err = f.Run(ctx, draw(rng), rng, done%5 == 4)
	}
	story = f.log.String()
	if e := f.Close(); err == nil {
		err = e
	}
	return story, done, err
}

func TestSimulation(t *testing.T) {
	if *oneSeed != 0 {
		runSeed(t, *oneSeed)
		return
	}
	for seed := uint64(1); seed <= *worlds; seed++ {
		t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			t.Parallel()
			runSeed(t, seed)
		})
	}
}

func runSeed(t *testing.T, seed uint64) {
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		virtual := time.Now()
		story, done, err := simulate(t.Context(), seed)
		if err != nil || os.Getenv("SIMULATION_LOG") != "" {
			t.Logf("\n%s", story)
		}
		if err != nil {
			t.Errorf("seed %d, schedule %d: %v\nreplay it: go test ./internal/simulation -run TestSimulation -seed=%d -v", seed, done, err, seed)
		}
		t.Logf("%d schedules, %s of virtual time", done, time.Since(virtual))
	})
	t.Logf("%s", time.Since(began))
}
