package event_test

import (
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

func ExampleDecode() {
	arrived := time.Date(2026, 11, 20, 8, 15, 31, 0, time.UTC)
	for _, record := range []string{
		`{"order_id":"ord-1","customer_id":"cust-17","store_id":"1","total_amount":10.350000000000001,"items":[{"quantity":2},{}],"status":"ready"}`,
		`{"payment_id":"pay-1","order_id":"ord-1","customer_id":"cust-17","amount":"10.35","payment_method":"card"}`,
		`{"order_id":"ord-2","customer_id":"cust-18","store_id":1,"total_amount":"ten","item_count":1}`,
	} {
		var e event.Event
		if rejected := event.Decode([]byte(record), arrived, &e); rejected != nil {
			fmt.Println("rejected:", rejected)
			continue
		}
		switch o := e.Row.(type) {
		case *event.Order:
			fmt.Printf("%v: %s, %d cents, %d items, %s\n", o.Family(), o.OrderID, o.AmountCents, o.ItemCount, o.EventType)
		case *event.Payment:
			fmt.Printf("%v: %s, %d cents, %s\n", o.Family(), o.PaymentID, o.AmountCents, o.EventType)
		}
	}
	// Output:
	// orders: ord-1, 1035 cents, 3 items, order_ready
	// payments: pay-1, 1035 cents, payment_completed
	// rejected: total_amount not a number: key "total_amount" at byte 73: "ten"
}
