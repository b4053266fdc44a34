package simulation

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/localaws/fault"
)

// The warehouse of half of the fleets has moods: it refuses some rows for good,
// and for a while others, or every row, or every load above a size. It may
// refuse all rows of one table and take those of the others. Refused rows are told
// by the text of their INSERT, so such fleets do not COPY.

// Customers whose rows are refused.
const (
	poisonCustomer = "poison" // for good
	moodyCustomer  = "moody"  // while a mood of that kind lasts
)

// longestMood is shorter than the last wait for another try of a refused row:
// what is refused in a mood goes in after it.
const longestMood = 6 * time.Second

var retryTimes = []time.Duration{time.Second, 2 * time.Second, 10 * time.Second}

// forGood refuses poison rows as long as the fleet lives.
var forGood = fault.Fault{
	Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.StatementFailed,
	Match: "'" + poisonCustomer + "'", Error: "ERROR: Value too long for character type",
}

// forGoodByCopy is the same where rows come by COPY.
var forGoodByCopy = fault.Fault{
	Service: "redshift-data", Operation: "BatchExecuteStatement", Kind: fault.LineRefused,
	Match: poisonCustomer, Error: "String length exceeds DDL length",
}

func drawMood(rng *rand.Rand) fault.Fault {
	f := pick(
		rng,
		fault.Fault{Match: "'" + moodyCustomer + "'", Error: "ERROR: Numeric data overflow"},
		fault.Fault{Match: "'" + moodyCustomer + "'", Error: "ERROR: Numeric data overflow"},
		fault.Fault{Error: "ERROR: abort query"},
		fault.Fault{Error: "ERROR: could not open relation with OID 123456789"},
		fault.Fault{Error: "ERROR: something that nobody has seen before"},
		fault.Fault{Match: "INTO fact_inventory", Error: "ERROR: permission denied for relation fact_inventory"},
		fault.Fault{Match: "INTO fact_payments", Error: "ERROR: null value in column \"branch\" of relation fact_payments violates not-null constraint"},
		fault.Fault{Match: "INTO fact_orders", Error: "ERROR: null value in column \"branch\" of relation fact_orders violates not-null constraint"},
		fault.Fault{Above: 6000, Error: "ERROR: Query (150) canceled on user's request"},
	)
	f.Service, f.Operation, f.Kind = forGood.Service, forGood.Operation, forGood.Kind
	return f
}

// fall puts the warehouse into a mood that ends by itself.
func (f *Fleet) fall(s step) error {
	faults := f.world.Local.Faults()
	f.tally.event("a mood of the warehouse's: " + s.fault.Error)
	mood := []fault.Fault{s.fault}
	if customer := strings.Trim(s.fault.Match, "'"); customer == moodyCustomer {
		mood = append(mood, fault.Fault{
			Service: s.fault.Service, Operation: s.fault.Operation, Kind: fault.LineRefused, Match: customer, Error: "Overflow for NUMERIC(10,2)",
		})
	}
	f.later(s.lasts, func(context.Context) error {
		return faults.Put(slices.DeleteFunc(faults.List(), func(o fault.Fault) bool {
			return slices.ContainsFunc(mood, func(m fault.Fault) bool {
				return o.Count == 0 && o.Kind == m.Kind && o.Match == m.Match && o.Above == m.Above && o.Error == m.Error
			})
		}))
	})
	return faults.Put(append(faults.List(), mood...))
}

// customer draws whose an event is.
func (f *Fleet) customer(rng *rand.Rand) string {
	if !f.moody {
		return "c"
	}
	switch rng.IntN(12) {
	case 0:
		return poisonCustomer
	case 1, 2:
		return moodyCustomer
	}
	return "c"
}

// refusals are the fates of the rows that have a letter, by the numbers that
// name their events.
func (f *Fleet) refusals(ctx context.Context) (map[int]deadletter.Fate, error) {
	letters := f.world.Letters()
	fates, err := letters.Fates(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[int]deadletter.Fate)
	for l, err := range letters.All(ctx) {
		if err != nil {
			return nil, err
		}
		if l.Reason != deadletter.RefusedByWarehouse {
			continue
		}
		var event struct {
			Total    json.Number `json:"total_amount"`
			Amount   string      `json:"amount"`
			Quantity json.Number `json:"quantity"`
		}
		if err := json.Unmarshal(l.Data, &event); err != nil {
			return nil, fmt.Errorf("a letter of no event: %w", err)
		}
		number, err := numberOf(event.Total.String() + event.Amount + event.Quantity.String()) // it has one of them
		if err != nil {
			return nil, fmt.Errorf("what names the event of a letter: %w", err)
		}
		out[number] = fates.Of(l)
	}
	return out, nil
}

// judgeRefusals says what is wrong with the letters of rows: none but poison may
// be final, and none of poison loaded. A letter stays parked only where its keeper
// may have ended, or lost the shard before the position moved on.
func (f *Fleet) judgeRefusals(fates map[int]deadletter.Fate) error {
	poison := make(map[int]bool)
	for id, events := range f.expect.things {
		for _, e := range events {
			fate, has := fates[e.number]
			switch {
			case e.poison && !has:
				return &unsettledError{fmt.Sprintf("record %d of %s is refused and has no letter", e.number, id)}
			case e.poison && fate == deadletter.Loaded:
				return fmt.Errorf("record %d of %s is refused for good, and its letter says that it was loaded", e.number, id)
			case !e.poison && fate == deadletter.Final:
				return fmt.Errorf("record %d of %s is a good row, and a dead letter for good", e.number, id)
			case !e.poison && fate == deadletter.Parked && !f.restless && !f.orphans[e.number]:
				return &unsettledError{fmt.Sprintf("record %d of %s is a good row, and still parked", e.number, id)}
			}
			poison[e.number] = e.poison
		}
	}
	for number := range fates {
		if _, known := poison[number]; !known {
			return fmt.Errorf("the letter of record %d is of no event", number)
		}
	}
	return nil
}

// forgetParked notes what is still parked when a schedule has ended.
func (f *Fleet) forgetParked(ctx context.Context) error {
	fates, err := f.refusals(ctx)
	if err != nil {
		return fmt.Errorf("look at the letters: %w", err)
	}
	for number, fate := range fates {
		if fate == deadletter.Parked {
			f.orphans[number] = true
		}
	}
	f.restless = f.count() > 1
	return nil
}

// standing is how a thing may stand in the end, by the numbers of its events.
type standing struct {
	allowed map[int]bool
	lacking bool           // it may not be there at all
	says    map[int]string // what each of its events says
	second  map[int]int    // and when that was
}

// standings follows from the order of each key's events, and from which of them
// were parked: those that went in later replace nothing of their own instant, and
// those that still are may be in or not.
func (e expectation) standings(fates map[int]deadletter.Fate) map[thing]standing {
	out := make(map[thing]standing)
	for id, events := range e.things {
		s := standing{allowed: make(map[int]bool), lacking: true, says: make(map[int]string), second: make(map[int]int)}
		newest := -1
		for _, ev := range events {
			s.says[ev.number], s.second[ev.number] = ev.says, ev.second
			if fate, refused := fates[ev.number]; !ev.poison && (!refused || fate == deadletter.Loaded) {
				newest, s.lacking = max(newest, ev.second), false
			}
		}
		last, late := 0, make(map[int]bool)
		for _, ev := range events {
			fate, refused := fates[ev.number]
			switch {
			case ev.poison:
			case refused && fate != deadletter.Loaded:
				if ev.second >= newest {
					s.allowed[ev.number] = true
				}
			case ev.second != newest:
			case refused:
				late[ev.number] = true
			default:
				last = ev.number
			}
		}
		if last > 0 {
			late = map[int]bool{last: true}
		}
		for number := range late {
			s.allowed[number] = true
		}
		if len(s.allowed) > 0 {
			out[id] = s
		}
	}
	return out
}
