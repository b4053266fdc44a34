package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// model is what the load transaction is to do, said without SQL.
type model struct {
	facts map[string]event.Event // by family and key
	terms map[string]int64
	at    map[string]stream.Position
}

// keyOf names the row that an event is of.
func keyOf(e event.Event) string {
	switch r := e.Row.(type) {
	case *event.Level:
		return fmt.Sprintf("inventory %d %s", r.StoreID, r.SKU)
	case *event.Payment:
		return "payments " + r.PaymentID
	}
	return "orders " + e.Row.(*event.Order).OrderID
}

func timeOf(e event.Event) int64 {
	switch r := e.Row.(type) {
	case *event.Level:
		return r.EventTime
	case *event.Payment:
		return r.EventTime
	}
	return e.Row.(*event.Order).EventTime
}

// rowText is all that an event says, as one text.
func rowText(e event.Event) string {
	return e.Family().String() + " " + string(warehouse.Insert{}.Encoder().Append(nil, &e))
}

// load does to the model what a load does to the warehouse, and returns the
// answer that is due.
func (m *model) load(b drawn) warehouse.Loaded {
	out := warehouse.Loaded{Outcomes: make([]warehouse.Outcome, len(b.Moves))}
	accepted := make([]bool, len(b.Moves))
	for i, move := range b.Moves {
		term, at := m.terms[move.Shard], m.at[move.Shard]
		o := warehouse.Outcome{Verdict: warehouse.Refused, Term: term, Position: at}
		switch {
		case term != move.Term:
		case at == move.From:
			o.Verdict, o.Position, accepted[i] = warehouse.Committed, move.To, true
			m.at[move.Shard] = move.To
		case at == move.To:
			o.Verdict = warehouse.Committed
			for f := range out.Written {
				out.Written[f] = -1
			}
		}
		out.Outcomes[i] = o
	}
	var rows []event.Event
	for i, e := range b.events {
		if accepted[b.of[i]] {
			rows = append(rows, e)
		}
	}
	if written := m.put(rows, false); out.Written[0] == 0 {
		out.Written = written
	}
	return out
}

// put brings rows in that take effect in this order. Late ones yield to what is
// equally old.
func (m *model) put(rows []event.Event, late bool) (written warehouse.Written) {
	newest := make(map[string]event.Event)
	for _, e := range rows {
		if n, ok := newest[keyOf(e)]; !ok || timeOf(e) >= timeOf(n) {
			newest[keyOf(e)] = e
		}
	}
	for key, e := range newest {
		held, ok := m.facts[key]
		if !ok || timeOf(e) > timeOf(held) || !late && timeOf(e) == timeOf(held) && rowText(e) != rowText(held) {
			m.facts[key] = e
			written[e.Family()]++
		}
	}
	return written
}

// drawn is a batch, and the events that its rows are of.
type drawn struct {
	warehouse.Batch
	events []event.Event
	of     []int // the move of each
}

// rows writes the batch's rows as a fill wants them.
func (d drawn) rows(fill warehouse.Fill) warehouse.Batch {
	b := d.Batch
	b.Rows = nil
	for i, e := range d.events {
		b.Rows = append(b.Rows, rowOf(fill, d.of[i], e))
	}
	return b
}

// draw makes a batch: moves that are right, stale, elsewhere or a repeat, and
// rows of few orders and few times, so that most meet others.
func (m *model) draw(rng *rand.Rand, last drawn) drawn {
	if len(last.Moves) > 0 && rng.IntN(6) == 0 {
		return last // as after a lost reply
	}
	b := drawn{Batch: warehouse.Batch{Stream: StreamName}}
	shards := slices.Sorted(maps.Keys(m.at))
	rng.Shuffle(len(shards), func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
	for _, id := range shards[:1+rng.IntN(len(shards))] {
		move := warehouse.Move{Shard: id, Term: m.terms[id], From: m.at[id], To: stream.Position{Sequence: fmt.Sprint(rng.Uint64()), Sub: rng.Int64N(3)}}
		switch rng.IntN(6) {
		case 0:
			move.Term += rng.Int64N(3) - 1
		case 1:
			move.From.Sub++
		}
		if rng.IntN(2) == 0 {
			move.ArrivedUntil = time.UnixMicro(1e15 + rng.Int64N(1e9))
		}
		b.Moves = append(b.Moves, move)
	}
	families := pick(rng, []event.Family{event.Orders}, []event.Family{event.Inventory, event.Payments}, []event.Family{event.Orders, event.Inventory, event.Payments})
	for range rng.IntN(40) {
		b.events = append(b.events, drawEvent(rng, families))
		b.of = append(b.of, rng.IntN(len(b.Moves)))
	}
	return b
}

func drawEvent(rng *rand.Rand, families []event.Family) event.Event {
	texts := []string{"plain", `it's`, `back\slash`, `\N`, `\'`, `"quoted", with a comma`, "a\nline\r\nand\ttabs", "名前", "-- ;", "\x01"}
	text := func() string { return pick(rng, texts...) }
	store := func() int32 { return pick[int32](rng, 1, 2, -1<<31, 1<<31-1) }
	cents := pick[int64](rng, 0, 1, -310, 9_999_999_999, -9_999_999_999, rng.Int64N(1000))
	at := 1_795_163_730_000_000 + pick[int64](rng, 0, 1, 999_999, 60_000_000)*rng.Int64N(3)
	switch pick(rng, families...) {
	case event.Inventory:
		return event.Event{Row: &event.Level{SKU: text(), EventType: pick(rng, "inventory_updated", "x"), StoreID: store(), Quantity: rng.Int32N(2), EventTime: at}}
	case event.Payments:
		p := &event.Payment{
			PaymentID: fmt.Sprint(text(), rng.IntN(3)), OrderID: text(), CustomerID: text(), TransactionID: pick(rng, "", "", text()),
			Method: pick(rng, "card", `'\`), Status: pick(rng, "completed", "x"), EventType: pick(rng, "payment_completed", "x"),
			AmountCents: cents, EventTime: at,
		}
		if rng.IntN(2) == 0 {
			p.FraudScore, p.Scored = pick[int32](rng, 0, 7, -1), true
		}
		return event.Event{Row: p}
	}
	return event.Event{Row: &event.Order{
		OrderID: fmt.Sprint(text(), rng.IntN(3)), CustomerID: text(), EventType: pick(rng, "order_created", `order_'\`, "x"),
		StoreID: store(), ItemCount: rng.Int32N(3), AmountCents: cents, EventTime: at,
	}}
}

// TestG2_G6_G7_LoadsDoWhatTheModelDoes draws loads of every kind and compares
// facts, rollups, checkpoints and answers with the model's after each.
func TestG2_G6_G7_LoadsDoWhatTheModelDoes(t *testing.T) {
	engines(t, func(t *testing.T, url string) {
		w := newWorld(t, Options{Warehouse: url})
		ctx := deadline(t)
		bucket, err := w.Account.Bucket(stagingURL)
		if err != nil {
			t.Fatal(err)
		}
		if err := bucket.EnsureBucket(ctx); err != nil {
			t.Fatal(err)
		}
		fills := []warehouse.Fill{warehouse.Insert{}, &warehouse.Copy{Staging: bucket, Log: slog.New(slog.DiscardHandler)}}
		m := &model{facts: map[string]event.Event{}, terms: map[string]int64{"a": 3, "b": 1, "c": 7}, at: map[string]stream.Position{}}
		var claims []warehouse.Claim
		for id, term := range m.terms {
			m.at[id] = stream.Position{Sequence: stream.TrimHorizon}
			claims = append(claims, warehouse.Claim{Shard: id, Term: term, Start: m.at[id]})
		}
		if _, err := warehouse.New(w.DB, fills[0]).Claim(ctx, StreamName, claims); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(24, 11))
		var last drawn
		for n := range 60 {
			ctx := deadline(t) // a load's
			fill := fills[rng.IntN(len(fills))]
			house := warehouse.New(w.DB, fill)
			if rng.IntN(5) == 0 {
				all := []event.Family{event.Orders, event.Inventory, event.Payments}
				late := []event.Event{drawEvent(rng, all), drawEvent(rng, all)}
				got, err := house.Retry(ctx, []warehouse.Row{rowOf(fill, 0, late[0]), rowOf(fill, 0, late[1])})
				if want := m.put(late, true); err != nil || got != want {
					t.Fatalf("load %d, of late rows: %d written, %v; want %d", n, got, err, want)
				}
			} else {
				last = m.draw(rng, last)
				got, err := house.Load(ctx, last.rows(fill))
				if err != nil {
					t.Fatalf("load %d: %v", n, err)
				}
				want := m.load(last)
				if got.Written != want.Written || !slices.Equal(got.Outcomes, want.Outcomes) {
					t.Fatalf("load %d: %+v\nwant %+v\nof %+v", n, got, want, last)
				}
			}
			m.compare(ctx, t, w)
			if t.Failed() {
				t.Fatalf("after load %d", n)
			}
		}
	})
}

// compare holds the warehouse against the model.
func (m *model) compare(ctx context.Context, t *testing.T, w *World) {
	t.Helper()
	r, err := w.DB.Run(ctx, warehouse.Token(), []string{
		`SELECT 'orders ' || order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM fact_orders`,
		`SELECT 'inventory ' || CAST(store_id AS VARCHAR) || ' ' || sku, quantity, event_type, event_timestamp FROM fact_inventory`,
		`SELECT 'payments ' || payment_id, order_id, customer_id, transaction_id, amount, payment_method, status, fraud_score, event_type, event_timestamp FROM fact_payments`,
		`SELECT COUNT(*) FROM agg_orders_minute a FULL OUTER JOIN (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type,
 COUNT(*) AS n, SUM(item_count) AS items, SUM(total_amount) AS amount FROM fact_orders GROUP BY 1, 2, 3) f
 ON a.minute = f.minute AND a.store_id = f.store_id AND a.event_type = f.event_type
 WHERE a.minute IS NULL OR f.minute IS NULL OR a.order_count <> f.n OR a.item_count <> f.items OR a.revenue <> f.amount`,
		`SELECT COUNT(*) FROM agg_payments_minute a FULL OUTER JOIN (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, payment_method, event_type,
 COUNT(*) AS n, SUM(amount) AS amount FROM fact_payments GROUP BY 1, 2, 3) f
 ON a.minute = f.minute AND a.payment_method = f.payment_method AND a.event_type = f.event_type
 WHERE a.minute IS NULL OR f.minute IS NULL OR a.payment_count <> f.n OR a.amount <> f.amount`,
		"SELECT shard_id, term, sequence_number, sub_sequence_number FROM worker_checkpoints ORDER BY shard_id",
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, table := range r[:3] {
		for _, row := range table.Rows {
			key := row[0].Text
			e, ok := m.facts[key]
			if !ok {
				t.Errorf("the fact %+v, which is none", row)
				continue
			}
			if want := textsOf(e); seen[key] || !slices.EqualFunc(row[1:], want, sameValue) {
				t.Errorf("the fact %+v, want %q", row, want)
			}
			seen[key] = true
		}
	}
	if len(seen) != len(m.facts) {
		t.Errorf("%d facts, want %d", len(seen), len(m.facts))
	}
	for _, count := range r[3:5] {
		if n := count.Rows[0][0].Text; n != "0" {
			t.Errorf("%s rollups differ from the facts", n)
		}
	}
	var got []string
	for _, row := range r[5].Rows {
		got = append(got, fmt.Sprint(row[0].Text, " ", row[1].Text, " ", row[2].Text, "/", row[3].Text))
	}
	want := []string{"* 0 0/0"}
	for _, id := range slices.Sorted(maps.Keys(m.at)) {
		want = append(want, fmt.Sprint(id, " ", m.terms[id], " ", m.at[id].Sequence, "/", m.at[id].Sub))
	}
	if !slices.Equal(got, want) {
		t.Errorf("checkpoints\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// textsOf are the values of a row behind its key, as a warehouse writes them; NULL
// is empty.
func textsOf(e event.Event) []string {
	at := time.UnixMicro(timeOf(e)).UTC().Format("2006-01-02 15:04:05.999999")
	amount := func(cents int64) string { return strconv.FormatFloat(float64(cents)/100, 'f', 2, 64) }
	switch p := e.Row.(type) {
	case *event.Level:
		return []string{fmt.Sprint(p.Quantity), p.EventType, at}
	case *event.Payment:
		score := ""
		if p.Scored {
			score = fmt.Sprint(p.FraudScore)
		}
		return []string{p.OrderID, p.CustomerID, p.TransactionID, amount(p.AmountCents), p.Method, p.Status, score, p.EventType, at}
	}
	o := e.Row.(*event.Order)
	return []string{o.CustomerID, fmt.Sprint(o.StoreID), amount(o.AmountCents), fmt.Sprint(o.ItemCount), o.EventType, at}
}

// sameValue reports whether a value is that text. Engines may leave zeros at the
// end of a fraction out, or write them.
func sameValue(v warehouse.Value, want string) bool {
	trim := func(s string) string {
		if _, fraction, ok := strings.Cut(s, "."); ok && strings.Trim(fraction, "0123456789") == "" {
			return strings.TrimRight(strings.TrimRight(s, "0"), ".")
		}
		return s
	}
	return v.Null == (want == "") && trim(v.Text) == trim(want)
}
