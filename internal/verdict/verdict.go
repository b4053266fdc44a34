// Package verdict decides whether it is well: from what is known of stream, leases,
// loads, rejections and clock to a state, one sentence of plain English, and the next
// step. Everything that tells how it goes (dashboard, status, doctor, /readyz, /status,
// the log) tells this, and has no opinion of its own.
//
// It is pure: no clock, no I/O. What is not known is a value, and nothing is called
// fine because nothing is known. What to do about an error comes with it (Trouble):
// only the program knows that. What no error tells, such as that something waits, is
// behind or is rejected, has its next step here.
package verdict

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// State is how well it is.
type State int

// The states, from good to bad. The zero State is none of them.
const (
	Fine State = iota + 1
	Look       // it works, or may mend itself: look at it when it suits
	Act        // orders do not arrive, or will be lost: act now
)

var stateNames = map[State]string{Fine: "fine", Look: "look", Act: "act"}

func (s State) String() string { return stateNames[s] }

// MarshalText writes fine, look or act.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (s *State) UnmarshalText(text []byte) error {
	for state, name := range stateNames {
		if name == string(text) {
			*s = state
			return nil
		}
	}
	return fmt.Errorf("%q is no state: fine, look or act", text)
}

// Finding is one thing that was found, and what to do about it.
type Finding struct {
	Cause   Cause  `json:"cause"`             // its name, as OPERATIONS.md lists them
	State   State  `json:"state"`             // fine, look or act
	Says    string `json:"says"`              // one sentence, without a full stop
	Next    string `json:"next,omitempty"`    // the next step, a clause
	Command string `json:"command,omitempty"` // to paste into a shell
	// Stops: this worker does not do its work while it stands.
	Stops bool `json:"stops,omitempty"`
	// Of is who says it of itself, where that is not whoever was asked.
	Of string `json:"of,omitempty"`
}

// Line is the finding in one line: sentence, next step, command.
func (f Finding) Line() string {
	line := f.Says
	if f.Of != "" {
		line = f.Of + ": " + line
	}
	if next := f.Step(); next != "" {
		line += " -> " + next
	}
	return line
}

// Step is the next step with its command, in one line; empty = nothing is to be done.
func (f Finding) Step() string {
	switch {
	case f.Command == "":
		return f.Next
	case f.Next == "":
		return f.Command
	}
	return f.Next + ": " + f.Command
}

// Verdict is what is worst, and what else was found.
type Verdict struct {
	At time.Time `json:"at"` // when it was judged
	Finding
	Others []Finding `json:"others"` // worst first

	own Finding // the worst of what was found here
}

// All are the findings, worst first.
func (v Verdict) All() []Finding { return append([]Finding{v.Finding}, v.Others...) }

// Stopped are the findings that keep this worker from its work.
func (v Verdict) Stopped() []Finding {
	return slices.DeleteFunc(v.All(), func(f Finding) bool { return !f.Stops })
}

// Own is the verdict without what others say of themselves: what is told to others.
func (v Verdict) Own() Finding { return v.own }

// Of judges the facts. Of findings that are equally bad, the one comes first that
// explains the others.
func Of(f Facts) Verdict {
	var found []Finding
	for _, rule := range rules {
		found = append(found, rule(&f)...)
	}
	if slices.ContainsFunc(found, func(o Finding) bool { return o.Cause == EndpointDown }) {
		found = slices.DeleteFunc(found, func(o Finding) bool { return slices.Contains(under, o.Cause) })
	}
	if len(found) == 0 {
		found = warned(&f)
	}
	for i := range found { // of errors that were joined
		found[i].Says = strings.ReplaceAll(found[i].Says, "\n", "; ")
	}
	worst := func(a, b Finding) int { return cmp.Compare(b.State, a.State) }
	slices.SortStableFunc(found, worst)
	own := fine(&f) // that another is not well makes this one no worse
	if len(found) > 0 {
		own = found[0]
	}
	found = append(found, told(&f, found)...)
	if len(found) == 0 {
		found = []Finding{own}
	}
	slices.SortStableFunc(found, worst)
	return Verdict{At: f.Now, Finding: found[0], Others: append([]Finding{}, found[1:]...), own: own}
}
