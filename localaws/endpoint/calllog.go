package endpoint

import (
	"strings"
	"sync"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// maxCalls is how many calls the log keeps: some minutes of a busy worker.
const maxCalls = 100_000

// Call is one call as GET /_localaws/calls shows it.
type Call struct {
	Seq        uint64     `json:"seq"` // grows by one a call, in the order of the answers
	Time       time.Time  `json:"time"`
	Service    string     `json:"service"`
	Operation  string     `json:"operation"`
	Status     int        `json:"status"`          // 0: the connection was reset instead
	DurationMS float64    `json:"duration_ms"`     // until the answer began
	Fault      fault.Kind `json:"fault,omitempty"` // that struck it
	Error      string     `json:"error,omitempty"` // the start of an error reply
	Summary    string     `json:"summary,omitempty"`
	RequestID  string     `json:"request_id"`
}

// callLog keeps the newest calls.
type callLog struct {
	mu    sync.Mutex // guards what follows
	calls []Call     // a ring once it is full; call number n is at (n-1-cleared) % maxCalls
	seq   uint64     // of the newest call
	// cleared is the newest number at the last clear. Numbers go on growing
	// over it, so that a reader who asks for what came since the last call it
	// saw misses nothing.
	cleared uint64
}

func (l *callLog) slot(seq uint64) uint64 { return (seq - 1 - l.cleared) % maxCalls }

// add numbers the call and keeps it.
func (l *callLog) add(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	c.Seq = l.seq
	if len(l.calls) < maxCalls {
		l.calls = append(l.calls, c)
		return
	}
	l.calls[l.slot(c.Seq)] = c
}

func (l *callLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls, l.cleared = nil, l.seq
}

// callFilter chooses calls; its zero fields choose all.
type callFilter struct {
	service   string
	operation string
	since     uint64 // only calls after this number
	after     time.Time
	limit     int // the oldest so many after since, or the newest so many without it
}

func (f callFilter) takes(c *Call) bool {
	return c.Seq > f.since && !c.Time.Before(f.after) &&
		(f.service == "" || f.service == c.Service) &&
		(f.operation == "" || strings.EqualFold(f.operation, c.Operation))
}

// list returns the chosen calls, oldest first.
func (l *callLog) list(f callFilter) []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Call{}
	for seq := l.seq - uint64(len(l.calls)) + 1; seq <= l.seq; seq++ {
		if c := &l.calls[l.slot(seq)]; f.takes(c) {
			out = append(out, *c)
			if f.limit > 0 && len(out) == f.limit && f.since > 0 {
				break
			}
		}
	}
	if f.limit > 0 && len(out) > f.limit {
		out = out[len(out)-f.limit:]
	}
	return out
}
