package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// tally counts what happened to a fleet. A fault counts when it strikes: the
// schedule may hold one for a call that nobody makes.
type tally struct {
	mu     sync.Mutex // guards what follows; strikes come from the workers' goroutines
	counts map[string]int
	faults int // of all counts those of faults

	armed map[string]int // strikes put into the local AWS, by the fault's kind; the fleet's own
}

func newTally() *tally {
	return &tally{counts: make(map[string]int), armed: make(map[string]int)}
}

// event counts what is no fault.
func (t *tally) event(what string) { t.add(what, 1, false) }

// struck counts a fault.
func (t *tally) struck(what string) { t.add(what, 1, true) }

func (t *tally) add(what string, n int, isFault bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[what] += n
	if isFault {
		t.faults += n
	}
}

func (t *tally) total() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.faults
}

func kindOf(f fault.Fault) string {
	if f.Caller != "" {
		return fmt.Sprintf("%s: %s of %s, for one worker", f.Service, f.Kind, f.Operation)
	}
	return fmt.Sprintf("%s: %s", f.Service, f.Kind)
}

// arm notes a fault of a service, whose strikes the local AWS counts down. A
// pause has no strikes: it is not counted.
func (t *tally) arm(f fault.Fault) {
	if f.Count > 0 {
		t.armed[kindOf(f)] += f.Count
	}
}

// disarm counts what the armed faults struck, given what is left of them.
func (t *tally) disarm(left []fault.Fault) {
	for _, f := range left {
		t.armed[kindOf(f)] -= f.Count
	}
	for what, n := range t.armed {
		if n > 0 {
			t.add(what, n, true)
		}
	}
	clear(t.armed)
}

// merge adds another tally's counts.
func (t *tally) merge(o *tally) {
	for what, n := range o.counts {
		t.add(what, n, false)
	}
	t.faults += o.faults
}

func (t *tally) String() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(t.counts)) {
		fmt.Fprintf(&b, "\n%8d  %s", t.counts[what], what)
	}
	return b.String()
}
