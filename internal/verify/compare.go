package verify

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// standing is what the stream says of one order: how it may stand in the
// warehouse. There is more than one way while workers load, and where events of
// the same instant lie in different shards.
type standing struct {
	settled bool                   // it must be in the warehouse
	newest  map[uint32]event.Order // of the events before the earlier checkpoint, the newest instant's last one in each shard
	later   []event.Order          // events between the checkpoints
}

func (s *standing) add(e entry) {
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
		if o == fact {
			return true
		}
	}
	for _, o := range s.later {
		if o == fact && o.EventTime >= s.newestTime() {
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
	rejected, letters := make(map[string]bool), make(map[string]bool)
	err := v.spool.read(i, func(e entry) {
		switch e.kind {
		case kindEvent:
			s := orders[e.order.OrderID]
			if s == nil {
				s = new(standing)
				orders[e.order.OrderID] = s
			}
			s.add(e)
		case kindFact:
			facts[e.order.OrderID] = append(facts[e.order.OrderID], e.order)
		case kindRejected:
			rejected[e.place] = e.settled
		case kindLetter:
			letters[e.place] = true
		}
	})
	if err != nil {
		return err
	}
	v.compareOrders(orders, facts)
	v.compareLetters(rejected, letters)
	return nil
}

func (v *verifier) compareOrders(orders map[string]*standing, facts map[string][]event.Order) {
	for id, s := range orders {
		if s.settled {
			v.report.Orders++
		}
		switch held := facts[id]; {
		case len(held) == 0 && s.settled:
			v.report.Missing++
			v.report.note(Difference{Kind: "order missing", Key: id, Stream: describe(s.example())})
		case len(held) > 1:
			v.report.Surplus += int64(len(held) - 1)
			v.report.note(Difference{Kind: "order twice", Key: id, Warehouse: describe(held[1])})
		case len(held) == 1 && !s.allows(held[0]):
			v.report.Differing++
			v.report.note(Difference{Kind: "order differs", Key: id, Stream: describe(s.example()), Warehouse: describe(held[0])})
		}
	}
	for id, held := range facts {
		if orders[id] != nil {
			continue
		}
		// An order whose events are all past the retention cannot be checked; one
		// that is newer than the oldest record was never on the stream.
		if v.horizon.IsZero() || time.UnixMicro(held[0].EventTime).Before(v.horizon) {
			v.report.Unverifiable += int64(len(held))
			continue
		}
		v.report.Surplus += int64(len(held))
		v.report.note(Difference{Kind: "order not on the stream", Key: id, Warehouse: describe(held[0])})
	}
}

func (v *verifier) compareLetters(rejected, letters map[string]bool) {
	if v.Letters == nil {
		return
	}
	for p, settled := range rejected {
		if settled && !letters[p] {
			v.report.LettersMissing++
			v.report.note(Difference{Kind: "dead letter missing", Key: p})
		}
	}
}

func describe(o event.Order) string {
	return fmt.Sprintf("%s %s store %d customer %q amount %d.%02d items %d", o.EventType,
		time.UnixMicro(o.EventTime).UTC().Format("2006-01-02T15:04:05.000000Z"), o.StoreID, o.CustomerID,
		o.AmountCents/100, max(o.AmountCents%100, -(o.AmountCents%100)), o.ItemCount)
}

func readFact(row []warehouse.Value) (o event.Order, err error) {
	if len(row) != 7 {
		return o, fmt.Errorf("%d columns instead of 7", len(row))
	}
	o.OrderID, o.CustomerID, o.EventType = row[0].Text, row[1].Text, row[5].Text
	store, err := strconv.ParseInt(row[2].Text, 10, 32)
	if err != nil {
		return o, fmt.Errorf("store_id: %w", err)
	}
	items, err := strconv.ParseInt(row[4].Text, 10, 32)
	if err != nil {
		return o, fmt.Errorf("item_count: %w", err)
	}
	o.StoreID, o.ItemCount = int32(store), int32(items)
	if o.AmountCents, err = warehouse.ParseCents(row[3].Text); err != nil {
		return o, fmt.Errorf("total_amount: %w", err)
	}
	at, err := warehouse.ParseTimestamp(row[6].Text)
	if err != nil {
		return o, fmt.Errorf("event_timestamp: %w", err)
	}
	o.EventTime = at.UnixMicro()
	return o, nil
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
