package lease

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Wrong is a kind of contradiction.
type Wrong int

// The kinds of contradictions.
const (
	Failing       Wrong = iota // work that fails for long, by Contradiction.Err
	ForeignTable               // the lease table is of another stream
	NoTable                    // the lease table is gone
	UnreadableRow              // nobody can make anything of a shard's row
	ReadToItsEnd               // an open shard counts as read to its end
	NoOwner                    // nobody works on the shard, and that is all
)

// Contradiction is something about shards and leases that cannot be as it is,
// or that does not end by itself. It is an error and the value of an alarm.
type Contradiction struct {
	Wrong Wrong
	Shard string    // empty = it is about all of them
	Since time.Time // zero = not known
	What  string    // is wrong, as a clause without the shard's name
	Err   error     // behind it; may be nil
	// News: it may be that the news of a split or an end has not got round yet,
	// so that it counts only when it stays.
	News bool
}

// Unwrap gives the error behind it.
func (c *Contradiction) Unwrap() error { return c.Err }

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
			Wrong: ForeignTable, What: fmt.Sprintf("the lease table belongs to another stream, %s, and not to %s: two streams cannot share one", other, v.Stream),
		}}
	}
	var out []Contradiction
	for i := range v.Rows {
		s := &v.Rows[i]
		switch {
		case s.Unreadable != "":
			out = append(out, Contradiction{
				Wrong: UnreadableRow, Shard: s.Shard, Since: s.first, What: "has a lease row that cannot be read, so nobody works on it: " + s.Unreadable,
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
		Wrong: ReadToItsEnd, Shard: shard, Since: since, News: true,
		What: "is open, and its position says that it was read to its end: what arrives on it is not read",
	}
}

func unowned(shard string, since time.Time) Contradiction {
	return Contradiction{
		Wrong: NoOwner, Shard: shard, Since: since, What: "has no live worker, and no parent that it would have to wait for",
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
