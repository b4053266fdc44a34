LOCK TABLE worker_load_lock;

CREATE TEMP TABLE load_incoming (move INTEGER, ordinal INTEGER, family VARCHAR(20), orders_order_id VARCHAR(100), orders_customer_id VARCHAR(100), orders_store_id INTEGER, orders_total_amount DECIMAL(10,2), orders_item_count INTEGER, orders_event_type VARCHAR(50), orders_event_timestamp TIMESTAMP, inventory_store_id INTEGER, inventory_sku VARCHAR(100), inventory_quantity INTEGER, inventory_event_type VARCHAR(50), inventory_event_timestamp TIMESTAMP, payments_payment_id VARCHAR(100), payments_order_id VARCHAR(100), payments_customer_id VARCHAR(100), payments_transaction_id VARCHAR(100), payments_amount DECIMAL(10,2), payments_payment_method VARCHAR(50), payments_status VARCHAR(50), payments_fraud_score INTEGER, payments_event_type VARCHAR(50), payments_event_timestamp TIMESTAMP, stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT, from_sequence VARCHAR(140), from_sub BIGINT, to_sequence VARCHAR(140), to_sub BIGINT, arrived_until TIMESTAMP);

INSERT INTO load_incoming (move, stream_name, shard_id, term, from_sequence, from_sub, to_sequence, to_sub, arrived_until) VALUES (0,'order-events','shardId-000000000000',3,'TRIM_HORIZON',0,'495903380000',1,'2026-11-20 08:15:30.000000'),(1,'*','*',0,'0',0,'0',0,NULL);

SELECT p.move, c.term, c.sequence_number, c.sub_sequence_number
FROM load_incoming p LEFT JOIN worker_checkpoints c ON c.stream_name = p.stream_name AND c.shard_id = p.shard_id
WHERE p.shard_id <> '' ORDER BY p.move;

UPDATE worker_checkpoints SET sequence_number = p.to_sequence, sub_sequence_number = p.to_sub,
 arrived_until = GREATEST(p.arrived_until, worker_checkpoints.arrived_until), updated_at = '2026-11-20 08:15:30.000000'
FROM load_incoming p
WHERE worker_checkpoints.stream_name = p.stream_name AND worker_checkpoints.shard_id = p.shard_id AND worker_checkpoints.term = p.term
 AND worker_checkpoints.sequence_number = p.from_sequence AND worker_checkpoints.sub_sequence_number = p.from_sub;
