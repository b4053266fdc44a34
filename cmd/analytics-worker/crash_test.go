package main

import (
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	crashKills  = 10
	crashOrders = 500 * crashKills
)

// Orders flow while the worker is killed ten times, each time at another moment
// of its life: while it starts, claims, reads, stores letters, loads. The moments
// are drawn after a line that it logged, so that a slow machine has them too.
func TestG1_G2_KilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "4", "--file", "/dev/null")
	rng := rand.New(rand.NewPCG(2026, 11))
	stages := []string{`"msg":"starting"`, `"msg":"reading shard"`, `"msg":"loaded"`}
	var flows []*process
	for i := range crashKills {
		flows = append(flows, start(t, m.env, "analytics-worker", "publish", "--seed", strconv.Itoa(i),
			"--count", strconv.Itoa(crashOrders/crashKills), "--rate", "700", "--bad", "0.03"))
		w := start(t, append(m.env, "BATCH_SIZE=50"), "analytics-worker", "--verbose")
		w.await(stages[i%len(stages)])
		moment := time.NewTimer(time.Duration(rng.Int64N(int64(300 * time.Millisecond))))
		select {
		case <-moment.C:
		case <-w.done:
			t.Fatal("the worker ended by itself")
		}
		w.kill()
	}
	for _, flow := range flows {
		if status := flow.exit(patience); status != 0 {
			t.Fatalf("publish ended with status %d", status)
		}
	}
	before := m.verify()
	if !before.OK || before.Records == 0 {
		t.Fatalf("after the kills: %+v; the warehouse must agree with the stream, and some must be loaded", before)
	}
	w := m.worker("BATCH_SIZE=1000")
	r := m.settled(crashOrders)
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
	if r.Rejected == 0 || r.Letters != r.Rejected {
		t.Errorf("%d records were rejected and %d dead letters are there; there must be some, and as many", r.Rejected, r.Letters)
	}
	t.Logf("settled under fire: %d of %d records", before.Records, crashOrders)
}

// Everything that the worker had read when SIGTERM came is in the warehouse when
// it has ended. Nothing is loaded before that: the batch and the wait are too large.
func TestG1_SIGTERMDrains(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "4", "--count", "2000", "--bad", "0.05", "--seed", "12")
	w := m.worker("BATCH_SIZE=100000", "POLL_INTERVAL=5m", anyAddr)
	addr := w.address()
	m.await("all is read", func() (bool, error) {
		s, err := m.status(addr)
		return err == nil && s.Read == 2000, nil // until it listens, asking fails
	})
	if r := m.verify(); r.Records != 0 {
		t.Fatalf("%d records are settled before the end: the test shows nothing", r.Records)
	}
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
	if r := m.verify(); !r.OK || r.Records != 2000 {
		t.Errorf("after the drain %+v, want all of 2000 records settled", r)
	}
}

// A drain that cannot go on, and that has ten minutes, is cut short by the second
// signal, and costs nothing but the work: a restart loads it.
func TestG1_SecondSignalExitsAtOnce(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "300", "--seed", "13")
	w := m.worker("BATCH_SIZE=100000", "POLL_INTERVAL=5m", anyAddr)
	addr := w.address()
	m.await("all is read", func() (bool, error) {
		s, err := m.status(addr)
		return err == nil && s.Read == 300, nil
	})
	m.faults(paused)
	w.signal(syscall.SIGTERM)
	w.await("stopping: loading what was read")
	w.signal(syscall.SIGINT)
	if status := w.exit(patience); status != exitError {
		t.Errorf("status %d, want %d", status, exitError)
	}
	w.await("second signal: exiting at once")
	m.faults(`[]`)
	again := m.worker()
	m.settled(300)
	again.signal(syscall.SIGTERM)
	if status := again.exit(patience); status != 0 {
		t.Errorf("status %d after the restart", status)
	}
}

// A drain that cannot go on ends after DRAIN_TIMEOUT, and says what became of the
// work.
func TestG1_ADrainEndsInTime(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "300", "--seed", "16")
	w := m.worker("BATCH_SIZE=100000", "POLL_INTERVAL=5m", anyAddr, "DRAIN_TIMEOUT=1s")
	addr := w.address()
	m.await("all is read", func() (bool, error) {
		s, err := m.status(addr)
		return err == nil && s.Read == 300, nil
	})
	m.faults(paused)
	w.signal(syscall.SIGTERM)
	w.await("stopping: loading what was read", `"within":"1s"`)
	if status := w.exit(patience); status != exitError {
		t.Errorf("status %d, want %d", status, exitError)
	}
	w.await("it stays on the stream and is read again")
	w.await("-> ", "raise DRAIN_TIMEOUT")
	m.faults(`[]`)
	again := m.worker()
	m.settled(300)
	again.signal(syscall.SIGTERM)
	if status := again.exit(patience); status != 0 {
		t.Errorf("status %d after the restart", status)
	}
}

// A warehouse that is paused at the start is waited for.
func TestG9_StartsWhileTheWarehouseIsPaused(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.must("schema", "--apply")
	m.must("publish", "--create", "2", "--count", "300", "--seed", "14")
	m.faults(paused)
	w := m.worker(anyAddr)
	addr := w.address()
	m.await("the worker lives", func() (bool, error) {
		_, err := m.status(addr)
		return err == nil, nil
	})
	w.await(`"msg":"lease taken"`)
	m.faults(`[]`)
	m.settled(300)
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}

// A worker that comes before its stream and its tables says what to do, and goes
// on by itself once it is done.
func TestStartsBeforeStreamAndTables(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	w := m.worker()
	w.await("order-events", "check KINESIS_STREAM_NAME and AWS_REGION")
	m.must("publish", "--create", "2", "--count", "200", "--seed", "15")
	w.await(`relation \"`, "analytics-worker schema --apply")
	m.must("schema", "--apply")
	m.settled(200)
	w.signal(syscall.SIGTERM)
	if status := w.exit(patience); status != 0 {
		t.Errorf("status %d, want 0", status)
	}
}
