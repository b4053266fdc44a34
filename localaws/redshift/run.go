package redshift

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
	"github.com/cloudcafe/analytics-worker/localaws/redshift/dialect"
)

// run takes a job from SUBMITTED to its end.
func (s *Service) run(ctx context.Context, j *job, own *session) {
	defer s.running.Done()
	defer j.cancel(nil)
	err := s.attempt(ctx, j, own)
	to, message := verdict(j, err)
	s.jobs.finish(j, to, message)
	s.opts.Log.Debug("redshift-data: statement ended", "id", j.id, "status", to, "error", message)
}

// verdict is the terminal status that the error stands for.
func verdict(j *job, err error) (status, string) {
	var f *partError
	switch {
	case err == nil:
		return finished, ""
	case errors.Is(err, errCancelled), errors.Is(err, context.Canceled):
		return aborted, fmt.Sprintf("ERROR: Query cancelled on user's request (%s)", j.id)
	case errors.As(err, &f) && j.sub.batch:
		return failed, fmt.Sprintf("Query #%d failed with %s", f.index+1, words(f.err))
	default:
		return failed, words(err)
	}
}

// partError is the failure of one statement of a job.
type partError struct {
	index int
	err   error
}

func (e *partError) Error() string { return words(e.err) }
func (e *partError) Unwrap() error { return e.err }

// attempt runs the job once it may start. own is its session, nil for none.
func (s *Service) attempt(ctx context.Context, j *job, own *session) error {
	if own != nil {
		defer s.sessions.release(own)
	}
	if err := s.awaitStart(ctx); err != nil {
		return err
	}
	j.move(picked, 0)
	if err := pass(ctx, s.opts.Pace.Start); err != nil {
		return err
	}
	if err := s.awaitStart(ctx); err != nil { // it may have been paused meanwhile
		return err
	}
	b, done, err := s.backendFor(ctx, j, own)
	if err != nil {
		return err
	}
	defer func() {
		// What was committed stays so: this is not the statement's failure.
		if err := done(); err != nil {
			s.opts.Log.Warn("redshift-data: close a connection", "id", j.id, "error", err)
		}
	}()
	j.move(started, b.asks.PID)
	if f, ok := s.opts.Faults.TakeSQL(serviceName, j.sub.operation, j.sub.sqls, fault.StatementSlow); ok {
		if err := sleep(ctx, time.Duration(f.Delay)); err != nil {
			return err
		}
	}
	_, b.early = s.opts.Faults.Take(serviceName, j.sub.operation, fault.SnapshotEarly)
	b.refuse = nil
	if s.opts.Faults.Standing(serviceName, fault.LineRefused) {
		b.refuse = func(fields []string) (fault.Fault, bool) {
			return s.opts.Faults.TakeSQL(serviceName, j.sub.operation, fields, fault.LineRefused)
		}
	}
	r := runner{job: j, b: b, limits: s.opts.Limits, dir: s.opts.DataDir, failAt: -1}
	if f, ok := s.opts.Faults.TakeSQL(serviceName, j.sub.operation, j.sub.sqls, fault.StatementFailed); ok {
		r.failAt, r.failure = lastData(j.sub.sqls, b), injected(f)
	}
	if j.sub.batch {
		return r.batch(ctx)
	}
	return r.part(ctx, 0)
}

// awaitStart waits while statements are paused.
func (s *Service) awaitStart(ctx context.Context) error {
	for {
		// First the channel, then the look: a change in between is not missed.
		changed := s.opts.Faults.Changed()
		if !s.opts.Faults.Standing(serviceName, fault.Paused) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// backendFor waits until the job may run, and returns the session's backend or a
// fresh one for this job alone, with the function that ends the use of it. Who has
// a slot never waits for a connection: those with connections may wait for slots.
func (s *Service) backendFor(ctx context.Context, j *job, own *session) (*backend, func() error, error) {
	if own == nil {
		select {
		case s.conns <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
	turn := &slot{all: s.slots}
	done := func() {
		turn.leave()
		if own == nil {
			<-s.conns
		}
	}
	if err := turn.take(ctx); err != nil {
		done()
		return nil, nil, err
	}
	if own != nil && own.backend != nil {
		own.backend.slot = turn
		return own.backend, func() error { done(); return nil }, nil
	}
	b, err := s.connect(ctx, j.sub)
	if err != nil {
		done()
		return nil, nil, err
	}
	b.slot, b.pace = turn, s.opts.Pace
	if own != nil {
		own.backend = b
		return b, func() error { done(); return nil }, nil
	}
	return b, func() error {
		defer done()
		return b.close()
	}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func injected(f fault.Fault) error {
	if f.Error == "" {
		return refusal("injected failure")
	}
	return &sqlError{message: f.Error}
}

// lastData is the index of the last statement that changes data, where a
// failure undoes the most; the last of all where none does.
func lastData(sqls []string, b *backend) int {
	for i := len(sqls) - 1; i >= 0; i-- {
		if st, err := b.asks.Translate(sqls[i], b.conn.dialect(), nil); err == nil && counts(st.Verb) {
			return i
		}
	}
	return len(sqls) - 1
}

// runner runs the statements of one job.
type runner struct {
	job     *job
	b       *backend
	limits  bool
	dir     string // for large results
	failAt  int    // the statement that a fault makes fail, -1 for none
	failure error
}

// batch runs the job's statements as one transaction.
func (r *runner) batch(ctx context.Context) error {
	for i := range r.job.sub.sqls {
		// COMMIT and TRUNCATE end the transaction; what follows is in a new one.
		err := r.b.begin(ctx)
		if err == nil {
			err = r.part(ctx, i)
		}
		if err != nil {
			r.b.fail(ctx)
			_ = r.b.end(ctx, false) // undone already
			return err
		}
	}
	if err := r.b.end(ctx, true); err != nil {
		last := len(r.job.sub.sqls) - 1
		return &partError{last, err}
	}
	return nil
}

// part runs statement i.
func (r *runner) part(ctx context.Context, i int) error {
	sql := r.job.sub.sqls[i]
	r.job.beginPart(i, r.b.nextQuery())
	out := &resultSink{dir: r.dir, csv: r.job.sub.format == "CSV", limits: r.limits}
	var n int64
	var err error
	if i == r.failAt {
		n, err = -1, r.failure
		r.b.fail(ctx)
	} else {
		n, err = r.b.single(ctx, sql, r.job.sub.values(), out)
	}
	res, sealErr := out.take()
	if err == nil {
		err = sealErr
	}
	if err != nil {
		res.drop()
		r.job.endPart(i, -1, nil, err)
		return &partError{i, err}
	}
	r.job.endPart(i, n, res, nil)
	return nil
}

// unusedParameter returns a parameter that no statement uses. Text that cannot be
// read counts as using all: its own error will say more.
func unusedParameter(sub *submission, e dialect.Engine) (string, bool) {
	if len(sub.params) == 0 {
		return "", false
	}
	used := map[string]bool{}
	for _, sql := range sub.sqls {
		st, err := dialect.Translate(sql, e, sub.values())
		if err != nil {
			return "", false
		}
		for _, name := range st.Params {
			used[name] = true
		}
	}
	for _, p := range sub.params {
		if !used[p.Name] {
			return p.Name, true
		}
	}
	return "", false
}
