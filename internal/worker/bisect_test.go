package worker

import "testing"

// TestNamedRowsStayWithinTheLoad: what a refusal named is looked for among the rows
// that are left, also where a lost shard took some of them along.
func TestNamedRowsStayWithinTheLoad(t *testing.T) {
	for name, c := range map[string]struct{ at, lo, hi, left, built, from, to int }{
		"behind":                        {at: 4, lo: 6, hi: 7, left: 6, built: 6, from: 2, to: 3},
		"it begins in the first part":   {at: 4, lo: 2, hi: 7, left: 6, built: 6, from: 0, to: 3},
		"it went in":                    {at: 4, lo: 2, hi: 4, left: 6, built: 6, from: 0, to: 6},
		"a shard was lost":              {at: 4, lo: 8, hi: 9, left: 6, built: 2, from: 0, to: 2},
		"a shard was lost, all of them": {at: 4, lo: 8, hi: 9, left: 6, built: 0, from: 0, to: 0},
	} {
		if from, to := behind(c.at, c.lo, c.hi, c.left, c.built); from != c.from || to != c.to {
			t.Errorf("%s: %d to %d, want %d to %d", name, from, to, c.from, c.to)
		}
	}
}
