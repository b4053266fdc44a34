package redshift

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// Pace is the time that a call takes beside what the engine needs. What passes
// within a transaction passes while its locks are held. The zero Pace takes none.
type Pace struct {
	Start     time.Duration // of a call, before its first statement: to be accepted, and to connect
	Statement time.Duration // of each statement, once it has its locks
	Write     time.Duration // more of a statement that changes rows, or makes a table of a query's
	Commit    time.Duration // of the end of a transaction that changed anything
}

// Published is Redshift's pace by published figures. AWS's sample of a batch of
// two statements by the Data API has its first result after 0.78 s, the second
// 0.17 s later, and the end 0.11 s after that; statements that change a row took
// 0.35 to 0.47 s of the engine in the figures of a maker of dashboards; a commit
// takes 0.6 s in AWS's sample of STL_COMMIT_STATS. None of it was measured by us.
func Published() Pace {
	return Pace{
		Start: 800 * time.Millisecond, Statement: 130 * time.Millisecond,
		Write: 400 * time.Millisecond, Commit: 600 * time.Millisecond,
	}
}

// QueueSlots is how many queries the default queue of Redshift's manual workload
// management runs at once.
const QueueSlots = 5

// Check reports everything that is wrong with the pace.
func (p Pace) Check() error {
	var wrong []error
	for _, part := range []struct {
		name string
		time time.Duration
	}{{"start", p.Start}, {"statement", p.Statement}, {"write", p.Write}, {"commit", p.Commit}} {
		if part.time < 0 || part.time > time.Hour {
			wrong = append(wrong, fmt.Errorf("pace-%s %v: must be from 0s to 1h", part.name, part.time))
		}
	}
	return errors.Join(wrong...)
}

// statement lets the time of a statement pass that has its locks.
func (p Pace) statement(ctx context.Context, st dialect.Statement) error {
	d := p.Statement
	if counts(st.Verb) || st.Verb == "CREATE TABLE AS" || st.Verb == "TRUNCATE" {
		d += p.Write
	}
	return pass(ctx, d)
}

// pass lets the time pass, unless the context ends first.
func pass(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	return sleep(ctx, d)
}

// changes reports whether a commit after the statement has anything to keep.
func changes(verb string) bool {
	switch verb {
	case "SELECT", "EXPLAIN", "SHOW", "LOCK", "SET", "RESET", "ANALYZE", "VACUUM":
		return false
	default:
		return true
	}
}

// timedOut is how a statement ends that takes longer than statement_timeout, which
// counts its waits too: for tables, and for a slot.
func timedOut(query int64) error {
	return &sqlError{message: fmt.Sprintf("ERROR: Query (%d) cancelled on user's request", query)}
}

// lockPatience is how long a call that waits for a table keeps its slot.
const lockPatience = 50 * time.Millisecond

// slot is a call's place among those that run at a time.
type slot struct {
	all  chan struct{} // one for each that is taken
	held bool          // its user's, or of the function that during has started
}

// take waits for a free slot.
func (s *slot) take(ctx context.Context) error {
	select {
	case s.all <- struct{}{}:
		s.held = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives the slot back, if it is taken.
func (s *slot) leave() {
	if s.held {
		s.held = false
		<-s.all
	}
}

// during runs what waits for tables. Who waits long does so without a slot: Redshift
// queues queries that are ready to run, and loads that wait for each other must not
// keep everybody else from running. With the tables in hand it waits for a slot again.
func (s *slot) during(ctx context.Context, lock func() error) error {
	left := make(chan struct{})
	timer := time.AfterFunc(lockPatience, func() {
		s.leave()
		close(left)
	})
	err := lock()
	if timer.Stop() {
		return err
	}
	<-left
	if err != nil {
		return err
	}
	return s.take(ctx)
}
