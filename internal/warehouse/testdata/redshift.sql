-- One row per order: its newest event by event time. DISTKEY: a load joins on order_id, so each slice finds
-- its own orders without moving rows. SORTKEY: reports are found by time, and perhaps the rows that are replaced.
-- Redshift has no indexes, and enforces no key: the load itself keeps order_id unique.
CREATE TABLE IF NOT EXISTS fact_orders (
    order_id VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    customer_id VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    store_id INTEGER NOT NULL,
    total_amount DECIMAL(10,2) NOT NULL,
    item_count INTEGER NOT NULL,
    event_type VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    event_timestamp TIMESTAMP NOT NULL
)
DISTKEY (order_id)
SORTKEY (event_timestamp);

-- One row per minute, store and event type: always equal to a GROUP BY over fact_orders.
CREATE TABLE IF NOT EXISTS agg_orders_minute (
    minute TIMESTAMP NOT NULL,
    store_id INTEGER NOT NULL,
    event_type VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    order_count BIGINT NOT NULL,
    item_count BIGINT NOT NULL,
    revenue DECIMAL(20,2) NOT NULL
)
DISTSTYLE EVEN
SORTKEY (minute);

-- One row per store and article: its newest level by event time.
CREATE TABLE IF NOT EXISTS fact_inventory (
    store_id INTEGER NOT NULL,
    sku VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    quantity INTEGER NOT NULL,
    event_type VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    event_timestamp TIMESTAMP NOT NULL
)
DISTKEY (sku)
SORTKEY (event_timestamp);

-- One row per payment: its newest event by event time.
CREATE TABLE IF NOT EXISTS fact_payments (
    payment_id VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    order_id VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    customer_id VARCHAR(100) COLLATE CASE_SENSITIVE NOT NULL,
    transaction_id VARCHAR(100) COLLATE CASE_SENSITIVE,
    amount DECIMAL(10,2) NOT NULL,
    payment_method VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    status VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    fraud_score INTEGER,
    event_type VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    event_timestamp TIMESTAMP NOT NULL
)
DISTKEY (payment_id)
SORTKEY (event_timestamp);

-- One row per minute, payment method and event type: always equal to a GROUP BY over fact_payments.
CREATE TABLE IF NOT EXISTS agg_payments_minute (
    minute TIMESTAMP NOT NULL,
    payment_method VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    event_type VARCHAR(50) COLLATE CASE_SENSITIVE NOT NULL,
    payment_count BIGINT NOT NULL,
    amount DECIMAL(20,2) NOT NULL
)
DISTSTYLE EVEN
SORTKEY (minute);

-- How far each shard is loaded, and of which stream that is. A row moves in the transaction that loads its rows;
-- the row of stream '*' is of no shard, and every load writes it.
CREATE TABLE IF NOT EXISTS worker_checkpoints (
    stream_name VARCHAR(128) COLLATE CASE_SENSITIVE NOT NULL,
    shard_id VARCHAR(128) COLLATE CASE_SENSITIVE NOT NULL,
    term BIGINT NOT NULL,
    sequence_number VARCHAR(140) COLLATE CASE_SENSITIVE NOT NULL,
    sub_sequence_number BIGINT NOT NULL,
    arrived_until TIMESTAMP,
    updated_at TIMESTAMP NOT NULL,
    stream_arn VARCHAR(512) COLLATE CASE_SENSITIVE,
    stream_created TIMESTAMP
)
DISTSTYLE ALL;

-- Holds nothing. Loads lock it, so that they come one after another and readers of the other tables never wait.
CREATE TABLE IF NOT EXISTS worker_load_lock (
    nothing INTEGER
);

-- The row of no shard: as every load and every claim writes it, two of them whose snapshots overlap conflict.
INSERT INTO worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at)
SELECT '*', '*', 0, '0', 0, CAST('1970-01-01 00:00:00' AS TIMESTAMP)
WHERE NOT EXISTS (SELECT 1 FROM worker_checkpoints WHERE stream_name = '*' AND shard_id = '*');
;
