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
		var eventType *string
		var prefix string
		switch r := events[i].Row.(type) {
		case *event.Order:
			eventType, prefix = &r.EventType, "order_"
			if i%5 == 0 {
				r.AmountCents = int64(i%3 - 1) // fractions of one
			}
		case *event.Level:
			eventType, prefix = &r.EventType, "inventory_"
		case *event.Payment:
			eventType, prefix = &r.EventType, "payment_"
			if i%5 == 0 {
				r.AmountCents, r.FraudScore = int64(i%3-1), int32(i%3-1)
			}
		}
		if i%2 == 0 { // types that say whose they are
			*eventType = prefix + (*eventType)[:1]
		}
		*eventType = strings.ToValidUTF8(*eventType, "x")
	}
	for _, f := range event.Families() {
		events = append(events, event.Plain(f, time.Unix(1_795_163_730, 0)))
	}
	for _, to := range []Encoder{Insert{}.Encoder(), (&Copy{Log: slog.New(slog.DiscardHandler)}).Encoder()} {
		for _, r := range rowsOf(to, events) {
			text := to.JSON(r)
			var e event.Event
			if rejected := event.Decode(text, time.Unix(1_900_000_000, 0), &e); rejected != nil {
				t.Fatalf("%v %s is written as %s, which is rejected: %v", r.Family, r.Line, text, rejected)
			}
			if again := to.Append(nil, &e); e.Family() != r.Family || !bytes.Equal(again, r.Line) {
				t.Fatalf("%v %s is written as %s, which is\n%v %s", r.Family, r.Line, text, e.Family(), again)
			}
		}
	}
}
