package main

import (
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestG1_G2_TheOneThatLoadsIsKilled lets processes load together and kills, again and
// again, the one that loads for all. Each is replaced at once.
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
	published := make(chan string, 1)
	go func() {
		out, _ := f.run("publish", "--count", strconv.Itoa(orders), "--rate", strconv.Itoa(rate))
		published <- out
	}()
	for range killings {
		<-time.After(pause) // of publishing and loading
		first := slices.IndexFunc(members, func(m *member) bool { return slices.Contains(m.shards(), "shardId-000000000000") })
		if first < 0 {
			first = 0
		}
		members[first].kill()
		members[first] = join()
	}
	<-published
	f.settled(int64(orders))
}
