package main

import (
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/madeup"
)

// The events of a row have one partition key, however its key is spelt and whatever
// else an event says: that of made-up events, which a file may go on with.
func TestTheEventsOfARowHaveOnePartitionKey(t *testing.T) {
	for want, lines := range map[string][]string{
		"ord-1": {
			`{"order_id":"ord-1","customer_id":"c","store_id":1,"total_amount":1}`,
			` {"total_amount":"1.00","store_id":"1","customer_id":"c","\u006frder_id":"ord\u002d1","sku":"s","payment_id":null}`,
			`{"order_id":"ord-1","customer_id":"c","store_id":1,"total_amount":1,"payment_id":"pay-1","event_type":"order_paid"}`,
			`{"order_id":"ord-1","customer_id":"c","store_id":1,"total_amount":1} {"order_id":"ord-2","customer_id":"c","store_id":1,"total_amount":1}`,
		},
		"1000000/a \"b\", c": {
			`{"store_id":1000000,"sku":"a \"b\", c","quantity":1}`,
			`{"store_id":"1e6","sku":"a \"b\", c","quantity":1}`,
			`{"store_id":"01000000","sku":"a \u0022b\u0022, c","quantity":1,"event_type":"counted"}`,
			`{"store_id":1000000.0,"sku":"a \"b\", c","quantity":1,"order_id":"ord-1","payment_id":"pay-1","event_type":"inventory_sold"}`,
		},
		"pay-1": {
			`{"payment_id":"pay-1","order_id":"ord-1","customer_id":"c","amount":1,"payment_method":"cash"}`,
			`{"payment_id":"pay-1","order_id":"ord-2","customer_id":"c","amount":1,"payment_method":"cash","sku":"s","store_id":1}`,
		},
	} {
		for _, line := range lines {
			if got := partitionKey([]byte(line)); got != want {
				t.Errorf("%s has the key %q, want %q", line, got, want)
			}
		}
	}
	g := madeup.New(3)
	g.Mixed = true
	for range 500 {
		if e := g.Next(time.Now()); partitionKey(e.Data) != e.Key {
			t.Fatalf("%s has the key %q in a file, and %q where it is made up", e.Data, partitionKey(e.Data), e.Key)
		}
	}

	seen := map[string]string{}
	for _, line := range []string{"", "x", "{}", "[1]", `{"order_id":"ord-1"}`, `{"order_id":7}`, `{"sku":"s","store_id":1}`} {
		key := partitionKey([]byte(line))
		if other, twice := seen[key]; twice || key == "" || strings.Contains(key, "ord") {
			t.Errorf("%q has the key %q, as %q has", line, key, other)
		}
		seen[key] = line
	}
}
