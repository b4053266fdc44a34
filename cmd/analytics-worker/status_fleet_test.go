package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// quickest runs a command up to so many times until it took less than the limit: what
// else the machine does only ever adds.
func quickest(t *testing.T, times int, limit time.Duration, run func()) {
	t.Helper()
	best := time.Hour
	for range times {
		began := time.Now()
		run()
		if best = min(best, time.Since(began)); best < limit {
			break
		}
	}
	t.Logf("took %v", best.Round(time.Millisecond))
	if best >= limit {
		t.Errorf("took %v, want less than %v", best, limit)
	}
}

// Status shows all workers and all shards, with the warehouse and, from the lease table
// alone, while that does not answer; and a worker's page shows the other one's.
func TestTheFleetIsSeenFromAnywhere(t *testing.T) {
	if !everyTrouble { // then it has the machine for itself
		t.Parallel()
	}
	const shards = statusShards
	m := newMachine(t)
	m.must("publish", "--create", fmt.Sprint(shards), "--count", "2000", "--seed", "1")
	m.must("schema", "--apply")
	a, b := m.worker(anyAddr), m.worker(anyAddr)
	pages := []string{a.address(), b.address()}
	look := func() (r statusReport) {
		out, _ := m.run("status", "--format", "json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r
	}
	m.await("all is loaded, each shard has its worker, and both are told of with what they say of themselves", func() (bool, error) {
		r := look()
		owned := !slices.ContainsFunc(r.Shards, func(s shardStatus) bool { return s.Owner == "" })
		return len(r.Workers) == 2 && owned && r.Rate != nil && r.LagMillis != nil && *r.LagMillis == 0, nil
	})
	var r statusReport
	quickest(t, 10, statusTakes, func() { r = look() })
	if len(r.Shards) != shards {
		t.Errorf("%d shards, want %d", len(r.Shards), shards)
	}
	theirs := 0
	for _, w := range r.Workers {
		theirs += w.Shards
		if !w.Alive || w.Self == nil || w.Self.Version == "" || w.Self.Since.IsZero() || w.Says == nil ||
			w.Self.Page != "http://"+pages[0]+"/" && w.Self.Page != "http://"+pages[1]+"/" {
			t.Errorf("a worker is told of as %+v of %+v", w, w.Self)
		}
	}
	if theirs != shards {
		t.Errorf("the workers have %d shards, want %d", theirs, shards)
	}
	for _, page := range pages { // a page is as its worker last read the lease table
		m.await(page+" shows both workers, and how far each shard is behind", func() (bool, error) {
			s, err := m.status(page)
			known := !slices.ContainsFunc(s.Fleet, func(one admin.ShardOwner) bool { return one.LagMillis == nil })
			told := !slices.ContainsFunc(s.Workers, func(w verdict.Member) bool { return w.Self == nil })
			return err == nil && len(s.Fleet) == shards && known && len(s.Workers) == 2 && told, err
		})
	}

	m.faults(`[{"service":"redshift-data","fault":"paused"}]`)
	r = look()
	if r.Verdict.State == verdict.Fine || r.LagMillis == nil || len(r.Workers) != 2 {
		t.Errorf("while the warehouse is paused: %s, lag %v, %d workers; want it from the lease table", r.Verdict.Says, millis(r.LagMillis), len(r.Workers))
	}
	out, _ := m.run("status")
	for _, want := range []string{"\nloading ", " records/s, 0/s rejected; ", "\nWORKER ", pages[0], pages[1]} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	m.faults(`[]`)
}

// Whoever asks while nothing answers has the answer within ten seconds.
func TestStatusAnswersWithEverythingDown(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]func(testing.TB) string{"refused": freeAddr, "silent": silentAddr} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &machine{t: t, env: sessionEnvironment("http://"+endpoint(t), t.TempDir())}
			quickest(t, 3, 10*time.Second, func() {
				if out, status := m.run("status"); status != exitError || !strings.Contains(out, "! ") || strings.HasPrefix(out, "FINE") {
					t.Errorf("status %d: %s", status, out)
				}
			})
		})
	}
}
