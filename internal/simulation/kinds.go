package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// kind is a kind of event, as the producers know it.
type kind int

const (
	orderEvent kind = iota
	levelEvent
	paymentEvent
	kinds = iota
)

// thing is what a row of the warehouse is about.
type thing struct {
	kind kind
	id   string // its key, as tables has it
}

func (t thing) String() string {
	return [kinds]string{"order ", "level ", "payment "}[t.kind] + t.id
}

// happened is an event of a thing. The number names it: no two have the same. It
// is the amount of money in cents, or how many pieces of an article there are.
type happened struct {
	second int // of the event, within the hour
	number int
	poison bool   // the warehouse refuses it for good
	says   string // what the row says besides, as tables has it
}

// The things that events are about have the number of their partition key: the
// order of a thing's events is that of one shard.
func orderID(n int) string   { return fmt.Sprintf("order-%d", n) }
func paymentID(n int) string { return fmt.Sprintf("payment-%d", n) }

func level(n int) (store int, sku string) { return n % 3, fmt.Sprintf("sku-%d", n) }

// absent is how says has a NULL.
const absent = "NULL"

// said joins what a row says.
func said(values ...any) string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = fmt.Sprint(v)
	}
	return strings.Join(out, " | ")
}

// event writes an event of a thing, or an object that is none, and expects it.
func (f *Fleet) event(n int, rng *rand.Rand) (event []byte, good bool) {
	e := &f.expect
	e.records++
	k := orderEvent
	if f.mixed {
		k = pick(rng, orderEvent, orderEvent, levelEvent, paymentEvent)
	}
	if rng.IntN(12) == 0 {
		e.bad++
		key := [kinds]string{"order_id", "sku", "payment_id"}[k]
		return fmt.Appendf(nil, `{%q:%q,"record":%d}`, key, orderID(n), e.records), false
	}
	customer := f.customer(rng)
	h := happened{second: 17 * rng.IntN(9), number: e.records, poison: customer == poisonCustomer}
	at := f.began.UTC().Truncate(time.Hour).Add(time.Hour + time.Duration(h.second)*time.Second).Format("2006-01-02T15:04:05")
	var of thing
	switch k {
	case orderEvent:
		store, what := rng.IntN(3), rng.IntN(2)
		of = thing{k, orderID(n)}
		h.says = said(store, fmt.Sprint("order_", what), 1, customer)
		event = fmt.Appendf(nil,
			`{"order_id":%q,"customer_id":%q,"store_id":%d,"total_amount":%d.%02d,"item_count":1,"event_type":"order_%d","timestamp":%q}`,
			of.id, customer, store, h.number/100, h.number%100, what, at)
	case levelEvent: // it has no customer, so that its type says what the warehouse thinks of it
		store, sku := level(n)
		of = thing{k, fmt.Sprintf("%d/%s", store, sku)}
		h.says = said(customer, "", 0)
		event = fmt.Appendf(nil, `{"store_id":"%d","sku":%q,"quantity":%d,"event_type":%q,"updated_at":%q}`, store, sku, h.number, customer, at)
	case paymentEvent:
		of = thing{k, paymentID(n)}
		event, h.says = payment(n, h.number, customer, at, rng)
	}
	e.things[of] = append(e.things[of], h)
	return event, true
}

// payment writes an event of a payment: of each key that may be missing, both.
func payment(n, number int, customer, at string, rng *rand.Rand) (event []byte, says string) {
	method, status := pick(rng, "card", "cash"), pick(rng, "completed", "failed", "x")
	more, transaction, score := "", absent, absent
	switch rng.IntN(3) {
	case 0:
		transaction = fmt.Sprintf("t-%d", number)
		more = fmt.Sprintf(`,"transaction_id":%q`, transaction)
	case 1:
		more = `,"transaction_id":null`
	}
	if rng.IntN(2) == 0 {
		score = fmt.Sprint(rng.IntN(3)) // 0 is a score
		more += `,"fraud_score":` + score
	}
	event = fmt.Appendf(nil,
		`{"payment_id":%q,"order_id":%q,"customer_id":%q,"amount":"%d.%02d","payment_method":%q,"status":%q,"processed_at":%q%s}`,
		paymentID(n), orderID(n), customer, number/100, number%100, method, status, at, more)
	return event, said(method, "payment_"+status, 0, orderID(n), customer, transaction, status, score)
}

// tables is how the oracle looks at each kind's tables. Of the facts it reads the
// key, the number, the time and what the row says, of which the first two are what
// rollups are grouped by and the third is summed; of the rollups the minute, those
// two, how many rows they are of, that sum and the sum of the numbers.
var tables = [kinds]struct{ facts, rollups string }{
	orderEvent: {
		"SELECT order_id, total_amount, event_timestamp, store_id, event_type, item_count, customer_id FROM fact_orders",
		"SELECT minute, store_id, event_type, order_count, item_count, revenue FROM agg_orders_minute",
	},
	levelEvent: {
		"SELECT CAST(store_id AS VARCHAR(20)) || '/' || sku, quantity, event_timestamp, event_type, '', 0 FROM fact_inventory",
		"",
	},
	paymentEvent: {
		"SELECT payment_id, amount, event_timestamp, payment_method, event_type, 0, order_id, customer_id, transaction_id, status, fraud_score FROM fact_payments",
		"SELECT minute, payment_method, event_type, payment_count, 0, amount FROM agg_payments_minute",
	},
}
