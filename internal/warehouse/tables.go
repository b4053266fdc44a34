package warehouse

import "github.com/cloudcafe/analytics-worker/internal/event"

// factTables are the tables of facts, one for each family of events, in the order
// of the families. What a row says is in package event: the columns here are in
// the order of its Fields.
var factTables = []*Facts{orders, inventory, payments}

// FactsOf is the table of a family's rows.
func FactsOf(f event.Family) *Facts { return factTables[f] }

var orders = &Facts{
	Family: event.Orders,
	Noun:   "order",
	Table: Table{
		Name:    "fact_orders",
		Comment: "One row per order: its newest event by event time.",
		Why: "DISTKEY: a load joins on order_id, so each slice finds\n" +
			"its own orders without moving rows. SORTKEY: reports are found by time, and perhaps the rows that are replaced.\n" +
			"Redshift has no indexes, and enforces no key: the load itself keeps order_id unique.",
		Columns: []Column{
			{"order_id", "VARCHAR(100)", false},
			{"customer_id", "VARCHAR(100)", false},
			{"store_id", "INTEGER", false},
			{"total_amount", "DECIMAL(10,2)", false},
			{"item_count", "INTEGER", false},
			{"event_type", "VARCHAR(50)", false},
			{"event_timestamp", "TIMESTAMP", false},
		},
		Key:     []string{"order_id"},
		Layout:  "DISTKEY (order_id)\nSORTKEY (event_timestamp)",
		Indexes: []string{"customer_id", "store_id", "event_type", "event_timestamp"},
	},
	Time: "event_timestamp",
	Rollup: &Rollup{
		Table: Table{
			Name:    "agg_orders_minute",
			Comment: "One row per minute, store and event type: always equal to a GROUP BY over fact_orders.",
			Columns: []Column{
				{minuteColumn, "TIMESTAMP", false},
				{"store_id", "INTEGER", false},
				{"event_type", "VARCHAR(50)", false},
				{"order_count", "BIGINT", false},
				{"item_count", "BIGINT", false},
				{"revenue", "DECIMAL(20,2)", false},
			},
			Key:    []string{minuteColumn, "store_id", "event_type"},
			Layout: "DISTSTYLE EVEN\nSORTKEY (minute)",
		},
		Group: []string{"store_id", "event_type"},
		Sums:  []Sum{{"order_count", ""}, {"item_count", "item_count"}, {"revenue", "total_amount"}},
	},
}

var inventory = &Facts{
	Family: event.Inventory,
	Noun:   "level",
	Table: Table{
		Name:    "fact_inventory",
		Comment: "One row per store and article: its newest level by event time.",
		Columns: []Column{
			{"store_id", "INTEGER", false},
			{"sku", "VARCHAR(100)", false},
			{"quantity", "INTEGER", false},
			{"event_type", "VARCHAR(50)", false},
			{"event_timestamp", "TIMESTAMP", false},
		},
		Key:    []string{"store_id", "sku"},
		Layout: "DISTKEY (sku)\nSORTKEY (event_timestamp)",
	},
	Time: "event_timestamp",
}

var payments = &Facts{
	Family: event.Payments,
	Noun:   "payment",
	Table: Table{
		Name:    "fact_payments",
		Comment: "One row per payment: its newest event by event time.",
		Columns: []Column{
			{"payment_id", "VARCHAR(100)", false},
			{"order_id", "VARCHAR(100)", false},
			{"customer_id", "VARCHAR(100)", false},
			{"transaction_id", "VARCHAR(100)", true},
			{"amount", "DECIMAL(10,2)", false},
			{"payment_method", "VARCHAR(50)", false},
			{"status", "VARCHAR(50)", false},
			{"fraud_score", "INTEGER", true},
			{"event_type", "VARCHAR(50)", false},
			{"event_timestamp", "TIMESTAMP", false},
		},
		Key:     []string{"payment_id"},
		Layout:  "DISTKEY (payment_id)\nSORTKEY (event_timestamp)",
		Indexes: []string{"order_id", "event_timestamp"},
	},
	Time: "event_timestamp",
	Rollup: &Rollup{
		Table: Table{
			Name:    "agg_payments_minute",
			Comment: "One row per minute, payment method and event type: always equal to a GROUP BY over fact_payments.",
			Columns: []Column{
				{minuteColumn, "TIMESTAMP", false},
				{"payment_method", "VARCHAR(50)", false},
				{"event_type", "VARCHAR(50)", false},
				{"payment_count", "BIGINT", false},
				{"amount", "DECIMAL(20,2)", false},
			},
			Key:    []string{minuteColumn, "payment_method", "event_type"},
			Layout: "DISTSTYLE EVEN\nSORTKEY (minute)",
		},
		Group: []string{"payment_method", "event_type"},
		Sums:  []Sum{{"payment_count", ""}, {"amount", "amount"}},
	},
}

// CheckpointTable holds how far each shard is loaded. Who reads it passes SharedRow
// over.
const CheckpointTable = "worker_checkpoints"

var checkpoints = &Table{
	Name: CheckpointTable,
	Comment: "How far each shard is loaded, and of which stream that is. A row moves in the transaction that loads its rows;\n" +
		"the row of stream '*' is of no shard, and every load writes it.",
	Columns: []Column{
		{"stream_name", "VARCHAR(128)", false},
		{"shard_id", "VARCHAR(128)", false},
		{"term", "BIGINT", false},
		{"sequence_number", "VARCHAR(140)", false},
		{"sub_sequence_number", "BIGINT", false},
		{"arrived_until", "TIMESTAMP", true},
		{"updated_at", "TIMESTAMP", false},
		{"stream_arn", "VARCHAR(512)", true},
		{"stream_created", "TIMESTAMP", true},
	},
	Key:    []string{"stream_name", "shard_id"},
	Layout: "DISTSTYLE ALL",
}

// LockTable holds nothing. A load locks it against readers too, so that to ask it
// is to wait for the load.
const LockTable = "worker_load_lock"

var loadLock = &Table{
	Name:    LockTable,
	Comment: "Holds nothing. Loads lock it, so that they come one after another and readers of the other tables never wait.",
	Columns: []Column{{"nothing", "INTEGER", true}},
}

// tables are all that the worker writes.
func tables() []*Table { return tablesOf(event.Families()) }

func tablesOf(families []event.Family) []*Table {
	var out []*Table
	for _, family := range families {
		f := FactsOf(family)
		out = append(out, &f.Table)
		if f.Rollup != nil {
			out = append(out, &f.Rollup.Table)
		}
	}
	return append(out, checkpoints, loadLock)
}

// Tables are the names of the tables that the worker writes.
func Tables() []string { return TablesOf(event.Families()) }

// TablesOf are the names of the tables that a worker writes which loads these families.
func TablesOf(families []event.Family) []string {
	var out []string
	for _, t := range tablesOf(families) {
		out = append(out, t.Name)
	}
	return out
}

// Columns are the names of the columns that the worker expects of one of its
// tables, in the order of its definition.
func Columns(name string) []string {
	for _, t := range tables() {
		if t.Name == name {
			return t.Names()
		}
	}
	return nil
}
