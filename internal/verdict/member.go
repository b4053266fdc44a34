package verdict

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Self is what a worker tells of itself beside how it goes: what somebody needs who
// looks at the fleet from elsewhere. The figures are of the last seconds.
type Self struct {
	Version  string    `json:"version,omitempty"`         // of its program
	Since    time.Time `json:"since"`                     // when it started; zero = it does not say
	Page     string    `json:"page,omitempty"`            // URL of its dashboard; empty = it has none
	Rate     float64   `json:"records_a_second"`          // settled: loaded, or rejected
	Rejected float64   `json:"records_rejected_a_second"` // of them
	Waiting  int       `json:"records_waiting"`           // read and not loaded
	Staged   Staged    `json:"fleet_loads,omitzero"`      // not there = it loads for itself
}

// Staged is what waits to be loaded for all workers that load together, as one of them
// knows it.
type Staged struct {
	Loader       string `json:"loader"`              // who loads; empty = each loads for itself
	Batches      int    `json:"batches_waiting"`     // staged, and not loaded
	OldestMillis int64  `json:"oldest_batch_millis"` // since it was staged; 0 = none waits
}

// Oldest is for how long the oldest batch has waited.
func (s Staged) Oldest() time.Duration { return time.Duration(s.OldestMillis) * time.Millisecond }

// Says says it in a few words; "" where each loads for itself.
func (s Staged) Says() string {
	switch {
	case s.Loader == "":
		return ""
	case s.Batches == 0:
		return s.Loader + " loads for all; nothing is staged"
	}
	return fmt.Sprintf("%s loads for all; %s, the oldest for %s", s.Loader, plural.Either(s.Batches, "batch waits", "batches wait"), words(s.Oldest()))
}

// Together is what the members that live say of their common loads: the one that loads
// knows best.
func Together(members []Member) (out Staged) {
	for _, m := range members {
		if m.Alive && m.Self != nil && m.Self.Staged.Loader != "" && (out.Loader == "" || m.Self.Staged.Loader == m.Worker) {
			out = m.Self.Staged
		}
	}
	return out
}

// Member is one worker of the fleet, as the lease table shows it. A worker without a
// shard has no row there, and is no member.
type Member struct {
	Worker string `json:"worker"` // its name
	Shards int    `json:"shards"` // how many it has
	Alive  bool   `json:"alive"`  // it was seen to renew
	// Says is how it goes by its own word, and Self what it tells beside that. Both are
	// nil where nothing is known: it has just begun, or is of a version that says less.
	Says *Finding `json:"says"`
	Self *Self    `json:"self"` // what it says of itself; null = nothing
}

// Total sums up what the members that live tell of themselves; known = all of them do,
// and there are some.
func Total(members []Member) (sum Self, known bool) {
	for _, m := range members {
		if !m.Alive {
			continue
		}
		if m.Self == nil {
			return Self{}, false
		}
		known = true
		sum.Rate += m.Self.Rate
		sum.Rejected += m.Self.Rejected
		sum.Waiting += m.Self.Waiting
	}
	return sum, known
}

// word is what stands in the table.
type word struct {
	Finding
	Self *Self `json:"self,omitempty"`
}

// Word is what its worker leaves for others to read: how it goes, and of itself.
func Word(f Finding, s Self) string {
	f.Says, f.Next = clip(f.Says), clip(f.Next)
	text, err := json.Marshal(word{f, &s})
	if err != nil {
		return ""
	}
	return string(text)
}

// mostWord is how long a sentence of a Word may be: it is written with each renewal.
const mostWord = 400

func clip(s string) string {
	if r := []rune(s); len(r) > mostWord {
		return string(r[:mostWord]) + "…"
	}
	return s
}

// ParseWord reads what Word wrote; false = it is none, or of a version that says more
// than this one knows. A version that says less leaves the Self nil.
func ParseWord(text string) (f Finding, s *Self, ok bool) {
	var w word
	err := json.Unmarshal([]byte(text), &w)
	if w.Self != nil && w.Self.Since.IsZero() {
		w.Self = nil
	}
	return w.Finding, w.Self, err == nil && w.State != 0
}
