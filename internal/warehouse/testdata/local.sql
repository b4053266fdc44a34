-- One row per order: its newest event by event time.
CREATE TABLE IF NOT EXISTS fact_orders (
    order_id VARCHAR(100) NOT NULL,
    customer_id VARCHAR(100) NOT NULL,
    store_id INTEGER NOT NULL,
    total_amount DECIMAL(10,2) NOT NULL,
    item_count INTEGER NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    event_timestamp TIMESTAMP NOT NULL,
    PRIMARY KEY (order_id)
);

-- One row per minute, store and event type: always equal to a GROUP BY over fact_orders.
CREATE TABLE IF NOT EXISTS agg_orders_minute (
    minute TIMESTAMP NOT NULL,
    store_id INTEGER NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    order_count BIGINT NOT NULL,
    item_count BIGINT NOT NULL,
    revenue DECIMAL(20,2) NOT NULL,
    PRIMARY KEY (minute, store_id, event_type)
);

-- One row per store and article: its newest level by event time.
CREATE TABLE IF NOT EXISTS fact_inventory (
    store_id INTEGER NOT NULL,
    sku VARCHAR(100) NOT NULL,
    quantity INTEGER NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    event_timestamp TIMESTAMP NOT NULL,
    PRIMARY KEY (store_id, sku)
);

-- One row per payment: its newest event by event time.
CREATE TABLE IF NOT EXISTS fact_payments (
    payment_id VARCHAR(100) NOT NULL,
    order_id VARCHAR(100) NOT NULL,
    customer_id VARCHAR(100) NOT NULL,
    transaction_id VARCHAR(100),
    amount DECIMAL(10,2) NOT NULL,
    payment_method VARCHAR(50) NOT NULL,
    status VARCHAR(50) NOT NULL,
    fraud_score INTEGER,
    event_type VARCHAR(50) NOT NULL,
    event_timestamp TIMESTAMP NOT NULL,
    PRIMARY KEY (payment_id)
);

-- One row per minute, payment method and event type: always equal to a GROUP BY over fact_payments.
CREATE TABLE IF NOT EXISTS agg_payments_minute (
    minute TIMESTAMP NOT NULL,
    payment_method VARCHAR(50) NOT NULL,
    event_type VARCHAR(50) NOT NULL,
    payment_count BIGINT NOT NULL,
    amount DECIMAL(20,2) NOT NULL,
    PRIMARY KEY (minute, payment_method, event_type)
);

-- How far each shard is loaded, and of which stream that is. A row moves in the transaction that loads its rows;
-- the row of stream '*' is of no shard, and every load writes it.
CREATE TABLE IF NOT EXISTS worker_checkpoints (
    stream_name VARCHAR(128) NOT NULL,
    shard_id VARCHAR(128) NOT NULL,
    term BIGINT NOT NULL,
    sequence_number VARCHAR(140) NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    arrived_until TIMESTAMP,
    updated_at TIMESTAMP NOT NULL,
    stream_arn VARCHAR(512),
    stream_created TIMESTAMP,
    PRIMARY KEY (stream_name, shard_id)
);

-- Holds nothing. Loads lock it, so that they come one after another and readers of the other tables never wait.
CREATE TABLE IF NOT EXISTS worker_load_lock (
    nothing INTEGER
);

CREATE INDEX IF NOT EXISTS idx_fact_orders_customer_id ON fact_orders (customer_id);

CREATE INDEX IF NOT EXISTS idx_fact_orders_store_id ON fact_orders (store_id);

CREATE INDEX IF NOT EXISTS idx_fact_orders_event_type ON fact_orders (event_type);

CREATE INDEX IF NOT EXISTS idx_fact_orders_event_timestamp ON fact_orders (event_timestamp);

CREATE INDEX IF NOT EXISTS idx_fact_payments_order_id ON fact_payments (order_id);

CREATE INDEX IF NOT EXISTS idx_fact_payments_event_timestamp ON fact_payments (event_timestamp);

-- The row of no shard: as every load and every claim writes it, two of them whose snapshots overlap conflict.
INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT '*', '*', 0, '0', 0, CAST('1970-01-01 00:00:00' AS TIMESTAMP)
WHERE NOT EXISTS (SELECT 1 FROM worker_checkpoints WHERE stream_name = '*' AND shard_id = '*');
;
