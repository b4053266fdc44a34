package redshift

import (
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/localaws/wire"
)

const (
	keepResults = 24 * time.Hour // after which AWS forgets a statement and its result
	keepTokens  = 8 * time.Hour  // after which a ClientToken may be used again
	// maxKept bounds the memory of ended statements and their results. AWS has
	// no such bound: here the oldest are forgotten before their 24 hours.
	maxKept = 256 << 20
	// maxRemembered bounds the number of ended statements and of tokens.
	maxRemembered = 100_000
)

// registry holds the jobs by id, and the tokens that name them.
type registry struct {
	mu     sync.Mutex // guards what follows
	closed bool
	byID   map[string]*job
	order  []*job // by creation; what is at its end is dropped from the front
	tokens map[string]token
	queue  []string // tokens by age
	ended  []ended  // by end
	kept   int64    // bytes that the ended jobs hold
	active int
}

type token struct {
	id string
	at time.Time
}

type ended struct {
	job   *job
	at    time.Time
	bytes int64
}

func newRegistry() *registry {
	return &registry{byID: make(map[string]*job), tokens: make(map[string]token)}
}

// admit registers a new job, or returns the one that its token names already.
// limit bounds the active jobs; 0 means no bound. claim gets what the job needs;
// it is called when nothing else stands in the way, and its error does.
func (r *registry) admit(j *job, limit int, claim func() error) (known *job, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosing
	}
	r.expire(j.created)
	if t, ok := r.tokens[j.sub.token]; ok && j.sub.token != "" {
		if old, ok := r.byID[t.id]; ok {
			return old, nil
		}
		// The statement itself was forgotten for want of memory. It ran, so it
		// must not run again: answer with what is still known of it.
		return &job{id: t.id, sub: j.sub, created: t.at}, nil
	}
	if limit > 0 && r.active >= limit {
		return nil, wire.Errorf("ActiveStatementsExceededException", "Active statements exceeded the allowed quota (%d).", limit)
	}
	if err := claim(); err != nil {
		return nil, err
	}
	r.active++
	r.byID[j.id] = j
	r.order = append(r.order, j)
	if j.sub.token != "" {
		r.tokens[j.sub.token] = token{j.id, j.created}
		r.queue = append(r.queue, j.sub.token)
	}
	return nil, nil
}

// finish gives the job its terminal status and moves it to those that may be
// forgotten. Who sees the status may count on the room for another statement.
func (r *registry) finish(j *job, to status, message string) {
	r.mu.Lock()
	r.active--
	r.mu.Unlock()
	j.finish(to, message)
	r.end(j)
}

func (r *registry) end(j *job) {
	bytes := j.memory()
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.ended = append(r.ended, ended{j, now, bytes})
	r.kept += bytes
	r.expire(now)
}

// expire forgets what is too old, and the oldest beyond the bounds. The newest
// statement stays in any case: its caller has yet to fetch the result.
func (r *registry) expire(now time.Time) {
	for len(r.ended) > 1 {
		e := r.ended[0]
		if now.Sub(e.at) < keepResults && r.kept <= maxKept && len(r.ended) <= maxRemembered {
			break
		}
		r.kept -= e.bytes
		delete(r.byID, e.job.id)
		r.ended = r.ended[1:]
	}
	for len(r.order) > 0 && r.byID[r.order[0].id] == nil {
		r.order = r.order[1:]
	}
	for len(r.queue) > 0 {
		t := r.tokens[r.queue[0]]
		if now.Sub(t.at) < keepTokens && len(r.queue) <= maxRemembered {
			break
		}
		delete(r.tokens, r.queue[0])
		r.queue = r.queue[1:]
	}
}

// find returns the job with the id, and which of its statements the id names
// (0 for the whole).
func (r *registry) find(id string) (*job, int, error) {
	whole, sub, err := splitID(id)
	if err != nil {
		return nil, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(time.Now())
	j, ok := r.byID[whole]
	if !ok || sub > 0 && (!j.sub.batch || sub > len(j.sub.sqls)) {
		return nil, 0, wire.Errorf("ResourceNotFoundException", "Query does not exist.")
	}
	return j, sub, nil
}

// newest returns the known jobs, newest first.
func (r *registry) newest() []*job {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*job, 0, len(r.byID))
	for i := len(r.order) - 1; i >= 0; i-- {
		if j := r.order[i]; r.byID[j.id] != nil {
			out = append(out, j)
		}
	}
	return out
}

// close refuses further jobs.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// newID draws a random UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
