package redshift

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// Parts whose sums tell which of them passed.
var odd = Pace{Start: 1 * time.Second, Statement: 10 * time.Second, Write: 100 * time.Second, Commit: 1000 * time.Second}

// paced is a service at a pace, within a bubble: its times are virtual.
type paced struct {
	*Service
	t      *testing.T
	faults *fault.Set
	over   bool // closed by the test
}

// atPace runs the test with a service that has a table t and a table l.
func atPace(t *testing.T, p Pace, slots int, test func(t *testing.T, s *paced)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &paced{t: t, faults: fault.NewSet()}
		var err error
		if s.Service, err = New(t.Context(), Options{Pace: p, Slots: slots, Tiny: true, Faults: s.faults}); err != nil {
			t.Fatal(err)
		}
		for _, sql := range []string{"CREATE TABLE t (n INTEGER)", "CREATE TABLE l (n INTEGER)"} {
			ask(t, s.Service, sql)
		}
		test(t, s)
		if !s.over {
			s.finish()
		}
	})
}

// finish closes the service.
func (s *paced) finish() {
	s.over = true
	if err := s.Close(); err != nil {
		s.t.Error(err)
	}
}

// start submits a statement, or a batch of several.
func (s *paced) start(sqls ...string) *job {
	s.t.Helper()
	if len(sqls) == 1 {
		return s.call("ExecuteStatement", map[string]any{"Sql": sqls[0], "ClusterIdentifier": "c", "Database": "dev", "DbUser": "admin"})
	}
	return s.call("BatchExecuteStatement", map[string]any{"Sqls": sqls, "ClusterIdentifier": "c", "Database": "dev", "DbUser": "admin"})
}

func (s *paced) call(operation string, in map[string]any) *job {
	s.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		s.t.Fatal(err)
	}
	reply, err := s.answer(s.t.Context(), operation, body)
	if err != nil {
		s.t.Fatalf("%s %v: %v", operation, in, err)
	}
	var out struct {
		ID string `json:"Id"`
	}
	if err := json.Unmarshal(reply, &out); err != nil {
		s.t.Fatal(err)
	}
	j, _, err := s.jobs.find(out.ID)
	if err != nil {
		s.t.Fatal(err)
	}
	return j
}

// ended waits for the end of the job and wants it to come when so much time has
// passed since then.
func (s *paced) ended(j *job, want status, since time.Time, after time.Duration) {
	s.t.Helper()
	<-j.ended
	v := j.view()
	if took := time.Since(since); took != after || v.status != want {
		s.t.Errorf("%q is %s (%s) after %v, want %s after %v", j.sub.sqls, v.status, v.err, took, want, after)
	}
}

func (s *paced) rows() string {
	s.t.Helper()
	return ask(s.t, s.Service, "SELECT COUNT(*) FROM t")[0]
}

// TestPaceOfCalls: what each kind of call takes.
func TestPaceOfCalls(t *testing.T) {
	for _, test := range []struct {
		name string
		sqls []string
		ends status
		want time.Duration // digits: commits, writes, statements, starts
	}{
		{"a query", []string{"SELECT 1"}, finished, 11},
		{"queries", []string{"SELECT 1", "SHOW timezone", "SELECT 2"}, finished, 31},
		{"a write", []string{"INSERT INTO t VALUES (1)"}, finished, 1111},
		{"a table", []string{"CREATE TEMP TABLE a (n INTEGER)"}, finished, 1011},
		{"a table of a query", []string{"CREATE TEMP TABLE a AS SELECT 1 AS n"}, finished, 1111},
		{"a batch", []string{"LOCK l", "INSERT INTO t VALUES (1)", "SELECT 1", "UPDATE t SET n = 2", "DELETE FROM t"}, finished, 1351},
		{"locks alone", []string{"LOCK l", "LOCK t"}, finished, 21},
		{"a batch with a commit in it", []string{"INSERT INTO t VALUES (1)", "TRUNCATE t", "SELECT 1"}, finished, 1231},
		{"one that fails takes no commit", []string{"INSERT INTO t VALUES (1)", "SELECT 1 FROM nix"}, failed, 121},
		{"one that cannot be read takes nothing", []string{"INSERT INTO t VALUES (1)", "SELEKT"}, failed, 111},
	} {
		t.Run(test.name, func(t *testing.T) {
			atPace(t, odd, 0, func(_ *testing.T, s *paced) {
				s.ended(s.start(test.sqls...), test.ends, time.Now(), test.want*time.Second)
			})
		})
	}
}

// TestPublishedPace: a load of ten statements takes about five and a half seconds.
func TestPublishedPace(t *testing.T) {
	load := []string{
		"LOCK l", "CREATE TEMP TABLE i (n INTEGER)", "INSERT INTO i VALUES (1)", "SELECT n FROM i", "CREATE TEMP TABLE a AS SELECT n FROM i",
		"DELETE FROM t", "INSERT INTO t SELECT n FROM i", "DELETE FROM t", "INSERT INTO t SELECT n FROM i", "UPDATE t SET n = 2",
	}
	atPace(t, Published(), QueueSlots, func(t *testing.T, s *paced) {
		began := time.Now()
		j := s.start(load...)
		<-j.ended
		if took := time.Since(began); j.view().status != finished || took < 5*time.Second || took > 6*time.Second {
			t.Errorf("a load of %d statements is %s after %v: %s", len(load), j.view().status, took, j.view().err)
		}
	})
}

// TestPaceHoldsLocks: the time of a transaction passes while it holds its tables,
// and the time of a call's start does not.
func TestPaceHoldsLocks(t *testing.T) {
	load := []string{"LOCK l", "INSERT INTO t SELECT COUNT(*) FROM t"}
	atPace(t, odd, 0, func(t *testing.T, s *paced) {
		began := time.Now()
		var jobs []*job
		for range 3 {
			jobs = append(jobs, s.start(load...))
		}
		ended := map[time.Duration]bool{}
		for _, j := range jobs {
			<-j.ended
			ended[j.view().updated.Sub(began)] = true
		}
		for n := 1; n <= 3; n++ {
			if at := time.Second + time.Duration(n)*1120*time.Second; !ended[at] {
				t.Errorf("no load ended after %v: %v", at, ended)
			}
		}
		// Each saw what those before it had committed.
		if got := ask(t, s.Service, "SELECT SUM(n) FROM t")[0]; got != "3" {
			t.Errorf("the loads counted %s rows, want 0 + 1 + 2", got)
		}
	})
}

// TestPaceCommit: until the time of the commit has passed, nobody sees anything.
func TestPaceCommit(t *testing.T) {
	atPace(t, Pace{Commit: time.Hour}, 0, func(t *testing.T, s *paced) {
		began := time.Now()
		j := s.start("INSERT INTO t VALUES (1)", "SELECT 1")
		synctest.Wait()
		if got := s.rows(); got != "0" {
			t.Errorf("%s rows before the commit", got)
		}
		s.ended(j, finished, began, time.Hour)
		if got := s.rows(); got != "1" {
			t.Errorf("%s rows after the commit", got)
		}
	})
}

// moments are those at which a call can be caught by its end: its statements, how
// long after its submission, and what it does then.
var moments = []struct {
	name  string
	after time.Duration
	sqls  []string
}{
	{"starting", 500 * time.Millisecond, []string{"INSERT INTO t VALUES (1)"}},
	{"in a statement", 2 * time.Second, []string{"INSERT INTO t VALUES (1)"}},
	{"in a statement of a batch", 115 * time.Second, []string{"LOCK l", "INSERT INTO t VALUES (1)", "SELECT 1"}},
	{"in a query", 2 * time.Second, []string{"SELECT n FROM t"}},
	{"holding the lock", 2 * time.Second, []string{"LOCK l", "INSERT INTO t VALUES (1)"}},
	{"in the commit", 200 * time.Second, []string{"INSERT INTO t VALUES (1)"}},
	{"in the commit of a batch", 200 * time.Second, []string{"LOCK l", "INSERT INTO t VALUES (1)"}},
}

// TestPaceIsCancelled: whatever of its time passes, CancelStatement ends a call at
// once, nothing of it stays, and its tables are free.
func TestPaceIsCancelled(t *testing.T) {
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			atPace(t, odd, 0, func(t *testing.T, s *paced) {
				j := s.start(m.sqls...)
				<-time.After(m.after)
				s.cancel(j)
				s.ended(j, aborted, time.Now(), 0)
				if got := s.rows(); got != "0" {
					t.Errorf("%s rows", got)
				}
				s.ended(s.start("LOCK l", "LOCK t"), finished, time.Now(), 21*time.Second)
			})
		})
	}
}

func (s *paced) cancel(j *job) {
	s.t.Helper()
	if _, err := s.answer(s.t.Context(), "CancelStatement", []byte(`{"Id":"`+j.id+`"}`)); err != nil {
		s.t.Fatal(err)
	}
}

// TestPaceEndsWithTheService: so does the end of the service, and whoever waits
// for the tables of such a call ends too.
func TestPaceEndsWithTheService(t *testing.T) {
	for _, m := range moments {
		t.Run(m.name, func(t *testing.T) {
			atPace(t, odd, 2, func(t *testing.T, s *paced) {
				jobs := []*job{s.start(m.sqls...)}
				for range 4 { // for its tables, or for a slot
					jobs = append(jobs, s.start(m.sqls...))
				}
				<-time.After(m.after)
				at := time.Now()
				s.finish()
				for _, j := range jobs {
					s.ended(j, aborted, at, 0)
				}
			})
		})
	}
}

// TestPaceAndStatementTimeout: the time of a statement counts, and its waits do;
// the transaction is undone, and its tables are free.
func TestPaceAndStatementTimeout(t *testing.T) {
	const limit = "SET statement_timeout TO 50000"
	for name, test := range map[string]struct {
		sqls []string
		want time.Duration // 0: it finishes
	}{
		"long enough":     {[]string{limit, "SELECT 1", "SELECT 2"}, 0},
		"a write":         {[]string{limit, "SELECT 1", "INSERT INTO t VALUES (1)"}, (1 + 2*10 + 50) * time.Second},
		"taken back":      {[]string{limit, "RESET statement_timeout", "INSERT INTO t VALUES (1)"}, 0},
		"of another call": {[]string{"SELECT 1", "INSERT INTO t VALUES (1)"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			atPace(t, odd, 0, func(t *testing.T, s *paced) {
				began := time.Now()
				j := s.start(test.sqls...)
				<-j.ended
				v := j.view()
				switch {
				case test.want == 0 && v.status != finished:
					t.Errorf("%s: %s", v.status, v.err)
				case test.want > 0:
					s.ended(j, failed, began, test.want)
					if !strings.Contains(v.err, "cancelled on user's request") || s.rows() != "0" {
						t.Errorf("%s, and %s rows", v.err, s.rows())
					}
				}
				s.ended(s.start("LOCK l", "LOCK t"), finished, time.Now(), 21*time.Second)
			})
		})
	}
	t.Run("waiting for a table", func(t *testing.T) {
		atPace(t, odd, 0, func(_ *testing.T, s *paced) {
			holder := s.start("LOCK t", "INSERT INTO t VALUES (1)")
			<-time.After(2 * time.Second)
			s.ended(s.start("SELECT 1", limit, "LOCK t", "SELECT 1"), failed, time.Now(), (1+2*10+50)*time.Second)
			<-holder.ended
		})
	})
}

// TestPaceAndPause: a call that was starting when all were paused starts when
// they go on, and not before; one that runs ends.
func TestPaceAndPause(t *testing.T) {
	atPace(t, odd, 0, func(t *testing.T, s *paced) {
		began := time.Now()
		running := s.start("INSERT INTO t VALUES (1)")
		<-time.After(20 * time.Second)
		starting := s.start("SELECT 1")
		<-time.After(500 * time.Millisecond)
		if err := s.faults.Put([]fault.Fault{{Service: serviceName, Kind: fault.Paused}}); err != nil {
			t.Fatal(err)
		}
		cancelled := s.start("SELECT 1")
		s.ended(running, finished, began, 1111*time.Second)
		if st := starting.view().status; st != picked {
			t.Errorf("a call that was starting when all were paused is %s", st)
		}
		s.cancel(cancelled)
		s.ended(cancelled, aborted, began, 1111*time.Second)
		at := time.Now()
		s.faults.Clear()
		s.ended(starting, finished, at, 10*time.Second)
	})
}

// TestPaceAndSlow: a fault that makes a statement slow comes on top of its pace, and
// can be cancelled as well.
func TestPaceAndSlow(t *testing.T) {
	slow := fault.Fault{Service: serviceName, Kind: fault.StatementSlow, Delay: fault.Duration(7 * time.Second), Count: 2}
	atPace(t, odd, 0, func(t *testing.T, s *paced) {
		if err := s.faults.Put([]fault.Fault{slow}); err != nil {
			t.Fatal(err)
		}
		s.ended(s.start("SELECT 1"), finished, time.Now(), 18*time.Second)
		j := s.start("SELECT 1")
		<-time.After(5 * time.Second)
		s.cancel(j)
		s.ended(j, aborted, time.Now(), 0)
	})
}

// TestSlotsOfWaiters: calls that wait for a table leave their slots to those that
// can run, and have one again when they go on.
func TestSlotsOfWaiters(t *testing.T) {
	const slots = 2
	atPace(t, Pace{Statement: 10 * time.Second}, slots, func(t *testing.T, s *paced) {
		began := time.Now()
		load := []string{"LOCK l", "SELECT 1"}
		var loads []*job
		for range 4 {
			loads = append(loads, s.start(load...))
		}
		<-time.After(time.Second)
		// One load runs in one slot; the other one is free for these, one after the other.
		first, second := s.start("SELECT 1"), s.start("SELECT 2")
		<-first.ended
		<-second.ended
		if took := time.Since(began); took != 21*time.Second {
			t.Errorf("two queries beside loads that wait took until %v, want 21s", took)
		}
		for _, j := range loads {
			<-j.ended
		}
		if took := time.Since(began); took != 80*time.Second {
			t.Errorf("four loads, one after another, took %v, want 80s", took)
		}
		if n := len(s.slots) + len(s.conns); n != 0 {
			t.Errorf("%d slots and connections are still taken", n)
		}
	})
}

// TestSessionsHaveSlots: a call in a session waits for its slot like any other.
func TestSessionsHaveSlots(t *testing.T) {
	atPace(t, Pace{Statement: 10 * time.Second}, 1, func(_ *testing.T, s *paced) {
		began := time.Now()
		open := map[string]any{"Sql": "SELECT 1", "ClusterIdentifier": "c", "Database": "dev", "DbUser": "admin", "SessionKeepAliveSeconds": 60}
		first, second := s.call("ExecuteStatement", open), s.call("ExecuteStatement", open)
		<-first.ended
		s.ended(second, finished, began, 20*time.Second)
		again := s.call("ExecuteStatement", map[string]any{"Sql": "SELECT 2", "SessionId": first.session})
		s.ended(again, finished, began, 30*time.Second)
	})
}

// TestCommitOfASession: a COMMIT that is cancelled while its time passes undoes the
// transaction, and the session goes on.
func TestCommitOfASession(t *testing.T) {
	atPace(t, odd, 0, func(t *testing.T, s *paced) {
		first := s.call("ExecuteStatement", map[string]any{
			"Sql": "BEGIN", "ClusterIdentifier": "c", "Database": "dev", "DbUser": "admin", "SessionKeepAliveSeconds": 3600,
		})
		<-first.ended
		in := func(sql string) *job {
			return s.call("ExecuteStatement", map[string]any{"Sql": sql, "SessionId": first.session})
		}
		s.ended(in("INSERT INTO t VALUES (1)"), finished, time.Now(), 111*time.Second)
		j := in("COMMIT")
		<-time.After(time.Minute)
		s.cancel(j)
		s.ended(j, aborted, time.Now(), 0)
		if got := s.rows(); got != "0" {
			t.Errorf("%s rows", got)
		}
		s.ended(in("INSERT INTO t VALUES (2)"), finished, time.Now(), 1111*time.Second)
		if got := s.rows(); got != "1" {
			t.Errorf("%s rows of the session after it", got)
		}
	})
}

// TestPaceIsChecked: what is no pace is refused, all of it at once.
func TestPaceIsChecked(t *testing.T) {
	_, err := New(context.Background(), Options{Pace: Pace{Start: -1, Commit: 2 * time.Hour}})
	if err == nil || !strings.Contains(err.Error(), "pace-start -1ns") || !strings.Contains(err.Error(), "pace-commit 2h0m0s") {
		t.Errorf("got %v", err)
	}
}
