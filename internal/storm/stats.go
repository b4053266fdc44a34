package storm

import (
	"cmp"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
)

// stats is what the storm has counted. It is safe for concurrent use.
type stats struct {
	m *metrics.Storm

	mu       sync.Mutex // guards what follows
	counts   Counts
	sums     map[int]Checksum // of finished queries behind the first that is not
	whole    Checksum         // of the queries up to there
	wholeOf  int              // how many these are
	marks    []Prefix         // the same whenever their number was a power of two
	lost     []int            // queries that were given up
	slowest  []Ran
	errors   map[string]int // by text, the first few
	figures  figures
	lastSHA  string
	lastMD5  string
	lastFail string    // the text of the last failure
	taken    time.Time // when the warehouse last took a query, or gave a page
	done     time.Time // when a query last ended well
	heard    time.Time // when it last said how a query stands, or gave a page
	failing  int       // failures since taken
	silent   int       // calls without an answer since heard
	undone   int       // failures since done
}

// Counts are the storm's counts so far.
type Counts struct {
	Started  int   `json:"started"`
	Finished int   `json:"finished"` // whose results were processed whole
	Failed   int   `json:"failed"`
	Refused  int   `json:"refused"` // calls that the service throttled, or took no more statements
	Rows     int64 `json:"rows"`
	Bytes    int64 `json:"bytes"`
	Pages    int64 `json:"pages"`
}

// Ran is a query that ran.
type Ran struct {
	End    string        `json:"end"` // finished, failed, or cancelled as the storm's time was over
	Number int           `json:"number"`
	Kind   string        `json:"kind"`
	Waited time.Duration `json:"waited_ns"`
	Ran    time.Duration `json:"ran_ns"`
	SQL    string        `json:"sql"`
}

// How a query ended.
const (
	endFinished  = "finished"
	endFailed    = "failed"
	endCancelled = "cancelled"
)

const (
	keptSlowest = 10
	keptErrors  = 20
)

// ids are the ids of statements and of calls in errors: without them, errors that
// are the same read the same.
var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)

func newStats(m *metrics.Storm) *stats {
	now := time.Now()
	return &stats{m: m, sums: make(map[int]Checksum), errors: make(map[string]int), taken: now, done: now, heard: now}
}

func (s *stats) started() {
	s.m.Started.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Started++
	now := time.Now()
	s.taken, s.failing = now, 0
	s.heard, s.silent = now, 0
}

func (s *stats) refused() {
	s.m.Refused.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Refused++
}

// unanswered notes that the warehouse did not answer for a query that is there: its
// failure counts once it is given up.
func (s *stats) unanswered(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent++
	s.lastFail = ids.ReplaceAllString(err.Error(), "(id)")
}

// answered notes that the warehouse did, of a query or with a page.
func (s *stats) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard, s.silent = time.Now(), 0
}

// trouble tells whether the warehouse takes no query for a while, or says nothing of
// those that it has; whether it takes them and all fail; and the last error.
func (s *stats) trouble(now time.Time) (down, failing bool, last string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	down = s.failing > 0 && now.Sub(s.taken) >= downAfter || s.silent > 0 && now.Sub(s.heard) >= downAfter
	failing = s.undone >= mostTries && now.Sub(s.done) >= downAfter
	return down, failing, s.lastFail
}

// failed counts a failure, after which the query is given up or tried again.
func (s *stats) failed(q Query, err error, lost bool) {
	s.m.Failed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Failed++
	s.failing++
	s.undone++
	if lost && len(s.lost) < keptErrors {
		s.lost = append(s.lost, q.Number)
	}
	text := ids.ReplaceAllString(err.Error(), "(id)")
	s.lastFail = text
	if _, known := s.errors[text]; known || len(s.errors) < keptErrors {
		s.errors[text]++
	} else {
		s.errors["other errors"]++
	}
}

// ran notes a query that ended well, and how long it waited and ran in the warehouse.
func (s *stats) ran(f *flight, st Statement) {
	s.m.QueueTime.Observe(st.Waited, 1)
	s.m.ExecutionTime.Observe(st.Ran, 1)
	s.slow(f, st, endFinished)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.undone = time.Now(), 0
}

// slow keeps the slowest queries, however they ended: one that ran until the storm's
// time was over is slower than any that finished. Where the service does not say how
// long it ran, that is as long as it was in the warehouse.
func (s *stats) slow(f *flight, st Statement, end string) {
	if st.Ran <= 0 && end != endFinished {
		st.Ran = max(0, time.Since(f.began)-st.Waited)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = append(s.slowest, Ran{end, f.Number, f.Kind, st.Waited, st.Ran, f.SQL})
	slices.SortStableFunc(s.slowest, func(a, b Ran) int { return cmp.Compare(b.Ran, a.Ran) })
	s.slowest = s.slowest[:min(len(s.slowest), keptSlowest)]
}

func (s *stats) processed(p processed) {
	s.m.Iterations.Add(1)
	s.m.Rows.Add(p.rows)
	s.m.Bytes.Add(p.bytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Pages++
	s.taken, s.failing = time.Now(), 0
	s.counts.Rows += int64(p.rows)
	s.counts.Bytes += int64(p.bytes)
	s.figures.merge(p.figures)
	s.lastSHA, s.lastMD5 = p.sha, p.md5
}

// Prefix is the checksum over the first queries of a storm, which have all
// finished. Storms of one seed over the same data have the same one for the same
// number of queries, whatever else each got through.
type Prefix struct {
	Queries  int    `json:"queries"`
	Checksum string `json:"checksum"`
}

func (s *stats) finished(q Query, sum Checksum) {
	s.m.Finished.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.Finished++
	s.sums[q.Number] = sum
	for {
		one, done := s.sums[s.wholeOf]
		if !done {
			return
		}
		delete(s.sums, s.wholeOf)
		s.whole.add(one)
		if s.wholeOf++; s.wholeOf&(s.wholeOf-1) == 0 {
			s.marks = append(s.marks, Prefix{s.wholeOf, s.whole.String()})
		}
	}
}
