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
	last := "" // said, in case it is waited for in vain
	defer func() {
		if t.Failed() {
			t.Logf("status said last: %s", last)
		}
	}()
	look := func() (r statusReport) {
		out, _ := m.run("status", "--format", "json")
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		last = out
		return r
	}
	strange := func(w verdict.Member) bool {
		return !w.Alive || w.Self == nil || w.Self.Version == "" || w.Self.Since.IsZero() || w.Says == nil ||
			w.Self.Page != "http://"+pages[0]+"/" && w.Self.Page != "http://"+pages[1]+"/"
	}
	m.await("all is loaded, each shard has its worker, and both are told of with what they say of themselves", func() (bool, error) {
		r := look()
		theirs := 0
		for _, w := range r.Workers {
			theirs += w.Shards
		}
		return len(r.Shards) == shards && theirs == shards && len(r.Workers) == 2 && !slices.ContainsFunc(r.Workers, strange) &&
			r.Rate != nil && r.LagMillis != nil && *r.LagMillis == 0, nil
	})
	quickest(t, 10, statusTakes, func() {
		if r := look(); len(r.Shards) != shards || len(r.Workers) != 2 {
			t.Errorf("%d shards and %d workers, want %d and 2", len(r.Shards), len(r.Workers), shards)
		}
	})
	for _, page := range pages { // a page is as its worker last read the lease table
		m.await(page+" shows both workers, and how far each shard is behind", func() (bool, error) {
			s, err := m.status(page)
			known := !slices.ContainsFunc(s.Fleet, func(one admin.ShardOwner) bool { return one.LagMillis == nil })
			told := !slices.ContainsFunc(s.Workers, func(w verdict.Member) bool { return w.Self == nil })
			return err == nil && len(s.Fleet) == shards && known && len(s.Workers) == 2 && told, err
		})
	}

	m.faults(`[{"service":"redshift-data","fault":"paused"}]`)
	m.await("status knows from the lease table what the paused warehouse does not tell", func() (bool, error) {
		r := look()
		return r.Verdict.State != verdict.Fine && r.LagMillis != nil && len(r.Workers) == 2, nil
	})
	m.await("status shows the workers while the warehouse is paused", func() (bool, error) {
		out, _ := m.run("status")
		last = out
		return holdsAll(out, []string{"\nloading ", " records/s, 0/s rejected; ", "\nWORKER ", pages[0], pages[1]}), nil
	})
	m.faults(`[]`)
}

// Whoever asks while nothing answers has the answer within ten seconds.
func TestStatusAnswersWithEverythingDown(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]func(testing.TB) string{"refused": refusingAddr, "silent": silentAddr} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &machine{t: t, env: sessionEnvironment("http://"+endpoint(t), t.TempDir())}
			quickest(t, 6, 10*time.Second, func() {
				if out, status := m.run("status"); status != exitError || !strings.Contains(out, "! ") || strings.HasPrefix(out, "FINE") {
					t.Errorf("status %d: %s", status, out)
				}
			})
		})
	}
}
