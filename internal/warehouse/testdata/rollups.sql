LOCK TABLE worker_load_lock;

CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, family VARCHAR(20), orders_order_id VARCHAR(100), orders_customer_id VARCHAR(100), orders_store_id INTEGER, orders_total_amount DECIMAL(10,2), orders_item_count INTEGER, orders_event_type VARCHAR(50), orders_event_timestamp TIMESTAMP, inventory_store_id INTEGER, inventory_sku VARCHAR(100), inventory_quantity INTEGER, inventory_event_type VARCHAR(50), inventory_event_timestamp TIMESTAMP, payments_payment_id VARCHAR(100), payments_order_id VARCHAR(100), payments_customer_id VARCHAR(100), payments_transaction_id VARCHAR(100), payments_amount DECIMAL(10,2), payments_payment_method VARCHAR(50), payments_status VARCHAR(50), payments_fraud_score INTEGER, payments_event_type VARCHAR(50), payments_event_timestamp TIMESTAMP, stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT, from_sequence VARCHAR(140), from_sub BIGINT, to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP);

INSERT INTO load_incoming (move, stream_name, shard_id, term, from_sequence, from_sub, to_sequence, to_sub, arrived_until) VALUES (0,'*','*',0,'0',0,'0',0,NULL);

CREATE TEMP TABLE load_orders_minutes AS
SELECT DATE_TRUNC('minute', event_timestamp) AS minute FROM fact_orders WHERE event_timestamp >= '2026-11-20 07:15:00.000000' AND event_timestamp < '2026-11-20 08:16:00.000000'
UNION SELECT minute FROM agg_orders_minute WHERE minute >= '2026-11-20 07:15:00.000000' AND minute < '2026-11-20 08:16:00.000000';

CREATE TEMP TABLE load_orders_sums AS
SELECT m.minute, f.store_id, f.event_type, CAST(COUNT(*) AS BIGINT) AS order_count, CAST(SUM(f.item_count) AS BIGINT) AS item_count, CAST(SUM(f.total_amount) AS DECIMAL(20,2)) AS revenue
FROM fact_orders f JOIN load_orders_minutes m ON DATE_TRUNC('minute', f.event_timestamp) = m.minute WHERE f.event_timestamp >= '2026-11-20 07:15:00.000000' AND f.event_timestamp < '2026-11-20 08:16:00.000000'
GROUP BY m.minute, f.store_id, f.event_type;

CREATE TEMP TABLE load_orders_wrong AS
SELECT a.minute, a.store_id, a.event_type
FROM agg_orders_minute a JOIN load_orders_minutes m ON m.minute = a.minute
LEFT JOIN load_orders_sums s ON s.minute = a.minute AND s.store_id = a.store_id AND s.event_type = a.event_type AND s.order_count = a.order_count AND s.item_count = a.item_count AND s.revenue = a.revenue
WHERE s.minute IS NULL;

DELETE FROM agg_orders_minute USING load_orders_wrong
WHERE agg_orders_minute.minute = load_orders_wrong.minute AND agg_orders_minute.store_id = load_orders_wrong.store_id AND agg_orders_minute.event_type = load_orders_wrong.event_type;

INSERT INTO agg_orders_minute (minute, store_id, event_type, order_count, item_count, revenue)
SELECT s.minute, s.store_id, s.event_type, s.order_count, s.item_count, s.revenue
FROM load_orders_sums s LEFT JOIN agg_orders_minute a ON a.minute = s.minute AND a.store_id = s.store_id AND a.event_type = s.event_type
WHERE a.minute IS NULL;

CREATE TEMP TABLE load_payments_minutes AS
SELECT DATE_TRUNC('minute', event_timestamp) AS minute FROM fact_payments WHERE event_timestamp >= '2026-11-20 07:15:00.000000' AND event_timestamp < '2026-11-20 08:16:00.000000'
UNION SELECT minute FROM agg_payments_minute WHERE minute >= '2026-11-20 07:15:00.000000' AND minute < '2026-11-20 08:16:00.000000';

CREATE TEMP TABLE load_payments_sums AS
SELECT m.minute, f.payment_method, f.event_type, CAST(COUNT(*) AS BIGINT) AS payment_count, CAST(SUM(f.amount) AS DECIMAL(20,2)) AS amount
FROM fact_payments f JOIN load_payments_minutes m ON DATE_TRUNC('minute', f.event_timestamp) = m.minute WHERE f.event_timestamp >= '2026-11-20 07:15:00.000000' AND f.event_timestamp < '2026-11-20 08:16:00.000000'
GROUP BY m.minute, f.payment_method, f.event_type;

CREATE TEMP TABLE load_payments_wrong AS
SELECT a.minute, a.payment_method, a.event_type
FROM agg_payments_minute a JOIN load_payments_minutes m ON m.minute = a.minute
LEFT JOIN load_payments_sums s ON s.minute = a.minute AND s.payment_method = a.payment_method AND s.event_type = a.event_type AND s.payment_count = a.payment_count AND s.amount = a.amount
WHERE s.minute IS NULL;

DELETE FROM agg_payments_minute USING load_payments_wrong
WHERE agg_payments_minute.minute = load_payments_wrong.minute AND agg_payments_minute.payment_method = load_payments_wrong.payment_method AND agg_payments_minute.event_type = load_payments_wrong.event_type;

INSERT INTO agg_payments_minute (minute, payment_method, event_type, payment_count, amount)
SELECT s.minute, s.payment_method, s.event_type, s.payment_count, s.amount
FROM load_payments_sums s LEFT JOIN agg_payments_minute a ON a.minute = s.minute AND a.payment_method = s.payment_method AND a.event_type = s.event_type
WHERE a.minute IS NULL;

UPDATE worker_checkpoints SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = GREATEST(p.arrived_until, worker_checkpoints.arrived_until), updated_at = '2026-11-20 08:15:30.000000'
FROM load_incoming p
WHERE worker_checkpoints.stream_name = p.stream_name AND worker_checkpoints.shard_id = p.shard_id AND worker_checkpoints.term = p.term
 AND worker_checkpoints.sequence_number = p.from_sequence AND worker_checkpoints.sub_sequence_number = p.from_sub;
