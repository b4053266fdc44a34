package simulation

import (
	"bytes"
	"context"
	"crypto/md5" // not for secrecy: aggregates are hashed with it
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/cloudcafe/analytics-worker/internal/aws"
)

// publish puts n events on the stream. Orders are few, so that most events
// meet an earlier one; event times are fewer, so that many of them are equal
// and the order of the stream decides, and some go back. Some records hold
// several events, in each of the ways there are; of a mixed stream, those of an
// order, of its payment and of an article.
func (f *Fleet) publish(ctx context.Context, n int, rng *rand.Rand) error {
	var entries []aws.Entry
	things := 40
	if f.mixed {
		things = 16
	}
	for n > 0 {
		thing := rng.IntN(things)
		size := 1
		if rng.IntN(8) == 0 {
			size = min(n, 2+rng.IntN(4))
		}
		n -= size
		entries = append(entries, aws.Entry{PartitionKey: orderID(thing), Data: f.record(thing, size, rng)})
	}
	return f.world.Put(ctx, entries)
}

// record writes a record of so many events of one thing.
func (f *Fleet) record(thing, size int, rng *rand.Rand) []byte {
	id := orderID(thing)
	if size == 1 && rng.IntN(40) == 0 { // whole objects, but not only: none of them counts
		f.expect.records++
		f.expect.bad++
		return fmt.Appendf(nil, `{"order_id":%q,"customer_id":"nobody"} {"order_id":%q,"customer_id":"nobody"}, {}`, id, id)
	}
	if size == 1 {
		event, good := f.event(thing, rng)
		if !good {
			return event[:len(event)-1] // cut short
		}
		return event
	}
	f.tally.event("a record of several events")
	events := make([][]byte, size)
	for i := range events {
		events[i], _ = f.event(thing, rng)
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
