package lease

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Trouble that stays is told again and again, as the log of an hour ago is not
// what somebody looks at first.
const tellAgain = 15 * time.Second

// failing is a stretch of rounds that fail.
type failing struct {
	since time.Time // zero while rounds succeed
	told  time.Time
	err   error // of the last one
}

// says is what goes into the row of a lease with its renewal: the word of this
// worker, once for all of its leases, and how far the shard is complete.
func (h *Holder) says(l *held) (word string, until time.Time) {
	return h.word(l.shard.ID), h.c.Until(l.shard.ID).UTC().Truncate(time.Millisecond)
}

// word is what this worker says in the row of a lease that it has or takes: it stands
// in that of its first shard.
func (h *Holder) word(shard string) string {
	h.mu.Lock()
	first := shard
	for id := range h.held {
		first = min(first, id)
	}
	h.mu.Unlock()
	if first != shard {
		return ""
	}
	return h.c.Word()
}

// tell says how the last round ended, and what is wrong with the leases.
func (h *Holder) tell(err error) {
	now := time.Now()
	h.tellRound(err, now)
	alarms := h.contradictions(now)
	said := make(map[string]time.Time, len(alarms))
	for _, c := range alarms {
		key := c.Shard + "\n" + c.What
		last, before := h.told[key]
		if !before {
			h.c.Count()
		}
		if now.Sub(last) >= tellAgain {
			last = now
			h.c.Log.Error("shards and leases contradict each other; this does not mend itself", "shard", cmp.Or(c.Shard, "all"), "what", &c,
				"since", c.Since)
		}
		said[key] = last
	}
	h.told = said
}

func (h *Holder) tellRound(err error, now time.Time) {
	const message = "cannot look after the leases; leases held are kept while they can be renewed"
	h.mu.Lock()
	before := h.failing
	f := &h.failing
	switch {
	case err == nil:
		*f = failing{}
	case f.since.IsZero():
		*f = failing{now, now, err}
	case now.Sub(f.told) >= tellAgain:
		f.told, f.err = now, err
	default:
		f.err = err
	}
	told := f.told
	h.mu.Unlock()
	switch {
	case err == nil && !before.since.IsZero():
		h.c.Log.Info("looking after the leases again", "after", now.Sub(before.since).Round(time.Second).String())
	case err == nil:
	case before.since.IsZero(): // it may pass
		h.c.Log.Warn(message, "error", err)
	case !told.Equal(before.told):
		if before.told.Equal(before.since) {
			h.c.Count()
		}
		h.c.Log.Error(message, "error", err, "for", now.Sub(before.since).Round(time.Second).String())
	}
}

// Alarms are what somebody has to look at: what contradicts itself, shards that
// cannot be worked on, and leases or shards that cannot be read or listed.
func (h *Holder) Alarms() []Contradiction {
	now := time.Now()
	out := h.contradictions(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	if f := h.failing; !f.since.IsZero() && now.Sub(f.since) >= 6*h.c.TTL {
		out = append(out, Contradiction{
			Since: f.since, What: "the leases cannot be looked after since " + f.since.UTC().Format(time.RFC3339) + ": " + f.err.Error(), Err: f.err,
		})
	}
	return out
}

// Failing is why the last round failed; nil if it did not.
func (h *Holder) Failing() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing.err
}

// FailingSince is since when rounds fail; zero = the last one did not.
func (h *Holder) FailingSince() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failing.since
}

// Contradictions are those that the view shows, and those that the work on the
// shards met.
func (h *Holder) Contradictions() []Contradiction { return h.contradictions(time.Now()) }

// contradictions are those that the view shows, and those that the work on the
// shards met.
func (h *Holder) contradictions(now time.Time) []Contradiction {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.view.Contradictions()
	for _, l := range h.held {
		if c, is := l.trouble(now, h.view.Patience); is {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b Contradiction) int { return strings.Compare(a.Shard, b.Shard) })
	return out
}
