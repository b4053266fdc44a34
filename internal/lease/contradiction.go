package lease

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Contradiction is something about shards and leases that cannot be as it is,
// or that does not end by itself. It is an error and the value of an alarm.
type Contradiction struct {
	Shard string    // empty = it is about all of them
	Since time.Time // zero = not known
	What  string    // is wrong, as a clause without the shard's name
	Next  string    // what to do about it
	// News: it may be that the news of a split or an end has not got round yet,
	// so that it counts only when it stays.
	News bool
	// Unowned: nobody works on the shard, and that is all.
	Unowned bool
}

func (c *Contradiction) Error() string {
	if c.Shard == "" {
		return c.What
	}
	return c.Shard + " " + c.What
}

// Contradictions are what the view shows to be impossible, by shard. Each of
// them means that records lie unread although every part for itself looks well.
func (v View) Contradictions() []Contradiction {
	if other := v.Other(); !other.IsZero() {
		return []Contradiction{{
			What: fmt.Sprintf("the lease table belongs to another stream, %s, and not to %s: two streams cannot share one", other, v.Stream),
			Next: "set LEASE_TABLE to another name for one of the two; or delete the table if nobody reads the other stream any more",
		}}
	}
	var out []Contradiction
	for i := range v.Rows {
		s := &v.Rows[i]
		switch {
		case s.Unreadable != "":
			out = append(out, Contradiction{
				Shard: s.Shard, Since: s.first, What: "has a lease row that cannot be read, so nobody works on it: " + s.Unreadable,
				Next: "delete the row from the lease table: it is made anew, and the warehouse knows the position",
			})
		case !s.Foreign && v.stale(s.Doubted):
			out = append(out, OpenEnded(s.Shard, s.Doubted))
		case v.stale(s.Free):
			out = append(out, unowned(s.Shard, s.Free))
		}
	}
	for id, at := range v.Rowless {
		if v.stale(at) {
			out = append(out, unowned(id, at))
		}
	}
	slices.SortFunc(out, func(a, b Contradiction) int { return strings.Compare(a.Shard, b.Shard) })
	return out
}

// OpenEnded says of a shard that takes records that it counts as read to its
// end, by the warehouse or by its lease.
func OpenEnded(shard string, since time.Time) Contradiction {
	return Contradiction{
		Shard: shard, Since: since, News: true,
		What: "is open, and its position says that it was read to its end: what arrives on it is not read",
		Next: "analytics-worker positions --reset --shard " + shard + " --to TRIM_HORIZON (workers may run on; what is loaded already changes nothing). If the stream was made anew: analytics-worker positions --start-over",
	}
}

func unowned(shard string, since time.Time) Contradiction {
	return Contradiction{
		Shard: shard, Since: since, Unowned: true, What: "has no live worker, and no parent that it would have to wait for",
		Next: "see the log of the workers for what keeps them from taking it; is one running?",
	}
}

// Glance is the view of somebody who looks once: rows as they are now, and
// which of their owners were seen to be alive. In it whatever contradicts itself
// counts at once.
func Glance(id stream.Identity, shards []stream.Shard, rows []Row, alive map[string]bool, now time.Time) View {
	v := View{TTL: time.Second, Shards: shards, Listed: now, Stream: id}
	v = v.observe(rows, "", now)
	for i := range v.Rows {
		if s := &v.Rows[i]; !alive[s.Owner] {
			s.Changed = now.Add(-time.Hour)
		}
	}
	return v.observe(rows, "", now)
}
