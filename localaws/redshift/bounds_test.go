package redshift

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

func nothing() error { return nil }

func jobWith(id, token, sql string) *job {
	return newJob(id, submission{token: token, sqls: []string{sql}}, time.Now())
}

func admit(t *testing.T, r *registry, j *job) *job {
	t.Helper()
	known, err := r.admit(j, 0, nothing)
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func finishJob(r *registry, j *job) {
	r.finish(j, finished, "")
}

// TestRetention: a result is there for 24 hours, a token for 8.
func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		old := jobWith("old", "token", "SELECT 1")
		admit(t, r, old)
		finishJob(r, old)
		time.Sleep(keepTokens - time.Second)
		if known := admit(t, r, jobWith("new", "token", "SELECT 1")); known != old {
			t.Errorf("within 8 hours the token names %v", known)
		}
		time.Sleep(2 * time.Second)
		next := jobWith("next", "token", "SELECT 1")
		if known := admit(t, r, next); known != nil {
			t.Errorf("after 8 hours the token still names %v", known.id)
		}
		finishJob(r, next)
		if _, _, err := r.find("old"); err != nil {
			t.Errorf("within 24 hours: %v", err)
		}
		time.Sleep(keepResults)
		if _, _, err := r.find("old"); err == nil {
			t.Error("after 24 hours the statement is still known")
		}
	})
}

// TestRetentionIsBounded: the oldest ended statements make room for new ones,
// and a token outlives its statement.
func TestRetentionIsBounded(t *testing.T) {
	r := newRegistry()
	sql := strings.Repeat("x", maxKept/16)
	for i := range 40 {
		j := jobWith(fmt.Sprint(i), fmt.Sprint("token", i), sql)
		admit(t, r, j)
		finishJob(r, j)
	}
	if r.kept > maxKept || len(r.byID) > 16 || len(r.order) > 16 {
		t.Errorf("%d bytes of %d statements are kept", r.kept, len(r.byID))
	}
	if _, _, err := r.find("39"); err != nil {
		t.Errorf("the newest statement: %v", err)
	}
	if _, _, err := r.find("0"); err == nil {
		t.Error("the oldest statement is still known")
	}
	if known := admit(t, r, jobWith("again", "token0", sql)); known == nil || known.id != "0" {
		t.Errorf("the token of a forgotten statement names %v: it would run twice", known)
	}
}

func TestActiveQuota(t *testing.T) {
	r := newRegistry()
	var jobs []*job
	for i := range maxActive {
		j := jobWith(fmt.Sprint(i), "", "SELECT 1")
		if _, err := r.admit(j, maxActive, nothing); err != nil {
			t.Fatalf("statement %d: %v", i+1, err)
		}
		jobs = append(jobs, j)
	}
	_, err := r.admit(jobWith("more", "", "SELECT 1"), maxActive, nothing)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != "ActiveStatementsExceededException" {
		t.Errorf("one more than the quota: %v", err)
	}
	finishJob(r, jobs[7])
	if _, err := r.admit(jobWith("more", "", "SELECT 1"), maxActive, nothing); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}

// TestSessionLife: a session ends when it is not used, and after a day in any
// case.
func TestSessionLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSessions()
		use := func(id string, keepAlive int) (*session, error) {
			j := jobWith("j", "", "SELECT 1")
			j.sub.sessionID, j.sub.keepAlive = id, keepAlive
			own, err := s.claim(j, 0)
			if own != nil && own.backend == nil {
				own.backend = &backend{conn: &standing{}}
			}
			return own, err
		}
		own, err := use("", 60)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 { // each use starts the wait anew
			s.release(own)
			time.Sleep(59 * time.Second)
			if _, err := use(own.id, -1); err != nil {
				t.Fatalf("within its time: %v", err)
			}
		}
		s.release(own)
		time.Sleep(61 * time.Second)
		if _, err := use(own.id, -1); err == nil || !strings.Contains(err.Error(), "not available") {
			t.Errorf("after its time: %v", err)
		}
		day, err := use("", maxKeepAlive)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			s.release(day)
			time.Sleep(6*time.Hour - time.Minute)
			if _, err := use(day.id, -1); err != nil {
				t.Fatal(err)
			}
		}
		s.release(day)
		time.Sleep(5 * time.Minute)
		if _, err := use(day.id, -1); err == nil {
			t.Error("a session lived for more than a day")
		}
		if !own.backend.conn.(*standing).closed || len(s.byID) != 0 {
			t.Error("a session that ended kept its connection")
		}
		s.close()
	})
}

// standing is a connection that only stands there.
type standing struct {
	conn
	closed bool
}

func (s *standing) usable() bool { return true }
func (s *standing) close() error { s.closed = true; return nil }

// TestLocksAreFIFO: those who wait get the table in the order in which they asked.
func TestLocksAreFIFO(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTableLocks()
		first := &holder{pid: 1}
		if err := l.acquire(t.Context(), first, "t", lockAll); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int64
		for pid := int64(2); pid < 8; pid++ {
			go func() {
				h := &holder{pid: pid}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if pid == 4 { // gives up while it waits
					time.AfterFunc(time.Second, cancel)
				}
				if err := l.acquire(ctx, h, "t", lockAll); err == nil {
					mu.Lock()
					order = append(order, pid)
					mu.Unlock()
				}
				l.release(h)
			}()
			synctest.Wait() // until it waits
		}
		time.Sleep(2 * time.Second)
		l.release(first)
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[2 3 5 6 7]" {
			t.Errorf("the table went to %s", got)
		}
		if len(l.held) != 0 {
			t.Errorf("%d tables are still held", len(l.held))
		}
	})
}

// TestLockCycle: the one whose wait would close a circle of three is refused.
func TestLockCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTableLocks()
		h := []*holder{{pid: 0}, {pid: 1}, {pid: 2}}
		for i := range h {
			if err := l.acquire(t.Context(), h[i], fmt.Sprint(i), lockAll); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 {
			go func() {
				if err := l.acquire(t.Context(), h[i], fmt.Sprint(i+1), lockAll); err != nil {
					t.Errorf("holder %d: %v", i, err)
				}
				l.release(h[i])
			}()
			synctest.Wait()
		}
		if err := l.acquire(t.Context(), h[2], "0", lockAll); err == nil || !strings.Contains(err.Error(), "deadlock detected") {
			t.Errorf("the third: %v", err)
		}
		l.release(h[2])
		synctest.Wait()
	})
}

func TestRates(t *testing.T) {
	r, now := newRates(), time.Now()
	for operation, perSecond := range map[string]int{"ExecuteStatement": 30, "BatchExecuteStatement": 20, "DescribeStatement": 100, "GetStatementResult": 20} {
		allowed := 0
		for range 500 {
			if r.allow(operation, now) {
				allowed++
			}
		}
		if allowed != perSecond {
			t.Errorf("%s: %d at once, want %d", operation, allowed, perSecond)
		}
		if !r.allow(operation, now.Add(time.Second)) {
			t.Errorf("%s: nothing is left a second later", operation)
		}
	}
}

func TestDecimalText(t *testing.T) {
	for _, c := range []struct {
		unscaled string
		scale    int
		want     string
	}{
		{"0", 2, "0.00"},
		{"5", 2, "0.05"},
		{"-5", 2, "-0.05"},
		{"1000", 2, "10.00"},
		{"123", 0, "123"},
		{"-100", 3, "-0.100"},
		{"99999999999999999999999999999999999999", 38, "0.99999999999999999999999999999999999999"},
	} {
		n, _ := new(big.Int).SetString(c.unscaled, 10)
		if got := decimalText(n, c.scale); got != c.want {
			t.Errorf("%s with scale %d: %s, want %s", c.unscaled, c.scale, got, c.want)
		}
	}
}

func TestLike(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "x", true},
		{"%", "", true},
		{"fact_%", "fact_orders", true},
		{"f%s", "fact_orders", true},
		{"f_ct", "fact", true},
		{"f_ct", "fct", false},
		{"[a]", "a", false},
		{"*", "a", false},
		{"fact", "facts", false},
	} {
		if got := like(c.pattern, c.s); got != c.want {
			t.Errorf("like(%q, %q) = %v", c.pattern, c.s, got)
		}
	}
}

// TestLockModes: those who read share a table with each other and with one who
// writes it, and with nobody who locked it, whoever came first.
func TestLockModes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTableLocks()
		var got, left []string // who holds the table, in the order of getting it, and who gave up
		var mu sync.Mutex      // guards got and left
		ask := func(ctx context.Context, h *holder, name string, mode lockMode) {
			go func() {
				err := l.acquire(ctx, h, "t", mode)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					left = append(left, name)
					return
				}
				got = append(got, name)
			}()
			synctest.Wait()
		}
		check := func(want string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if fmt.Sprint(got) != want {
				t.Errorf("the table went to %v, want %s", got, want)
			}
			got = nil
		}
		h := make([]*holder, 6)
		for i := range h {
			h[i] = &holder{pid: int64(i)}
		}
		ask(t.Context(), h[0], "reader", lockRead)
		ask(t.Context(), h[1], "writer", lockWrite)
		ask(t.Context(), h[2], "reader 2", lockRead)
		ask(t.Context(), h[3], "writer 2", lockWrite)
		check("[reader writer reader 2]")
		l.release(h[1])
		check("[writer 2]")
		l.release(h[3])

		giveUp, cancel := context.WithCancel(t.Context())
		ask(giveUp, h[3], "locker", lockAll)
		ask(t.Context(), h[4], "late reader", lockRead)
		ask(t.Context(), h[0], "reader that writes", lockWrite) // or it and the locker would wait for each other
		check("[reader that writes]")
		cancel() // who held back the reader gives up as the reader goes on: which is noted first says nothing
		check("[late reader]")
		if fmt.Sprint(left) != "[locker]" {
			t.Errorf("%v gave up, want the locker", left)
		}

		ask(t.Context(), h[3], "locker", lockAll)
		ask(t.Context(), h[5], "latest reader", lockRead)
		l.release(h[0])
		l.release(h[2])
		l.release(h[4])
		check("[locker]")
		l.release(h[3])
		check("[latest reader]")
		l.release(h[5])
		if len(l.held) != 0 {
			t.Errorf("%d tables are still held", len(l.held))
		}
	})
}

// TestTwoReadersThatLock: each waits for the other to have read, which never ends.
func TestTwoReadersThatLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newTableLocks()
		a, b := &holder{pid: 1}, &holder{pid: 2}
		for _, h := range []*holder{a, b} {
			if err := l.acquire(t.Context(), h, "t", lockRead); err != nil {
				t.Fatal(err)
			}
		}
		done := make(chan error)
		go func() { done <- l.acquire(t.Context(), a, "t", lockAll) }()
		synctest.Wait()
		if err := l.acquire(t.Context(), b, "t", lockAll); err == nil || !strings.Contains(err.Error(), "deadlock detected") {
			t.Errorf("the second: %v", err)
		}
		l.release(b)
		if err := <-done; err != nil {
			t.Errorf("the first: %v", err)
		}
		l.release(a)
	})
}
