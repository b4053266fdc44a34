package verdict

import (
	"fmt"
	"slices"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// told takes in what workers say of themselves. What somebody found out already is
// not said twice.
func told(f *Facts, found []Finding) (out []Finding) {
	known := func(c Cause) bool {
		same := func(o Finding) bool { return o.Cause == c }
		return slices.ContainsFunc(found, same) || slices.ContainsFunc(out, same)
	}
	for _, w := range f.Told {
		if w.Worker == f.Worker || w.State == Fine || known(w.Cause) {
			continue
		}
		one := w.Finding
		one.Of, one.Stops = "worker "+w.Worker, false
		if f.outside() && all(f.Told, w.Cause) {
			one.Of = "" // it is the whole
		}
		if f.outside() && one.Cause == WorkerMissed {
			one.Of = "" // it is about another
		}
		out = append(out, one)
	}
	if f.outside() && f.Leases.Shared && f.Leases.Live > 0 && len(f.Told) == 0 {
		out = append(out, Finding{
			Cause: Mute, State: Look, Says: "The workers do not say how they are: whether records are rejected is not known",
			Next: "ask one of them, or wait a few seconds where it has just begun", Command: "curl -s http://127.0.0.1:8080/readyz",
		})
	}
	return out
}

func all(words []Told, c Cause) bool {
	return !slices.ContainsFunc(words, func(w Told) bool { return w.Cause != c })
}

// fine is what is said where nothing was found.
func fine(f *Facts) Finding {
	if f.outside() {
		if !f.Leases.Shared {
			return Finding{Cause: Quiet, State: Fine, Says: fmt.Sprintf("What can be queried is %s behind what arrived; what the worker says of itself is on its page alone (LEASE_TABLE is none)", words(f.Lag.Committed))}
		}
		if f.Lag.Committed == 0 {
			return Finding{Cause: Quiet, State: Fine, Says: "Everything that arrived on the stream can be queried"}
		}
		return Finding{Cause: Arriving, State: Fine, Says: fmt.Sprintf("Orders arrive; what can be queried is %s behind", words(f.Lag.Committed))}
	}
	part := ""
	if read := f.Leases.Mine - f.Lag.Unread; read < f.Leases.Shards {
		part = fmt.Sprintf(" on this worker's %d of %s", read, plural.Of(f.Leases.Shards, "shard"))
		if n := f.Lag.Unread; n > 0 {
			part = fmt.Sprintf(" on %d of this worker's %d shards (%d not read yet)", read, f.Leases.Mine, n)
		}
	}
	switch {
	case f.Leases.Mine == 0 && f.Leases.Shards == 0:
		return Finding{Cause: Unknown, State: Look, Says: "The stream has no shard that is known yet", Next: "see the log", Command: "journalctl -u analytics-worker -n 50"}
	case f.Leases.Mine == 0:
		return Finding{Cause: Standby, State: Fine, Says: fmt.Sprintf("This worker stands by: others have all %s", plural.Of(f.Leases.Shards, "shard"))}
	case f.Loads.Rate > 0 && f.Loads.Orders == 0:
		return Finding{Cause: Arriving, State: Fine, Says: fmt.Sprintf("Events arrive%s, and no orders just now: %s records a second are loaded", part, figure(f.Loads.Rate))}
	case f.Loads.Rate > 0:
		return Finding{Cause: Arriving, State: Fine, Says: fmt.Sprintf("Orders arrive%s: %s records a second are loaded", part, figure(f.Loads.Rate))}
	case f.Lag.Committed > 0:
		return Finding{Cause: Arriving, State: Fine, Says: fmt.Sprintf("Orders arrive%s, and wait %s for their load", part, words(f.Lag.Committed))}
	case part != "":
		return Finding{Cause: Quiet, State: Fine, Says: "Everything that arrived" + part + " can be queried; nothing new just now"}
	}
	return Finding{Cause: Quiet, State: Fine, Says: "Everything that arrived on the stream can be queried; nothing new just now"}
}
