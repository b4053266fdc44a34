# The same as deploy/cloudformation/analytics-worker.yaml; a test holds the two against each other.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == "" ? 1 : 0
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${local.images[var.architecture]}"
}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  region    = data.aws_region.current.id

  has_cluster   = var.redshift_cluster_id != ""
  has_workgroup = var.redshift_workgroup != ""
  has_secret    = var.redshift_secret_arn != ""
  as_user       = local.has_cluster && !local.has_secret && var.redshift_db_user != ""
  as_role       = local.has_cluster && !local.has_secret && var.redshift_db_user == ""
  as_workgroup  = local.has_workgroup && !local.has_secret
  has_key       = var.kms_key_arn != ""

  tags = { Application = "analytics-worker", Environment = var.environment }

  # Four types of a size, so that Spot has pools to choose from.
  instance_types = {
    arm64 = {
      medium = ["c7g.medium", "m7g.medium", "c6g.medium", "m6g.medium"]
      large  = ["c7g.large", "m7g.large", "c6g.large", "m6g.large"]
      xlarge = ["c7g.xlarge", "m7g.xlarge", "c6g.xlarge", "m6g.xlarge"]
    }
    amd64 = {
      medium = ["c7i.large", "m7i.large", "c6i.large", "m6i.large"] # refused by a precondition
      large  = ["c7i.large", "m7i.large", "c6i.large", "m6i.large"]
      xlarge = ["c7i.xlarge", "m7i.xlarge", "c6i.xlarge", "m6i.xlarge"]
    }
  }
  images = { arm64 = "arm64", amd64 = "x86_64" } # what Amazon Linux calls the architecture

  user_data = templatefile("${path.module}/user-data.sh.tftpl", {
    group  = "${var.name}-asg"
    region = local.region
    url    = var.release_url
    sha256 = var.release_sha256
    settings = {
      KINESIS_STREAM_NAME = var.kinesis_stream_name
      REDSHIFT_CLUSTER_ID = var.redshift_cluster_id
      REDSHIFT_WORKGROUP  = var.redshift_workgroup
      REDSHIFT_DATABASE   = var.redshift_database
      REDSHIFT_SCHEMA     = var.redshift_schema
      REDSHIFT_DB_USER    = var.redshift_db_user
      REDSHIFT_SECRET_ARN = var.redshift_secret_arn
      ENVIRONMENT         = var.environment
      FAMILIES            = var.families
      BATCH_SIZE          = var.batch_size
      POLL_INTERVAL       = var.poll_interval
      LOAD_INTERVAL       = var.load_interval
      DRAIN_TIMEOUT       = var.drain_timeout
      INITIAL_POSITION    = var.initial_position
      MEMORY_LIMIT        = var.memory_limit
      METRICS_INTERVAL    = 60
      STAGING_URL         = "s3://${aws_s3_bucket.staging.bucket}/staging"
      COPY_IAM_ROLE       = aws_iam_role.copy.arn
      DEAD_LETTER_URL     = "s3://${aws_s3_bucket.dead_letters.bucket}/dead-letters"
      LEASE_TABLE         = aws_dynamodb_table.leases.name
    }
  })
}

# ---- what holds data; Terraform refuses to destroy it, see the README ----

resource "aws_kinesis_stream" "orders" {
  count            = var.new_stream ? 1 : 0
  name             = var.kinesis_stream_name
  shard_count      = var.shard_count
  retention_period = var.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = local.has_key ? var.kms_key_arn : "alias/aws/kinesis"
  tags             = local.tags
  stream_mode_details {
    stream_mode = "PROVISIONED"
  }
  lifecycle {
    prevent_destroy = true
  }
}

# Exactly what the worker would make, with backups. The positions are in the warehouse; this table says who has which shard.
resource "aws_dynamodb_table" "leases" {
  name         = "analytics-worker-${var.kinesis_stream_name}"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "leaseKey"
  tags         = local.tags
  attribute {
    name = "leaseKey"
    type = "S"
  }
  point_in_time_recovery {
    enabled = true
  }
  dynamic "server_side_encryption" {
    for_each = local.has_key ? [1] : []
    content {
      enabled     = true
      kms_key_arn = var.kms_key_arn
    }
  }
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket" "staging" {
  bucket_prefix = "${var.name}-staging-"
  tags          = local.tags
  lifecycle {
    prevent_destroy = true
  }
}

# Letters do not expire: each is a record that is nowhere else.
resource "aws_s3_bucket" "dead_letters" {
  bucket_prefix = "${var.name}-deadletter-"
  tags          = local.tags
  lifecycle {
    prevent_destroy = true
  }
}

locals {
  buckets = { staging = aws_s3_bucket.staging, dead_letters = aws_s3_bucket.dead_letters }
}

resource "aws_s3_bucket_public_access_block" "private" {
  for_each                = local.buckets
  bucket                  = each.value.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "owner" {
  for_each = local.buckets
  bucket   = each.value.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "encrypted" {
  for_each = local.buckets
  bucket   = each.value.id
  rule {
    bucket_key_enabled = local.has_key
    apply_server_side_encryption_by_default {
      sse_algorithm     = local.has_key ? "aws:kms" : "AES256"
      kms_master_key_id = local.has_key ? var.kms_key_arn : null
    }
  }
}

resource "aws_s3_bucket_policy" "tls" {
  for_each = local.buckets
  bucket   = each.value.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [each.value.arn, "${each.value.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })
  depends_on = [aws_s3_bucket_public_access_block.private]
}

resource "aws_s3_bucket_lifecycle_configuration" "staging" {
  bucket = aws_s3_bucket.staging.id
  rule {
    id     = "remove-what-was-left"
    status = "Enabled"
    filter {}
    expiration {
      days = var.staging_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_versioning" "dead_letters" {
  bucket = aws_s3_bucket.dead_letters.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "dead_letters" {
  bucket     = aws_s3_bucket.dead_letters.id
  depends_on = [aws_s3_bucket_versioning.dead_letters]
  rule {
    id     = "remove-old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_cloudwatch_log_group" "worker" {
  count             = var.new_log_group ? 1 : 0
  name              = "/cloudcafe/analytics-worker"
  retention_in_days = var.log_retention_days
  tags              = local.tags
  lifecycle {
    prevent_destroy = true
  }
}
