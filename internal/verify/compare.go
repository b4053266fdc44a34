package verify

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// standing is what the stream says of one order: how it may stand in the
// warehouse. There is more than one way while workers load, and where events of
// the same instant lie in different shards.
type standing struct {
	settled bool                   // it must be in the warehouse
	letter  bool                   // a dead letter has one of its records
	newest  map[uint32]event.Order // of the events before the earlier checkpoint, the newest instant's last one in each shard
	later   []event.Order          // events between the checkpoints
}

func (s *standing) add(e entry) {
	s.letter = s.letter || e.letter
	if !e.settled {
		s.later = append(s.later, e.order)
		return
	}
	s.settled = true
	at := s.newestTime()
	switch {
	case len(s.newest) == 0 || e.order.EventTime > at:
		s.newest = map[uint32]event.Order{e.shard: e.order}
	case e.order.EventTime == at:
		s.newest[e.shard] = e.order
	}
}

func (s *standing) newestTime() int64 {
	for _, o := range s.newest {
		return o.EventTime
	}
	return 0
}

func (s *standing) allows(fact event.Order) bool {
	for _, o := range s.newest {
		if sameRow(o, fact) {
			return true
		}
	}
	for _, o := range s.later {
		if sameRow(o, fact) && o.EventTime >= s.newestTime() {
			return true
		}
	}
	return false
}

func (s *standing) example() event.Order {
	for _, o := range s.newest {
		return o
	}
	if len(s.later) > 0 {
		return s.later[len(s.later)-1]
	}
	return event.Order{}
}

func (v *verifier) compare(ctx context.Context) error {
	for i := range parts {
		if err := v.comparePart(i); err != nil {
			return err
		}
	}
	v.Tell("comparing rollups")
	return v.compareRollups(ctx)
}

func (v *verifier) comparePart(i int) error {
	orders := make(map[string]*standing)
	facts := make(map[string][]event.Order)
	letters := make(map[string]*lettered)
	letterAt := func(place string) *lettered {
		l := letters[place]
		if l == nil {
			l = new(lettered)
			letters[place] = l
		}
		return l
	}
	err := v.spool.read(i, func(e entry) {
		switch e.kind {
		case kindEvent:
			id := keyOf(e.order.OrderID)
			if orders[id] == nil {
				orders[id] = new(standing)
			}
			orders[id].add(e)
		case kindFact:
			id := keyOf(e.order.OrderID)
			facts[id] = append(facts[id], e.order)
		case kindRejected:
			l := letterAt(e.place)
			l.onStream, l.needed = true, e.settled
		case kindTaken:
			letterAt(e.place).onStream = true
		case kindLetter:
			letterAt(e.place).stored = true
		}
	})
	if err != nil {
		return err
	}
	v.compareOrders(orders, facts)
	v.compareLetters(letters)
	return nil
}

// lettered is a record that was rejected or has a letter.
type lettered struct {
	onStream bool // the stream has it, before the later checkpoint
	needed   bool // it must have a letter
	stored   bool // it has one
}

func (v *verifier) compareOrders(orders map[string]*standing, facts map[string][]event.Order) {
	for id, s := range orders {
		if s.settled {
			v.report.Orders++
		}
		held := facts[id]
		if len(held) == 0 && s.settled {
			v.report.Missing++
			d := Difference{Kind: "order missing", Key: id, Stream: describe(s.example())}
			if s.letter {
				d.Warehouse = "not there: its record is in the dead letters, from where redrive takes it"
			}
			v.report.note(d)
		}
		// A row that a worker moved while the pages were read comes more than once,
		// and each time it must be as the stream says.
		for _, fact := range held {
			if !s.allows(fact) {
				v.report.Differing++
				v.report.note(Difference{Kind: "order differs", Key: id, Stream: describe(s.example()), Warehouse: describe(fact)})
				break
			}
		}
	}
	for id, held := range facts {
		if orders[id] == nil {
			v.compareUnknown(id, held)
		}
		if spelt := twoSpellings(held); spelt != "" && !v.doubled[id] {
			v.report.Surplus++
			v.report.note(Difference{Kind: "order twice", Key: id, Warehouse: spelt})
		}
	}
}

// twoSpellings tells of an order whose rows differ in blanks at the end of its id:
// an engine that counts them takes it for two.
func twoSpellings(held []event.Order) string {
	for _, o := range held[1:] {
		if o.OrderID != held[0].OrderID {
			return fmt.Sprintf("rows of %q and of %q, which Redshift takes for one order", held[0].OrderID, o.OrderID)
		}
	}
	return ""
}

// compareUnknown judges rows of which what was read of the stream says nothing.
// They may be of a shard that was not read. Otherwise an order whose events are
// all past the retention cannot be checked, and one that is newer than the
// oldest record was never on the stream.
func (v *verifier) compareUnknown(id string, held []event.Order) {
	switch n := int64(len(held)); {
	case v.blind:
		v.report.Uncompared += n
	case v.horizon.IsZero() || time.UnixMicro(held[0].EventTime).Before(v.horizon):
		v.report.Unverifiable += n
	default:
		v.report.Surplus += n
		v.report.note(Difference{Kind: "order not on the stream", Key: id, Warehouse: describe(held[0])})
	}
}

func (v *verifier) compareLetters(letters map[string]*lettered) {
	if v.Letters == nil {
		return
	}
	for p, l := range letters {
		switch {
		case l.needed && !l.stored:
			v.report.LettersMissing++
			v.report.note(Difference{Kind: "dead letter missing", Key: p})
		case l.stored && !l.onStream && v.wasRead(p):
			v.report.LettersSurplus++
			v.report.note(Difference{Kind: "dead letter of no record", Key: p})
		}
	}
}

func describe(o event.Order) string {
	return fmt.Sprintf("%q %s store %d customer %q amount %d.%02d items %d", o.EventType,
		time.UnixMicro(o.EventTime).UTC().Format("2006-01-02T15:04:05.000000Z"), o.StoreID, o.CustomerID,
		o.AmountCents/100, max(o.AmountCents%100, -(o.AmountCents%100)), o.ItemCount)
}

// rollupsSQL is one statement, and so one snapshot: rollups that differ from a
// GROUP BY over the facts, in either direction.
const rollupsSQL = `SELECT COALESCE(a.minute, f.minute) AS minute, COALESCE(a.store_id, f.store_id) AS store_id,
 COALESCE(a.event_type, f.event_type) AS event_type, a.order_count, f.order_count AS fact_count,
 a.item_count, f.item_count AS fact_items, a.revenue, f.revenue AS fact_revenue
FROM agg_orders_minute a FULL OUTER JOIN (
 SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type, COUNT(*) AS order_count,
  SUM(item_count) AS item_count, SUM(total_amount) AS revenue
 FROM fact_orders GROUP BY 1, 2, 3) f
 ON a.minute = f.minute AND a.store_id = f.store_id AND a.event_type = f.event_type
WHERE a.minute IS NULL OR f.minute IS NULL OR a.order_count <> f.order_count
 OR a.item_count <> f.item_count OR a.revenue <> f.revenue
LIMIT 1000`

func (v *verifier) compareRollups(ctx context.Context) error {
	r, err := v.query(ctx, "rollups", rollupsSQL)
	if err != nil {
		return err
	}
	v.report.RollupsDiffering = int64(len(r.Rows))
	for _, row := range r.Rows {
		v.report.note(Difference{
			Kind: "rollup differs", Key: row[0].Text + " store " + row[1].Text + " " + row[2].Text,
			Stream:    fmt.Sprintf("facts: %s orders, %s items, %s", row[4].Text, row[6].Text, row[8].Text),
			Warehouse: fmt.Sprintf("rollup: %s orders, %s items, %s", row[3].Text, row[5].Text, row[7].Text),
		})
	}
	count, err := v.query(ctx, "rollups", `SELECT COUNT(*) FROM agg_orders_minute`)
	if err != nil {
		return err
	}
	v.report.Rollups, err = strconv.ParseInt(count.Rows[0][0].Text, 10, 64)
	return err
}
