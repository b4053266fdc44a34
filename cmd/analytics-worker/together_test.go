package main

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
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
	var oldest, longest time.Duration // of the completeness watermark, and of a load
	kills, lastKill := 0, began
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for done := false; !done; {
		select {
		case <-publish.done:
			done = true
		case <-tick.C:
		}
		oldest = max(oldest, f.behind(began))
		longest = max(longest, f.longestLoad(members...))
		if time.Since(lastKill) < pause || kills == killings {
			continue
		}
		first := slices.IndexFunc(members, func(m *member) bool { return slices.Contains(m.shards(), "shardId-000000000000") })
		if first < 0 {
			first = 0
		}
		members[first].kill()
		members[first] = join()
		kills, lastKill = kills+1, time.Now()
	}
	if status := publish.exit(patience); status != 0 {
		t.Fatalf("publish ended with status %d: %s", status, publish.output())
	}
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
	if kills < killings*2/3 { // looking takes its time, and orders come as quickly on a slow machine
		t.Errorf("%d of %d were killed while orders arrived", kills, killings)
	}
}

// behind is the age of the completeness watermark: for how long something may have been
// on the stream that cannot be queried yet. Nothing was before began.
func (f *fleet) behind(began time.Time) (age time.Duration) {
	f.t.Helper()
	checkpoints, err := warehouse.Checkpoints(f.t.Context(), f.db, "order-events")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, c := range checkpoints {
		until := c.ArrivedUntil
		if until.Before(began) {
			until = began
		}
		age = max(age, time.Since(until))
	}
	return age
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
