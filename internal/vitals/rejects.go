package vitals

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

const (
	enough     = 20   // records that say something about a share
	conclusive = 250  // records that leave no question: one in fifty of them is five
	byChance   = 0.05 // what is less probable is none
)

// rejects are of the shortest while that has an answer. A short one of few records says
// nothing of a small share, and is well in one second and not in the next; a long one
// has what is over. So a longer one is asked where a shorter one is too small to say that
// all is well, and what is over by then is left out of it.
func (p *past) rejects() verdict.Rejects {
	last := p.counts[len(p.counts)-1]
	i := p.index(lately)
	for i > 0 && last.processed-p.counts[i].processed < enough {
		i--
	}
	out, clean := p.rejectsSince(p.counts[i]), p.clean()
	if isOver(out, clean) {
		out = clean
	}
	for _, d := range []time.Duration{time.Minute, longer} {
		if out.State() != verdict.Fine || out.Records >= conclusive {
			break
		}
		if long := p.rejectsSince(p.before(d)); !isOver(long, clean) {
			out = long
		}
	}
	out.Window = max(out.Window, lookEvery)
	return out
}

// clean is the while since a record was last rejected.
func (p *past) clean() verdict.Rejects {
	last := p.counts[len(p.counts)-1]
	i := slices.IndexFunc(p.counts, func(c counts) bool { return c.rejected == last.rejected })
	return p.rejectsSince(p.counts[i])
}

// isOver reports whether what was rejected then is not rejected any more: so many good
// records in a row are no chance.
func isOver(then, clean verdict.Rejects) bool {
	if clean.Window < lately || then.Rejected == 0 {
		return false
	}
	good := 1 - float64(then.Rejected)/float64(then.Records)
	return math.Pow(good, float64(clean.Records)) < byChance
}

func (p *past) rejectsSince(first counts) verdict.Rejects {
	last := p.counts[len(p.counts)-1]
	out := verdict.Rejects{Known: true, Window: last.at.Sub(first.at), Records: last.processed - first.processed, Rejected: last.rejected - first.rejected}
	for reason, n := range last.reasons {
		if n -= first.reasons[reason]; n > 0 {
			out.Reasons = append(out.Reasons, verdict.Reason{Text: reason, N: n})
		}
	}
	slices.SortFunc(out.Reasons, func(a, b verdict.Reason) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Text, b.Text)) })
	return out
}
