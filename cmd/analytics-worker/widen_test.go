package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loads lists the loads that have ended, the oldest first.
func (m *machine) loads() []statement {
	m.t.Helper()
	out := slices.DeleteFunc(m.statements("", "FINISHED"), func(s statement) bool {
		return !slices.ContainsFunc(s.sqls(), func(sql string) bool { return strings.Contains(sql, "INTO fact_orders") })
	})
	slices.SortFunc(out, func(a, b statement) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) })
	return out
}

// TestBatchesWidenAsLoadsTakeLonger: while the warehouse is slow, a load takes what
// arrived since the one before, and none is queued behind it.
func TestBatchesWidenAsLoadsTakeLonger(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "1")
	w := m.worker(anyAddr)
	addr := w.address()
	published := start(t, m.env, "analytics-worker", "publish", "--count", "0", "--rate", "200")
	processed := func() int64 {
		s, err := m.status(addr)
		if err != nil {
			return -1
		}
		return s.Processed
	}
	// phase lets some loads pass and returns how many records each had, how long it
	// took, and how many were loaded a second.
	phase := func(loads int) (records float64, took time.Duration, rate float64) {
		t.Helper()
		from, was, began := len(m.loads()), processed(), time.Now()
		m.progress(fmt.Sprintf("%d loads have ended", loads), func() (int64, bool) {
			n := len(m.loads()) - from
			return int64(n), n >= loads
		})
		all, now := m.loads(), processed()
		for _, s := range all[from:] {
			took += time.Duration((s.UpdatedAt - s.CreatedAt) * float64(time.Second))
		}
		n := len(all) - from
		return float64(now-was) / float64(n), took / time.Duration(n), float64(now-was) / time.Since(began).Seconds()
	}
	m.progress("the worker loads", func() (int64, bool) { n := processed(); return n, n > 100 })
	fast, fastTime, rate := phase(10)
	m.faults(`[{"service":"redshift-data","operation":"BatchExecuteStatement","fault":"statement-slow","match":"INTO fact_orders","delay":"2s"}]`)
	phase(2) // under way when it began
	slow, slowTime, _ := phase(4)
	m.faults(`[]`)
	t.Logf("%.0f records in a load of %v, %.0f in one of %v", fast, fastTime, slow, slowTime)
	// BATCH_SIZE (100) starts a load and does not bound it: one takes what arrived during
	// the one before.
	if slow < max(0.5*rate*slowTime.Seconds(), 150) || slowTime < 2*time.Second {
		t.Errorf("the batches did not widen: %.0f records in a load of %v, %.0f in one of %v", fast, fastTime, slow, slowTime)
	}
	for i, all := 1, m.loads(); i < len(all); i++ {
		if all[i].CreatedAt < all[i-1].UpdatedAt-0.002 { // times are in whole milliseconds
			t.Errorf("a load was submitted %.3f s before the end of the one before", all[i-1].UpdatedAt-all[i].CreatedAt)
		}
	}
	published.kill()
	w.signal(syscall.SIGINT)
	if status := w.exit(patience); status != 0 {
		t.Errorf("exit status %d of the worker", status)
	}
	if r := m.verify(); !r.OK {
		t.Errorf("the warehouse differs from the stream: %+v", r)
	}
}
