LOCK TABLE "sales-2026".worker_load_lock;

CREATE TEMP TABLE load_claims (claim INTEGER, stream_name VARCHAR(128), shard_id VARCHAR(128), term BIGINT,
 start_sequence VARCHAR(140), start_sub BIGINT, stream_arn VARCHAR(512), stream_created TIMESTAMP);

INSERT INTO load_claims VALUES (0,'order-events','shardId-000000000000',4,'TRIM_HORIZON',0,NULL,NULL),(-1,'*','*',0,'0',0,NULL,NULL);

INSERT INTO "sales-2026".worker_checkpoints (stream_name, shard_id, term, sequence_number, sub_sequence_number, updated_at, stream_arn, stream_created)
SELECT n.stream_name, n.shard_id, 0, n.start_sequence, n.start_sub, CAST('2026-11-20 08:15:30.000000' AS TIMESTAMP), n.stream_arn, n.stream_created
FROM load_claims n LEFT JOIN "sales-2026".worker_checkpoints c ON c.stream_name = n.stream_name AND c.shard_id = n.shard_id
WHERE c.shard_id IS NULL;

SELECT n.claim, c.term, CASE WHEN c.sequence_number = 'LATEST' THEN n.start_sequence ELSE c.sequence_number END, CASE WHEN c.sequence_number = 'LATEST' THEN n.start_sub ELSE c.sub_sequence_number END, c.arrived_until, c.stream_arn, c.stream_created
FROM load_claims n JOIN "sales-2026".worker_checkpoints c ON c.stream_name = n.stream_name AND c.shard_id = n.shard_id
WHERE n.claim >= 0 ORDER BY n.claim;

UPDATE "sales-2026".worker_checkpoints SET term = n.term, updated_at = '2026-11-20 08:15:30.000000',
 sequence_number = CASE WHEN worker_checkpoints.sequence_number = 'LATEST' THEN n.start_sequence ELSE worker_checkpoints.sequence_number END,
 sub_sequence_number = CASE WHEN worker_checkpoints.sequence_number = 'LATEST' THEN n.start_sub ELSE worker_checkpoints.sub_sequence_number END,
 stream_arn = COALESCE(worker_checkpoints.stream_arn, n.stream_arn), stream_created = COALESCE(worker_checkpoints.stream_created, n.stream_created)
FROM load_claims n
WHERE worker_checkpoints.stream_name = n.stream_name AND worker_checkpoints.shard_id = n.shard_id
 AND (worker_checkpoints.term < n.term OR n.claim < 0)
 AND (n.stream_arn IS NULL OR worker_checkpoints.stream_arn IS NULL
 OR (worker_checkpoints.stream_arn = n.stream_arn AND worker_checkpoints.stream_created = n.stream_created));
