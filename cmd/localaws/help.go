package main

const long = `localaws answers AWS calls on one loopback port, over the real wire protocols,
so that programs and the AWS CLI work against it unchanged: point them at it
with AWS_ENDPOINT_URL. It takes any credentials and any region.

Kinesis Data Streams, the Redshift Data API (its SQL runs in an embedded DuckDB
or in your PostgreSQL), pausing and resuming of its cluster, S3, CloudWatch
metrics, DynamoDB, Auto Scaling, STS and the EC2 instance metadata are served as
far as a stream loader needs them; what each one leaves out is in
docs/LOCALAWS.md. The documented limits of each service are
enforced, such as 1,000 records and 1 MiB a second into a shard; --limits off
lifts them.

SQL takes as long as the engine needs, unless --pace redshift makes it take what
published figures give for the Data API and Redshift: 0.8 s to start a call,
0.13 s a statement, 0.4 s more where it writes rows, 0.6 s a commit. That is
some 5 to 10 s for a load, with its locks held. Each part is a flag too.

Faults can be asked for by name while it runs (PUT /_localaws/faults), the calls
that it answered can be read back (GET /_localaws/calls), and everything can be
emptied for the next test (POST /_localaws/reset).`

const examples = `  # start it, keep what it holds, and use it from another terminal
  localaws --data ./local-data

  eval "$(localaws env)"

  aws kinesis create-stream --stream-name order-events --shard-count 4
  echo '{"order_id":"1"}' > order.json
  aws kinesis put-record --stream-name order-events --partition-key 1 --data fileb://order.json
  aws s3 mb s3://staging
  aws redshift-data execute-statement --cluster-identifier dev --database analytics \
      --db-user admin --sql 'select 1'

  # the next three reads of a shard are throttled; then look at the calls
  curl -X PUT http://127.0.0.1:4566/_localaws/faults \
      -d '[{"service":"kinesis","operation":"GetRecords","fault":"throttle","count":3}]'
  curl 'http://127.0.0.1:4566/_localaws/calls?service=kinesis&limit=10'

  # SQL by psql, as on Redshift's own port
  localaws --psql 127.0.0.1:5439
  psql -h 127.0.0.1 -p 5439 -U admin analytics

  # SQL in PostgreSQL, without AWS's rates
  localaws --warehouse postgres://localhost/analytics --limits off

  # SQL that takes the time it would take in Redshift
  localaws --pace redshift

  # each commit takes 3 s, and whoever waits for its tables waits so long
  localaws --pace-commit 3s`
