package warehouse

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// TestARowWritesItselfAsAnEvent: what a fill was to be given decodes to the very
// line again, whenever that is, of each family and in the notation of each fill.
func TestARowWritesItselfAsAnEvent(t *testing.T) {
	events := hostileEvents(13, 3000)
	for i := range events {
		if i%2 == 0 { // types that say whose they are
			events[i].Order.EventType = "order_" + events[i].Order.EventType[:1]
			events[i].Inventory.EventType = "inventory_" + events[i].Inventory.EventType[:1]
			events[i].Payment.EventType = "payment_" + events[i].Payment.EventType[:1]
		}
		if i%5 == 0 {
			events[i].Order.AmountCents, events[i].Payment.AmountCents = int64(i%3-1), int64(i%3-1) // fractions of one
			events[i].Payment.FraudScore = int32(i%3 - 1)
		}
		for _, s := range []*string{&events[i].Order.EventType, &events[i].Inventory.EventType, &events[i].Payment.EventType} {
			*s = strings.ToValidUTF8(*s, "x")
		}
	}
	for i := range event.Families {
		events = append(events, event.Plain(event.Family(i), time.Unix(1_795_163_730, 0)))
	}
	for _, to := range []Encoder{Insert{}.Encoder(), (&Copy{Log: slog.New(slog.DiscardHandler)}).Encoder()} {
		for _, r := range rowsOf(to, events) {
			text := to.JSON(r)
			var e event.Event
			if rejected := event.Decode(text, time.Unix(1_900_000_000, 0), &e); rejected != nil {
				t.Fatalf("%v %s is written as %s, which is rejected: %v", r.Family, r.Line, text, rejected)
			}
			if again := to.Append(nil, &e); e.Family != r.Family || !bytes.Equal(again, r.Line) {
				t.Fatalf("%v %s is written as %s, which is\n%v %s", r.Family, r.Line, text, e.Family, again)
			}
		}
	}
}
