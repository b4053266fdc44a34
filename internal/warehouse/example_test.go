package warehouse_test

import (
	"fmt"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// The definitions for an engine, as analytics-worker schema prints them.
func ExampleScript() {
	statements := warehouse.Schema(warehouse.PostgreSQL)
	for i := range statements {
		if statements[i].Comment == "One row per store and article: its newest level by event time." {
			fmt.Print(warehouse.Script(statements[i : i+1]))
		}
	}
	// Output:
	// -- One row per store and article: its newest level by event time.
	// CREATE TABLE IF NOT EXISTS fact_inventory (
	//     store_id INTEGER NOT NULL,
	//     sku VARCHAR(100) NOT NULL,
	//     quantity INTEGER NOT NULL,
	//     event_type VARCHAR(50) NOT NULL,
	//     event_timestamp TIMESTAMP NOT NULL,
	//     PRIMARY KEY (store_id, sku)
	// );
}

// An event becomes a line where it is decoded. From there on nothing knows what it
// says, and no text in it can end the literal that it stands in.
func ExampleEncoder() {
	e := event.Event{Row: &event.Level{
		SKU: `bean'); DROP TABLE fact_inventory; --`, EventType: "inventory_updated", StoreID: 7, Quantity: 12,
		EventTime: time.Date(2026, 11, 20, 8, 15, 30, 250_000_000, time.UTC).UnixMicro(),
	}}
	for _, encoder := range []warehouse.Encoder{warehouse.Insert{}.Encoder(), (&warehouse.Copy{}).Encoder()} {
		fmt.Printf("%s\n", encoder.Append(nil, &e))
	}
	// Output:
	// 7,'bean''); DROP TABLE fact_inventory; --',12,'inventory_updated','2026-11-20 08:15:30.250000'
	// 7,"bean'); DROP TABLE fact_inventory; --",12,"inventory_updated",2026-11-20 08:15:30.250000
}

// What the tables are, for whoever asks the warehouse: names come from here.
func ExampleFactsOf() {
	for _, f := range event.Families() {
		facts := warehouse.FactsOf(f)
		fmt.Println(f, facts.Name, facts.Key, facts.Rollup != nil)
	}
	// Output:
	// orders fact_orders [order_id] true
	// inventory fact_inventory [store_id sku] false
	// payments fact_payments [payment_id] true
}
