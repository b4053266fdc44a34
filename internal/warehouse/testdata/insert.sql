LOCK TABLE worker_load_lock;

CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, family VARCHAR(20), orders_order_id VARCHAR(100), orders_customer_id VARCHAR(100), orders_store_id INTEGER, orders_total_amount DECIMAL(10,2), orders_item_count INTEGER, orders_event_type VARCHAR(50), orders_event_timestamp TIMESTAMP, inventory_store_id INTEGER, inventory_sku VARCHAR(100), inventory_quantity INTEGER, inventory_event_type VARCHAR(50), inventory_event_timestamp TIMESTAMP, payments_payment_id VARCHAR(100), payments_order_id VARCHAR(100), payments_customer_id VARCHAR(100), payments_transaction_id VARCHAR(100), payments_amount DECIMAL(10,2), payments_payment_method VARCHAR(50), payments_status VARCHAR(50), payments_fraud_score INTEGER, payments_event_type VARCHAR(50), payments_event_timestamp TIMESTAMP, stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT, from_sequence VARCHAR(140), from_sub BIGINT, to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP);

INSERT INTO load_incoming (move, stream_name, shard_id, term, from_sequence, from_sub, to_sequence, to_sub, arrived_until) VALUES (0,'order-events','shardId-000000000000',3,'TRIM_HORIZON',0,'495903380000',1,'2026-11-20 08:15:30.000000'),(1,'*','*',0,'0',0,'0',0,NULL);

INSERT INTO load_incoming (move, ordinal, family, orders_order_id, orders_customer_id, orders_store_id, orders_total_amount, orders_item_count, orders_event_type, orders_event_timestamp) VALUES (0,0,'orders','ord-''1','cust\\"1',7,12.34,2,'order_created','2026-11-20 08:15:30.000000');

SELECT p.move, c.term, c.sequence_number, c.sub_sequence_number
FROM load_incoming p LEFT JOIN worker_checkpoints c ON c.stream_name = p.stream_name AND c.shard_id = p.shard_id
WHERE p.shard_id <> '' ORDER BY p.move;

CREATE TEMP TABLE load_orders_changes AS
WITH newest AS (SELECT ordinal, order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp
 FROM (SELECT ordinal, orders_order_id AS order_id, orders_customer_id AS customer_id, orders_store_id AS store_id, orders_total_amount AS total_amount, orders_item_count AS item_count, orders_event_type AS event_type, orders_event_timestamp AS event_timestamp,
   ROW_NUMBER() OVER (PARTITION BY orders_order_id ORDER BY orders_event_timestamp DESC, ordinal DESC) AS recency
  FROM (SELECT p.family, p.ordinal, p.orders_order_id, p.orders_customer_id, p.orders_store_id, p.orders_total_amount, p.orders_item_count, p.orders_event_type, p.orders_event_timestamp, MAX(c.term) OVER (PARTITION BY p.move) AS accepted_term
   FROM load_incoming p LEFT JOIN worker_checkpoints c ON c.stream_name = p.stream_name AND c.shard_id = p.shard_id AND c.term = p.term
 AND c.sequence_number = p.from_sequence AND c.sub_sequence_number = p.from_sub
   WHERE p.family = 'orders' OR p.shard_id <> '') fenced
  WHERE family = 'orders' AND accepted_term IS NOT NULL) ranked
 WHERE recency = 1),
staged AS (SELECT n.order_id, n.customer_id, n.store_id, n.total_amount, n.item_count, n.event_type, n.event_timestamp,
  h.event_timestamp AS held_event_timestamp, h.store_id AS held_store_id, h.event_type AS held_event_type, h.item_count AS held_item_count, h.total_amount AS held_total_amount
 FROM newest n LEFT JOIN fact_orders h ON h.order_id = n.order_id
 WHERE h.event_timestamp IS NULL OR n.event_timestamp > h.event_timestamp
  OR (n.ordinal >= 0 AND n.event_timestamp = h.event_timestamp AND (n.customer_id <> h.customer_id OR n.store_id <> h.store_id OR n.total_amount <> h.total_amount OR n.item_count <> h.item_count OR n.event_type <> h.event_type)))
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp, held_event_timestamp, CAST(NULL AS TIMESTAMP) AS minute, CAST(NULL AS BIGINT) AS total_order_count, CAST(NULL AS BIGINT) AS total_item_count, CAST(NULL AS DECIMAL(20,2)) AS total_revenue FROM staged
UNION ALL
SELECT CAST(NULL AS VARCHAR(100)) AS order_id, CAST(NULL AS VARCHAR(100)) AS customer_id, d.store_id, CAST(NULL AS DECIMAL(10,2)) AS total_amount, CAST(NULL AS INTEGER) AS item_count, d.event_type, CAST(NULL AS TIMESTAMP) AS event_timestamp, CAST(NULL AS TIMESTAMP) AS held_event_timestamp, d.minute, CAST(d.order_count + COALESCE(a.order_count, CAST(0 AS BIGINT)) AS BIGINT) AS total_order_count, CAST(d.item_count + COALESCE(a.item_count, CAST(0 AS BIGINT)) AS BIGINT) AS total_item_count, CAST(d.revenue + COALESCE(a.revenue, CAST(0 AS DECIMAL(20,2))) AS DECIMAL(20,2)) AS total_revenue
FROM (SELECT minute, store_id, event_type, CAST(SUM(order_count) AS BIGINT) AS order_count, CAST(SUM(item_count) AS BIGINT) AS item_count, CAST(SUM(revenue) AS DECIMAL(20,2)) AS revenue
 FROM (SELECT DATE_TRUNC('minute', event_timestamp) AS minute, store_id, event_type, 1 AS order_count, item_count AS item_count, total_amount AS revenue FROM staged
  UNION ALL
  SELECT DATE_TRUNC('minute', held_event_timestamp), held_store_id, held_event_type, -1, -held_item_count, -held_total_amount FROM staged WHERE held_event_timestamp IS NOT NULL) changes
 GROUP BY minute, store_id, event_type) d
LEFT JOIN agg_orders_minute a ON a.minute = d.minute AND a.store_id = d.store_id AND a.event_type = d.event_type;

DELETE FROM fact_orders USING load_orders_changes
WHERE load_orders_changes.held_event_timestamp IS NOT NULL AND fact_orders.order_id = load_orders_changes.order_id AND fact_orders.event_timestamp = load_orders_changes.held_event_timestamp;

INSERT INTO fact_orders (order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp)
SELECT order_id, customer_id, store_id, total_amount, item_count, event_type, event_timestamp FROM load_orders_changes WHERE minute IS NULL;

DELETE FROM agg_orders_minute USING load_orders_changes
WHERE agg_orders_minute.minute = load_orders_changes.minute AND agg_orders_minute.store_id = load_orders_changes.store_id AND agg_orders_minute.event_type = load_orders_changes.event_type;

INSERT INTO agg_orders_minute (minute, store_id, event_type, order_count, item_count, revenue)
SELECT minute, store_id, event_type, total_order_count, total_item_count, total_revenue FROM load_orders_changes WHERE total_order_count <> 0;

UPDATE worker_checkpoints SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = GREATEST(p.arrived_until, worker_checkpoints.arrived_until), updated_at = '2026-11-20 08:15:30.000000'
FROM load_incoming p
WHERE worker_checkpoints.stream_name = p.stream_name AND worker_checkpoints.shard_id = p.shard_id AND worker_checkpoints.term = p.term
 AND worker_checkpoints.sequence_number = p.from_sequence AND worker_checkpoints.sub_sequence_number = p.from_sub;
