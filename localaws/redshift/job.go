package redshift

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// status is where a statement stands.
type status string

const (
	submitted status = "SUBMITTED"
	picked    status = "PICKED"
	started   status = "STARTED"
	finished  status = "FINISHED"
	failed    status = "FAILED"
	aborted   status = "ABORTED"
)

func (s status) terminal() bool { return s == finished || s == failed || s == aborted }

// job is one submitted statement or batch.
type job struct {
	id      string
	sub     submission // as submitted; not changed afterwards
	session string     // the session it runs in; "" for none
	created time.Time
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed once the status is terminal
	entry   *ended        // of the registry's ended jobs; nil while it runs. Guarded by the registry's mu

	mu      sync.Mutex // guards what follows
	status  status
	updated time.Time
	began   time.Time // when it was STARTED
	took    time.Duration
	err     string
	pid     int64
	parts   []part // one for each statement; a batch shows them as sub-statements
}

// part is one statement of a job and what became of it.
type part struct {
	sql     string
	status  status
	err     string
	rows    int64 // returned, or changed; -1 where not known
	queryID int64
	result  *result // set where the statement returned a result set, empty or not
	updated time.Time
	took    time.Duration
}

func newJob(id string, sub submission, now time.Time) *job {
	j := &job{id: id, sub: sub, created: now, updated: now, status: submitted, took: -1, ended: make(chan struct{})}
	for _, sql := range sub.sqls {
		j.parts = append(j.parts, part{sql: sql, status: submitted, rows: -1, took: -1, updated: now})
	}
	return j
}

// move puts the job into a status that is not terminal.
func (j *job) move(to status, pid int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.status, j.updated = to, time.Now()
	if pid != 0 {
		j.pid = pid
	}
	if to == started {
		j.began = j.updated
	}
}

// beginPart notes that statement i has started.
func (j *job) beginPart(i int, queryID int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := &j.parts[i]
	p.status, p.queryID, p.updated = started, queryID, time.Now()
}

// endPart notes how statement i ended.
func (j *job) endPart(i int, rows int64, res *result, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := &j.parts[i]
	now := time.Now()
	p.took, p.updated = now.Sub(p.updated), now
	if err != nil {
		p.status, p.err = failed, err.Error()
		return
	}
	p.status, p.rows, p.result = finished, rows, res
}

// finish gives the job its terminal status. Statements that never ran are
// ABORTED, and so is one that was running when the job was cancelled.
func (j *job) finish(to status, message string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	j.status, j.err, j.updated = to, message, now
	if !j.began.IsZero() {
		j.took = now.Sub(j.began)
	}
	for i := range j.parts {
		if p := &j.parts[i]; !p.status.terminal() || to == aborted && p.status == failed {
			p.status, p.updated, p.err = aborted, now, ""
		}
		if to != finished {
			j.parts[i].result.drop()
			j.parts[i].result = nil // what it returned was rolled back
		}
	}
	close(j.ended)
}

// holds is about what the job holds, in bytes of memory and of files.
func (j *job) holds() (memory, files int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var n int64 = 1 << 10
	for i := range j.parts {
		n += int64(len(j.parts[i].sql)) + 256
		if r := j.parts[i].result; r != nil {
			n += int64(len(r.text)) + 8*int64(len(r.pages))
			files += r.kept
		}
	}
	for _, p := range j.sub.params {
		n += int64(len(p.Name) + len(p.Value))
	}
	return n, files
}

// readWhole reports whether every result of the job has been fetched to its end.
func (j *job) readWhole() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.parts {
		if r := j.parts[i].result; r != nil && !r.read.Load() {
			return false
		}
	}
	return true
}

// drop gives back what the job holds in files.
func (j *job) drop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i := range j.parts {
		j.parts[i].result.drop()
	}
}

// view is a consistent copy of a job for the replies.
type view struct {
	*job                // for what does not change
	status       status // and the rest as of one moment
	updated      time.Time
	took         time.Duration
	err          string
	pid          int64
	parts        []part
	hasResultSet bool
}

func (j *job) view() view {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := view{job: j, status: j.status, updated: j.updated, took: j.took, err: j.err, pid: j.pid}
	v.parts = append(v.parts, j.parts...)
	for i := range v.parts {
		v.hasResultSet = v.hasResultSet || v.parts[i].result != nil
	}
	return v
}

// splitID takes "uuid:3" apart; sub is 0 where the id names a whole job.
func splitID(id string) (job string, sub int, err error) {
	job, n, found := strings.Cut(id, ":")
	if !found {
		return id, 0, nil
	}
	sub, err = strconv.Atoi(n)
	if err != nil || sub < 1 || sub > maxBatch {
		return "", 0, invalid("Id %q is not a statement identifier", id)
	}
	return job, sub, nil
}

func subID(id string, i int) string { return fmt.Sprintf("%s:%d", id, i+1) }
