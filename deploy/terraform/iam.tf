locals {
  stream_arn    = "arn:${local.partition}:kinesis:${local.region}:${local.account}:stream/${var.kinesis_stream_name}"
  cluster_arn   = "arn:${local.partition}:redshift:${local.region}:${local.account}:cluster:${var.redshift_cluster_id}"
  workgroup_arn = "arn:${local.partition}:redshift-serverless:${local.region}:${local.account}:workgroup/${var.redshift_workgroup_id}"
  db_name_arn   = "arn:${local.partition}:redshift:${local.region}:${local.account}:dbname:${var.redshift_cluster_id}/${var.redshift_database}"
  db_user_arn   = "arn:${local.partition}:redshift:${local.region}:${local.account}:dbuser:${var.redshift_cluster_id}/${var.redshift_db_user}"
  log_group_arn = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/cloudcafe/analytics-worker"

  own_statements = { StringEquals = { "redshift-data:statement-owner-iam-userid" = "$${aws:userid}" } }

  # The same as deploy/iam/worker-policy.json, less the ways to log in that are not taken.
  worker_statements = [for s in [
    {
      Sid      = "ReadStream", Effect = "Allow"
      Action   = ["kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
      Resource = [local.stream_arn]
    },
    !local.has_cluster ? null : {
      Sid      = "SubmitToCluster", Effect = "Allow"
      Action   = ["redshift-data:BatchExecuteStatement", "redshift-data:ExecuteStatement"]
      Resource = [local.cluster_arn]
    },
    !local.has_workgroup ? null : {
      Sid      = "SubmitToWorkgroup", Effect = "Allow"
      Action   = ["redshift-data:BatchExecuteStatement", "redshift-data:ExecuteStatement"]
      Resource = [local.workgroup_arn]
    },
    {
      Sid       = "FollowOwnStatements", Effect = "Allow"
      Action    = ["redshift-data:DescribeStatement", "redshift-data:GetStatementResult"]
      Resource  = ["*"]
      Condition = local.own_statements
    },
    !local.as_user ? null : {
      Sid      = "LogInAsDatabaseUser", Effect = "Allow"
      Action   = ["redshift:GetClusterCredentials"]
      Resource = [local.db_name_arn, local.db_user_arn]
    },
    !local.as_role ? null : {
      Sid      = "LogInAsRole", Effect = "Allow"
      Action   = ["redshift:GetClusterCredentialsWithIAM"]
      Resource = [local.db_name_arn]
    },
    !local.as_workgroup ? null : {
      Sid      = "LogInToWorkgroup", Effect = "Allow"
      Action   = ["redshift-serverless:GetCredentials"]
      Resource = [local.workgroup_arn]
    },
    !local.has_secret ? null : {
      Sid      = "LogInWithSecret", Effect = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = [var.redshift_secret_arn]
    },
    {
      Sid = "ShareLeases", Effect = "Allow"
      Action = [
        "dynamodb:CreateTable", "dynamodb:DeleteItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:PutItem",
        "dynamodb:Scan", "dynamodb:UpdateItem",
      ]
      Resource = ["arn:${local.partition}:dynamodb:${local.region}:${local.account}:table/analytics-worker-${var.kinesis_stream_name}"]
    },
    {
      Sid      = "StageRows", Effect = "Allow"
      Action   = ["s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.staging.arn}/staging/*"]
    },
    {
      Sid      = "KeepDeadLetters", Effect = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = ["${aws_s3_bucket.dead_letters.arn}/dead-letters/*"]
    },
    {
      Sid      = "ListBuckets", Effect = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [aws_s3_bucket.dead_letters.arn, aws_s3_bucket.staging.arn]
    },
    {
      Sid       = "PublishMetrics", Effect = "Allow"
      Action    = ["cloudwatch:PutMetricData"]
      Resource  = ["*"]
      Condition = { StringEquals = { "cloudwatch:namespace" = "CloudCafe/Analytics" } }
    },
    {
      Sid      = "LookForHooks", Effect = "Allow"
      Action   = ["autoscaling:DescribeAutoScalingInstances", "autoscaling:DescribeLifecycleHooks"]
      Resource = ["*"]
    },
    {
      Sid      = "AnswerHooks", Effect = "Allow"
      Action   = ["autoscaling:CompleteLifecycleAction"]
      Resource = ["arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-asg"]
    },
    !local.has_key ? null : {
      Sid      = "UseKey", Effect = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = [var.kms_key_arn]
    },
  ] : s if s != null]
}

resource "aws_iam_policy" "worker" {
  name_prefix = "${var.name}-worker-"
  description = "What analytics-worker calls while it runs, and what doctor and status look at."
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.worker_statements })
  tags        = local.tags
}

# Not attached to the instances: for people who publish test orders, put dead letters back, or run a drill.
resource "aws_iam_policy" "operator" {
  name_prefix = "${var.name}-operator-"
  description = "What the verbs publish, redrive and stress of analytics-worker, and query, report and verify when given up, call beyond the worker's policy."
  tags        = local.tags
  policy = jsonencode({ Version = "2012-10-17", Statement = [
    {
      Sid      = "PutRecords", Effect = "Allow"
      Action   = ["kinesis:CreateStream", "kinesis:PutRecords"]
      Resource = [local.stream_arn]
    },
    {
      Sid       = "CancelOwnStatements", Effect = "Allow"
      Action    = ["redshift-data:CancelStatement", "redshift-data:ListStatements"]
      Resource  = ["*"]
      Condition = local.own_statements
    },
  ] })
}

resource "aws_iam_role" "worker" {
  name_prefix = "${var.name}-"
  description = "Of the instances that run analytics-worker."
  tags        = local.tags
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [
    { Effect = "Allow", Principal = { Service = ["ec2.amazonaws.com"] }, Action = "sts:AssumeRole" },
  ] })
}

resource "aws_iam_role_policy_attachment" "worker" {
  role       = aws_iam_role.worker.name
  policy_arn = aws_iam_policy.worker.arn
}

resource "aws_iam_role_policy_attachment" "sessions" {
  count      = var.session_manager ? 1 : 0
  role       = aws_iam_role.worker.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_role_policy" "instance" {
  name = "instance"
  role = aws_iam_role.worker.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [
    {
      Sid      = "FetchRelease", Effect = "Allow"
      Action   = ["s3:GetObject"]
      Resource = [replace(var.release_url, "s3://", "arn:${local.partition}:s3:::")]
    },
    {
      Sid      = "WriteLogs", Effect = "Allow"
      Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
      Resource = [local.log_group_arn, "${local.log_group_arn}:*"]
    },
  ] })
}

resource "aws_iam_instance_profile" "worker" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.worker.name
  tags        = local.tags
}

# Redshift's, for COPY. Attach it to the cluster or the namespace; see the output attach_copy_role.
resource "aws_iam_role" "copy" {
  name_prefix = "${var.name}-copy-"
  description = "Lets Redshift read what analytics-worker staged."
  tags        = local.tags
  assume_role_policy = jsonencode({ Version = "2012-10-17", Statement = [
    { Effect = "Allow", Principal = { Service = ["redshift.amazonaws.com", "redshift-serverless.amazonaws.com"] }, Action = "sts:AssumeRole" },
  ] })
}

resource "aws_iam_role_policy" "copy" {
  name = "copy"
  role = aws_iam_role.copy.id
  policy = jsonencode({ Version = "2012-10-17", Statement = [for s in [
    {
      Sid      = "ReadStagedRows", Effect = "Allow"
      Action   = ["s3:GetObject"]
      Resource = ["${aws_s3_bucket.staging.arn}/staging/*"]
    },
    {
      Sid      = "ListStagedRows", Effect = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [aws_s3_bucket.staging.arn]
    },
    !local.has_key ? null : {
      Sid      = "DecryptStagedRows", Effect = "Allow"
      Action   = ["kms:Decrypt"]
      Resource = [var.kms_key_arn]
    },
  ] : s if s != null] })
}
