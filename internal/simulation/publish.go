package simulation

import (
	"bytes"
	"context"
	"crypto/md5" // not for secrecy: aggregates are hashed with it
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// publish puts n events on the stream. Orders are few, so that most events
// meet an earlier one; event times are fewer, so that many of them are equal
// and the order of the stream decides, and some go back. Some records hold
// several events, in each of the ways there are.
func (f *Fleet) publish(ctx context.Context, n int, rng *rand.Rand) error {
	var entries []aws.Entry
	for n > 0 {
		id := fmt.Sprintf("order-%d", rng.IntN(40))
		size := 1
		if rng.IntN(8) == 0 {
			size = min(n, 2+rng.IntN(4))
		}
		n -= size
		entries = append(entries, aws.Entry{PartitionKey: id, Data: f.record(id, size, rng)})
	}
	return f.world.Put(ctx, entries)
}

// record writes a record of so many events of an order.
func (f *Fleet) record(id string, size int, rng *rand.Rand) []byte {
	if size == 1 && rng.IntN(40) == 0 { // whole objects, but not only: none of them counts
		f.expect.records++
		f.expect.bad++
		return fmt.Appendf(nil, `{"order_id":%q,"customer_id":"nobody"} {"order_id":%q,"customer_id":"nobody"}, {}`, id, id)
	}
	if size == 1 {
		event, good := f.event(id, rng)
		if !good {
			return event[:len(event)-1] // cut short
		}
		return event
	}
	f.tally.event("a record of several events")
	events := make([][]byte, size)
	for i := range events {
		events[i], _ = f.event(id, rng)
	}
	between := [][]byte{{'\n'}, {' '}, nil}[rng.IntN(3)]
	cut := 1 + rng.IntN(size-1)
	switch rng.IntN(3) {
	case 0:
		return aggregated(id, events...)
	case 1:
		return aggregated(id, bytes.Join(events[:cut], between), bytes.Join(events[cut:], between))
	}
	return bytes.Join(events, between)
}

// event writes an event of an order, or an object that is none, and expects it.
func (f *Fleet) event(id string, rng *rand.Rand) (event []byte, good bool) {
	e := &f.expect
	e.records++
	if rng.IntN(12) == 0 {
		e.bad++
		return fmt.Appendf(nil, `{"order_id":%q,"record":%d}`, id, e.records), false
	}
	customer := f.customer(rng)
	m := happened{second: 17 * rng.IntN(9), cents: e.records, poison: customer == poisonCustomer}
	at := f.began.UTC().Truncate(time.Hour).Add(time.Hour + time.Duration(m.second)*time.Second)
	e.orders[id] = append(e.orders[id], m)
	return fmt.Appendf(nil,
		`{"order_id":%q,"customer_id":%q,"store_id":%d,"total_amount":%d.%02d,"item_count":1,"event_type":"order_%d","timestamp":%q}`,
		id, customer, rng.IntN(3), m.cents/100, m.cents%100, rng.IntN(2), at.Format("2006-01-02T15:04:05")), true
}

// aggregated packs user records of one partition key as the KPL does.
func aggregated(key string, data ...[]byte) []byte {
	field := func(to []byte, number byte, value []byte) []byte {
		return append(binary.AppendUvarint(append(to, number<<3|2), uint64(len(value))), value...)
	}
	message := field(nil, 1, []byte(key))
	for _, d := range data {
		message = field(message, 3, field([]byte{1 << 3, 0}, 3, d)) // its key is the first of the table
	}
	sum := md5.Sum(message)
	return append(append([]byte("\xF3\x89\x9A\xC2"), message...), sum[:]...)
}
