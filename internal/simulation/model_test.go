package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// model is what the load transaction is to do, said without SQL.
type model struct {
	facts map[string]event.Order
	terms map[string]int64
	at    map[string]stream.Position
}

// load does to the model what a load does to the warehouse, and returns the
// answer that is due.
func (m *model) load(b warehouse.Batch) warehouse.Loaded {
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
			o.Verdict, out.Changed = warehouse.Committed, -1
		}
		out.Outcomes[i] = o
	}
	var rows []event.Order
	for _, r := range b.Rows {
		if accepted[r.Move] {
			rows = append(rows, *r.Order)
		}
	}
	if changed := m.put(rows, false); out.Changed == 0 {
		out.Changed = changed
	}
	return out
}

// put brings rows in that take effect in this order. Late ones yield to what is
// equally old.
func (m *model) put(rows []event.Order, late bool) (changed int64) {
	newest := make(map[string]event.Order)
	for _, o := range rows {
		if n, ok := newest[o.OrderID]; !ok || o.EventTime >= n.EventTime {
			newest[o.OrderID] = o
		}
	}
	for id, o := range newest {
		held, ok := m.facts[id]
		if !ok || o.EventTime > held.EventTime || !late && o.EventTime == held.EventTime && o != held {
			m.facts[id] = o
			changed++
		}
	}
	return changed
}

// draw makes a batch: moves that are right, stale, elsewhere or a repeat, and
// rows of few orders and few times, so that most meet others.
func (m *model) draw(rng *rand.Rand, last warehouse.Batch) warehouse.Batch {
	if len(last.Moves) > 0 && rng.IntN(6) == 0 {
		return last // as after a lost reply
	}
	b := warehouse.Batch{Stream: StreamName}
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
	for range rng.IntN(40) {
		b.Rows = append(b.Rows, warehouse.Row{Move: rng.IntN(len(b.Moves)), Order: drawOrder(rng)})
	}
	return b
}

func drawOrder(rng *rand.Rand) *event.Order {
	texts := []string{"plain", `it's`, `back\slash`, `\N`, `\'`, `"quoted", with a comma`, "a\nline\r\nand\ttabs", "名前", "-- ;", "\x01"}
	return &event.Order{
		OrderID: fmt.Sprint(pick(rng, texts...), rng.IntN(3)), CustomerID: pick(rng, texts...), EventType: pick(rng, "order_created", `order_'\`, "x"),
		StoreID: pick[int32](rng, 1, 2, -1<<31, 1<<31-1), ItemCount: rng.Int32N(3),
		AmountCents: pick[int64](rng, 0, 1, -310, 9_999_999_999, -9_999_999_999, rng.Int64N(1000)),
		EventTime:   1_795_163_730_000_000 + pick[int64](rng, 0, 1, 999_999, 60_000_000)*rng.Int64N(3),
	}
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
		houses := []*warehouse.Warehouse{
			warehouse.New(w.DB, warehouse.Insert{}),
			warehouse.New(w.DB, &warehouse.Copy{Staging: bucket, Log: slog.New(slog.DiscardHandler)}),
		}
		m := &model{facts: map[string]event.Order{}, terms: map[string]int64{"a": 3, "b": 1, "c": 7}, at: map[string]stream.Position{}}
		var claims []warehouse.Claim
		for id, term := range m.terms {
			m.at[id] = stream.Position{Sequence: stream.TrimHorizon}
			claims = append(claims, warehouse.Claim{Shard: id, Term: term, Start: m.at[id]})
		}
		if _, err := houses[0].Claim(ctx, StreamName, claims); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(24, 11))
		var last warehouse.Batch
		for n := range 60 {
			house := houses[rng.IntN(len(houses))]
			if rng.IntN(5) == 0 {
				late := []warehouse.Row{{Order: drawOrder(rng)}, {Order: drawOrder(rng)}}
				got, err := house.Retry(ctx, late)
				if want := m.put([]event.Order{*late[0].Order, *late[1].Order}, true); err != nil || got != want {
					t.Fatalf("load %d, of late rows: %d written, %v; want %d", n, got, err, want)
				}
			} else {
				last = m.draw(rng, last)
				got, err := house.Load(ctx, last)
				if err != nil {
					t.Fatalf("load %d: %v", n, err)
				}
				want := m.load(last)
				if len(last.Rows) == 0 {
					want.Changed = min(want.Changed, 0)
				}
				if got.Changed != want.Changed || !slices.Equal(got.Outcomes, want.Outcomes) {
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
		"SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM fact_orders",
		`SELECT COUNT(*) FROM agg_orders_minute a FULL OUTER JOIN (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type,
 COUNT(*) AS n, SUM(item_count) AS items, SUM(total_amount) AS amount FROM fact_orders GROUP BY 1, 2, 3) f
 ON a.minute = f.minute AND a.store_id = f.store_id AND a.event_type = f.event_type
 WHERE a.minute IS NULL OR f.minute IS NULL OR a.order_count <> f.n OR a.item_count <> f.items OR a.revenue <> f.amount`,
		"SELECT shard_id, term, sequence_number, sub_sequence_number FROM worker_checkpoints ORDER BY shard_id",
	})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, row := range r[0].Rows {
		o, ok := m.facts[row[0].Text]
		cents, _ := warehouse.ParseCents(row[3].Text)
		at, _ := warehouse.ParseTimestamp(row[6].Text)
		if !ok || seen[row[0].Text] || row[1].Text != o.CustomerID || row[2].Text != fmt.Sprint(o.StoreID) || cents != o.AmountCents ||
			row[4].Text != fmt.Sprint(o.ItemCount) || row[5].Text != o.EventType || at.UnixMicro() != o.EventTime {
			t.Errorf("the fact %+v, want %+v", row, o)
		}
		seen[row[0].Text] = true
	}
	if len(seen) != len(m.facts) {
		t.Errorf("%d facts, want %d", len(seen), len(m.facts))
	}
	if n := r[1].Rows[0][0].Text; n != "0" {
		t.Errorf("%s rollups differ from the facts", n)
	}
	var got []string
	for _, row := range r[2].Rows {
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
