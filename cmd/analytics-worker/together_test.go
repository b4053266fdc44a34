package main

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// TestG1_G2_TheOneThatLoadsIsKilled lets processes load together and kills, again and
// again, the one that loads for all. Each is replaced at once. Meanwhile everything that
// arrived is queryable within two lease times and a load.
func TestG1_G2_TheOneThatLoadsIsKilled(t *testing.T) {
	t.Parallel()
	const pause = 5 * time.Second
	rate := 100
	orders := rate * int(pause.Seconds()) * killings
	f := newFleetOf(t, 8)
	f.admin(http.MethodPut, "/staging", "")
	join := func() *member { return f.join("STAGING_URL=s3://staging/batches", "POLL_INTERVAL=1") }
	var members []*member
	for range loadingWorkers {
		members = append(members, join())
	}
	f.held(1, members...)
	began := time.Now()
	publish := start(t, f.env, "analytics-worker", "publish", "--count", strconv.Itoa(orders), "--rate", strconv.Itoa(rate))
	look := f.lookOn(began)
	kills := 0
	for due := time.NewTimer(pause / 2); kills < killings; due.Reset(time.Until(began.Add(pause/2 + time.Duration(kills)*pause))) {
		look.at(members)
		select {
		case <-publish.done:
			t.Fatalf("%d of %d were killed while orders arrived", kills, killings)
		case <-due.C:
		}
		first := slices.IndexFunc(members, func(m *member) bool { return slices.Contains(m.shards(), "shardId-000000000000") })
		if first < 0 {
			first = 0
		}
		members[first].kill()
		members[first] = join()
		kills++
	}
	look.at(members)
	if status := publish.exit(patience); status != 0 {
		t.Fatalf("publish ended with status %d: %s", status, publish.output())
	}
	oldest, longest := look.end()
	f.settled(int64(orders))
	t.Logf("the one that loads was killed %d times; what was queryable was %v old at most, and a load took %v at most", kills, oldest.Round(time.Millisecond), longest)
	if limit := 2*leaseTime + longest; oldest > limit {
		t.Errorf("what was queryable was %v old, want at most %v", oldest, limit)
	}
	f.await("each page, status and doctor say who loads", func() (bool, error) {
		for _, verb := range []string{"status", "doctor"} {
			if out, _ := f.run(verb); !strings.Contains(out, " loads for all; ") {
				return false, nil
			}
		}
		return !slices.ContainsFunc(members, func(m *member) bool {
			s, err := f.status(m.address())
			return err != nil || s.Loads == nil || s.Loads.Loader == ""
		}), nil
	})
}

// onlooker looks at a fleet each second, beside whoever kills its members: to look takes
// long on a loaded machine.
type onlooker struct {
	f               *fleet
	members         atomic.Pointer[[]*member]
	oldest, longest time.Duration // of the completeness watermark, and of a load
	stop            context.CancelFunc
	done            chan struct{}
}

// lookOn begins to look. Nothing was on the stream before began.
func (f *fleet) lookOn(began time.Time) *onlooker {
	ctx, stop := context.WithCancel(f.t.Context())
	o := &onlooker{f: f, stop: stop, done: make(chan struct{})}
	o.at(nil)
	f.t.Cleanup(func() { o.end() })
	go func() {
		defer close(o.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			age, err := f.behind(began)
			if err != nil {
				f.t.Error(err)
				return
			}
			o.oldest = max(o.oldest, age)
			o.longest = max(o.longest, f.longestLoad(*o.members.Load()...))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return o
}

// at says who the members are now.
func (o *onlooker) at(members []*member) {
	now := slices.Clone(members)
	o.members.Store(&now)
}

// end returns how old the completeness watermark was, and how long a load took, at most.
func (o *onlooker) end() (oldest, longest time.Duration) {
	o.stop()
	<-o.done
	return o.oldest, o.longest
}

// behind is the age of the completeness watermark: for how long something may have been
// on the stream that cannot be queried yet. Nothing was before began.
func (f *fleet) behind(began time.Time) (age time.Duration, err error) {
	checkpoints, err := warehouse.Checkpoints(f.t.Context(), f.db, "order-events")
	for _, c := range checkpoints {
		until := c.ArrivedUntil
		if until.Before(began) {
			until = began
		}
		age = max(age, time.Since(until))
	}
	return age, err
}

// longestLoad is how long the members' loads took lately, but for one in a hundred.
func (f *fleet) longestLoad(members ...*member) (out time.Duration) {
	for _, m := range members {
		if s, err := f.status(m.address()); err == nil { // else it has just begun
			out = max(out, time.Duration(s.RecentLoads.Millis[2])*time.Millisecond)
		}
	}
	return out
}
