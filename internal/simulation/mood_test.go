package simulation

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
)

// TestTheOracleKnowsWhichRowsMayBeLetters: none but those refused for good, and
// parked ones that went in are no letters any more.
func TestTheOracleKnowsWhichRowsMayBeLetters(t *testing.T) {
	events := map[thing][]happened{{orderEvent, "order-1"}: {{second: 5, number: 1}, {second: 5, number: 2}, {second: 9, number: 3, poison: true}}}
	for name, c := range map[string]struct {
		fates    map[int]deadletter.Fate
		restless bool
		wrong    string // part of what the judge says; empty = nothing
		allowed  []int  // events that may stand
	}{
		"all as it should be":           {map[int]deadletter.Fate{3: deadletter.Final}, false, "", []int{2}},
		"poison without a letter":       {nil, false, "has no letter", []int{2}},
		"poison that was loaded":        {map[int]deadletter.Fate{3: deadletter.Loaded}, false, "refused for good", []int{2}},
		"a good row in a final letter":  {map[int]deadletter.Fate{2: deadletter.Final, 3: deadletter.Final}, true, "for good", []int{1, 2}},
		"a good row still parked":       {map[int]deadletter.Fate{2: deadletter.Parked, 3: deadletter.Final}, false, "still parked", []int{1, 2}},
		"a good row whose keeper ended": {map[int]deadletter.Fate{2: deadletter.Parked, 3: deadletter.Final}, true, "", []int{1, 2}},
		"one that went in late":         {map[int]deadletter.Fate{2: deadletter.Loaded, 3: deadletter.Final}, false, "", []int{1}},
		"a letter of nothing":           {map[int]deadletter.Fate{3: deadletter.Final, 77: deadletter.Final}, false, "of no event", []int{2}},
	} {
		f := &Fleet{restless: c.restless, expect: expectation{things: events}}
		err := f.judgeRefusals(c.fates)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: the judge says %v, want %q", name, err, c.wrong)
		}
		if got := slices.Sorted(maps.Keys(f.expect.standings(c.fates)[thing{orderEvent, "order-1"}].allowed)); !slices.Equal(got, c.allowed) {
			t.Errorf("%s: events %v may stand, want %v", name, got, c.allowed)
		}
	}
}
