package redshift

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

const (
	keepResults = 24 * time.Hour // after which AWS forgets a statement and its result
	keepTokens  = 8 * time.Hour  // after which a ClientToken may be used again
	// maxKept bounds the memory of ended statements and their results, and
	// maxFiles what large results take on the disk. AWS has no such bounds: here
	// statements are forgotten before their 24 hours, first those whose results were
	// read to the end, then the oldest.
	maxKept  = 256 << 20
	maxFiles = 4 << 30
	// maxRemembered bounds the number of ended statements and of tokens.
	maxRemembered = 100_000
	// slack is how many forgotten statements a list may have beside as many as are
	// known, before it is written anew without them.
	slack = 8
)

// registry holds the jobs by id, and the tokens that name them.
type registry struct {
	mu     sync.Mutex // guards what follows
	closed bool
	byID   map[string]*job
	order  []*job // by creation; what is at its end is dropped from the front
	tokens map[string]token
	queue  []string // tokens by age
	ended  []*ended // by end, some of them forgotten already
	spent  []*ended // whose results were read to the end, in the order of that
	known  int      // of ended that are not forgotten
	kept   int64    // bytes of memory that the ended jobs hold
	files  int64    // bytes of files
	active int
}

type token struct {
	id string
	at time.Time
}

type ended struct {
	job         *job // nil once it is forgotten
	at          time.Time
	kept, files int64
	spent       bool
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
	e := &ended{job: j, at: time.Now()}
	e.kept, e.files = j.holds()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = append(r.ended, e)
	r.known++
	r.kept += e.kept
	r.files += e.files
	j.entry = e
	r.expire(e.at)
}

// read notes that the last page of a result of the job's was fetched.
func (r *registry) read(id string, res *result) {
	res.read.Store(true)
	whole, _, err := splitID(id)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.byID[whole]
	if j == nil || j.entry == nil || j.entry.spent || !j.readWhole() {
		return
	}
	j.entry.spent = true
	r.spent = append(r.spent, j.entry)
}

// expire forgets what is too old, and what is beyond the bounds. The newest
// statement stays in any case: its caller has yet to fetch the result.
func (r *registry) expire(now time.Time) {
	for len(r.ended) > 1 && (r.ended[0].job == nil || now.Sub(r.ended[0].at) >= keepResults) {
		r.forget(r.ended[0])
		r.ended = r.ended[1:]
	}
	for r.kept > maxKept || r.files > maxFiles || r.known > maxRemembered {
		if len(r.spent) > 0 {
			r.forget(r.spent[0])
			r.spent = r.spent[1:]
			continue
		}
		if len(r.ended) < 2 {
			break
		}
		r.forget(r.ended[0])
		r.ended = r.ended[1:]
	}
	r.tidy(now)
}

func (r *registry) forget(e *ended) {
	if e.job == nil {
		return
	}
	r.known--
	r.kept -= e.kept
	r.files -= e.files
	delete(r.byID, e.job.id)
	e.job.drop()
	e.job = nil
}

// tidy drops what the lists hold of forgotten statements, and tokens that are too
// old.
func (r *registry) tidy(now time.Time) {
	gone := func(e *ended) bool { return e.job == nil }
	if len(r.ended) > 2*r.known+slack {
		r.ended = slices.DeleteFunc(r.ended, gone)
	}
	if len(r.spent) > r.known+slack {
		r.spent = slices.DeleteFunc(r.spent, gone)
	}
	if len(r.order) > 2*len(r.byID)+slack {
		r.order = slices.DeleteFunc(r.order, func(j *job) bool { return r.byID[j.id] == nil })
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

// drop gives back the files of all results. No job runs any more.
func (r *registry) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, j := range r.byID {
		j.drop()
	}
}

// newID draws a random UUID.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
