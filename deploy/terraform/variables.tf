variable "name" {
  type        = string
  description = "Begins the names of what is made. One for each deployment of an account and region."
  default     = "analytics-worker"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,35}$", var.name))
    error_message = "Must be a lower-case letter, then up to 35 letters, digits and dashes."
  }
}

# Release.

variable "release_url" {
  type        = string
  description = "S3 URL of the release tarball for the architecture, as make release builds it."
  validation {
    condition     = can(regex("^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[A-Za-z0-9._/~+-]+\\.tar\\.gz$", var.release_url))
    error_message = "Must be of the form s3://bucket/path/analytics-worker_VERSION_linux_ARCH.tar.gz."
  }
}

variable "release_sha256" {
  type        = string
  description = "SHA-256 of the tarball, from SHA256SUMS of the release. An instance does not start with any other file."
  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.release_sha256))
    error_message = "Must be 64 hexadecimal digits in lower case."
  }
}

# Stream.

variable "kinesis_stream_name" {
  type        = string
  description = "Stream to read (KINESIS_STREAM_NAME)."
  default     = "order-events"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,128}$", var.kinesis_stream_name))
    error_message = "Does not have the form of kinesis stream name."
  }
}

variable "new_stream" {
  type        = bool
  description = "true makes the stream; false reads one that is there."
  default     = true
}

variable "shard_count" {
  type        = number
  description = "Shards of the stream. Of one that is there, as many open shards as it has, since max_size is held against it."
  default     = 4
  validation {
    condition     = var.shard_count >= 1 && floor(var.shard_count) == var.shard_count
    error_message = "Must be a whole number from 1."
  }
}

variable "retention_hours" {
  type        = number
  description = "How long a new stream keeps records; what is not loaded by then is lost. 168 (a week) outlasts a long weekend with the warehouse paused."
  default     = 168
  validation {
    condition     = var.retention_hours >= 24 && var.retention_hours <= 8760
    error_message = "Must be from 24 to 8760."
  }
}

# Warehouse: a cluster or a workgroup.

variable "redshift_cluster_id" {
  type        = string
  description = "Provisioned cluster (REDSHIFT_CLUSTER_ID); empty when a workgroup is named."
  default     = ""
  validation {
    condition     = can(regex("^[a-z0-9-]{0,63}$", var.redshift_cluster_id))
    error_message = "Does not have the form of redshift cluster id."
  }
}

variable "redshift_workgroup" {
  type        = string
  description = "Serverless workgroup (REDSHIFT_WORKGROUP); empty when a cluster is named."
  default     = ""
  validation {
    condition     = can(regex("^[a-z0-9-]{0,64}$", var.redshift_workgroup))
    error_message = "Does not have the form of redshift workgroup."
  }
}

variable "redshift_workgroup_id" {
  type        = string
  description = "The id at the end of the workgroup's ARN, which permissions name it by; * allows every workgroup of the account and region."
  default     = "*"
  validation {
    condition     = can(regex("^(\\*|[0-9a-f-]{36})$", var.redshift_workgroup_id))
    error_message = "Does not have the form of redshift workgroup id."
  }
}

variable "redshift_database" {
  type        = string
  description = "Database (REDSHIFT_DATABASE)."
  default     = "analytics"
  validation {
    condition     = can(regex("^[A-Za-z0-9_$-]{1,64}$", var.redshift_database))
    error_message = "Does not have the form of redshift database."
  }
}

variable "redshift_schema" {
  type        = string
  description = "Schema of the tables, in lower case (REDSHIFT_SCHEMA); empty = the search path of the database user."
  default     = ""
  validation {
    condition     = can(regex("^([a-z_][a-z0-9_$]{0,126})?$", var.redshift_schema))
    error_message = "Does not have the form of redshift schema."
  }
}

variable "redshift_db_user" {
  type        = string
  description = "Database user on a cluster (REDSHIFT_DB_USER); empty logs in as the role itself (IAMR:role). A user of its own is better than admin."
  default     = "admin"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.@+-]{0,63}$", var.redshift_db_user))
    error_message = "Does not have the form of redshift db user."
  }
}

variable "redshift_secret_arn" {
  type        = string
  description = "Secrets Manager secret to log in with, in place of a user (REDSHIFT_SECRET_ARN); empty = none."
  default     = ""
  validation {
    condition     = can(regex("^(arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+)?$", var.redshift_secret_arn))
    error_message = "Does not have the form of redshift secret arn."
  }
}

# Worker.

variable "environment" {
  type        = string
  description = "The dimension Environment of the metrics (ENVIRONMENT). One for each stack of an account, as alarms and scaling go by it."
  default     = "dev"
  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{1,64}$", var.environment))
    error_message = "Does not have the form of environment."
  }
}

variable "families" {
  type        = string
  description = "Kinds of events that are loaded (FAMILIES); others become dead letters."
  default     = "orders,inventory,payments"
  validation {
    condition     = can(regex("^(orders|inventory|payments)(,(orders|inventory|payments))*$", var.families))
    error_message = "Does not have the form of families."
  }
}

variable "batch_size" {
  type        = number
  description = "Records that start a load (BATCH_SIZE)."
  default     = 5000
  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 100000
    error_message = "Must be from 1 to 100000."
  }
}

variable "poll_interval" {
  type        = string
  description = "Wait between reads of a shard that is caught up, and longest wait of a record for a load (POLL_INTERVAL); seconds, or 500ms."
  default     = "5"
  validation {
    condition     = can(regex("^[0-9]{1,3}(ms|s|m)?$", var.poll_interval))
    error_message = "Does not have the form of poll interval."
  }
}

variable "load_interval" {
  type        = string
  description = "Least time between the starts of two loads of a worker (LOAD_INTERVAL), in seconds. Each load costs; see docs/OPERATIONS.md."
  default     = "30"
  validation {
    condition     = can(regex("^[0-9]{1,3}(ms|s|m)?$", var.load_interval))
    error_message = "Does not have the form of load interval."
  }
}

variable "drain_timeout" {
  type        = number
  description = "Longest drain of a worker that is to stop, in seconds (DRAIN_TIMEOUT). Two loads should fit. The lifecycle hook waits 900 s."
  default     = 60
  validation {
    condition     = var.drain_timeout >= 1 && var.drain_timeout <= 600
    error_message = "Must be from 1 to 600."
  }
}

variable "initial_position" {
  type        = string
  description = "Where a stream that was never read begins (INITIAL_POSITION)."
  default     = "TRIM_HORIZON"
  validation {
    condition     = can(regex("^(TRIM_HORIZON|LATEST|AT_TIMESTAMP:[0-9TZ:.+-]{10,40})$", var.initial_position))
    error_message = "Does not have the form of initial position."
  }
}

variable "memory_limit" {
  type        = string
  description = "Memory that the worker's process keeps to (MEMORY_LIMIT)."
  default     = "256MiB"
  validation {
    condition     = can(regex("^[0-9]+(MiB|GiB)$", var.memory_limit))
    error_message = "Does not have the form of memory limit."
  }
}

variable "staging_days" {
  type        = number
  description = "Days after which staged files that a killed worker left are removed. Workers remove their own."
  default     = 2
  validation {
    condition     = var.staging_days >= 1 && var.staging_days <= 30
    error_message = "Must be from 1 to 30."
  }
}

# Instances.

variable "vpc_id" {
  type        = string
  description = "VPC of the instances."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets in several zones, with a way to AWS's endpoints (NAT or VPC endpoints). No connection comes in."
}

variable "architecture" {
  type        = string
  description = "Of the instances and of the release, as the name of its file has it."
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "amd64"], var.architecture)
    error_message = "Must be one of arm64, amd64."
  }
}

variable "instance_size" {
  type        = string
  description = "Size of the four instance types that the group draws from. medium is arm64 only."
  default     = "medium"
  validation {
    condition     = contains(["medium", "large", "xlarge"], var.instance_size)
    error_message = "Must be one of medium, large, xlarge."
  }
}

variable "ami_id" {
  type        = string
  description = "AMI in place of the newest Amazon Linux 2023 at the time of the deployment; empty = that one."
  default     = ""
  validation {
    condition     = can(regex("^(ami-[0-9a-f]{8,17})?$", var.ami_id))
    error_message = "Does not have the form of ami id."
  }
}

variable "disk_gib" {
  type        = number
  description = "Size of the encrypted disk."
  default     = 16
  validation {
    condition     = var.disk_gib >= 8 && var.disk_gib <= 1024
    error_message = "Must be from 8 to 1024."
  }
}

variable "min_size" {
  type        = number
  description = "Fewest instances. Two keep the shards served while one is replaced; one costs less and lags for minutes then."
  default     = 1
  validation {
    condition     = var.min_size >= 1 && var.min_size <= 32
    error_message = "Must be from 1 to 32."
  }
}

variable "max_size" {
  type        = number
  description = "Most instances, and never more than shards; an instance beyond them is idle."
  default     = 4
  validation {
    condition     = var.max_size >= 1
    error_message = "Must be 1 or more."
  }
}

variable "records_per_instance" {
  type        = number
  description = "Records a second that an instance loads with ease. One is taken away while the others can do with that; see Scaling in docs/DEPLOY.md."
  default     = 1800
  validation {
    condition     = var.records_per_instance >= 1
    error_message = "Must be 1 or more."
  }
}

variable "on_demand_base" {
  type        = number
  description = "Instances that are not Spot, before any Spot instance is asked for."
  default     = 1
  validation {
    condition     = var.on_demand_base >= 0 && var.on_demand_base <= 32
    error_message = "Must be from 0 to 32."
  }
}

variable "on_demand_percent" {
  type        = number
  description = "Of the instances beyond on_demand_base, the percentage that is not Spot."
  default     = 0
  validation {
    condition     = var.on_demand_percent >= 0 && var.on_demand_percent <= 100
    error_message = "Must be from 0 to 100."
  }
}

variable "session_manager" {
  type        = bool
  description = "true lets operators in by Systems Manager (AmazonSSMManagedInstanceCore), which needs no open port."
  default     = true
}

# Encryption.

variable "kms_key_arn" {
  type        = string
  description = "Key of KMS for the new stream, the lease table and the buckets, or of the stream that is there; empty = AWS's own keys."
  default     = ""
  validation {
    condition     = can(regex("^(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-zA-Z-]+)?$", var.kms_key_arn))
    error_message = "Does not have the form of kms key arn."
  }
}

# Logs and alarms.

variable "new_log_group" {
  type        = bool
  description = "false where the account and region has the log group /cloudcafe/analytics-worker already."
  default     = true
}

variable "log_retention_days" {
  type        = number
  description = "Days that logs are kept."
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "Must be one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "alarm_email" {
  type        = string
  description = "Address that gets the alarms, once it has confirmed; empty = none. More can subscribe to the topic."
  default     = ""
  validation {
    condition     = can(regex("^([^@\\s]+@[^@\\s]+)?$", var.alarm_email))
    error_message = "Does not have the form of alarm email."
  }
}

variable "dead_letter_threshold" {
  type        = number
  description = "Dead letters in five minutes above which the alarm fires."
  default     = 0
  validation {
    condition     = var.dead_letter_threshold >= 0
    error_message = "Must be from 0 up."
  }
}

variable "headroom_alarm_seconds" {
  type        = number
  description = "Time until unread records are trimmed, below which the alarm fires. Well above the time that you need to react, and below the retention."
  default     = 43200
  validation {
    condition     = var.headroom_alarm_seconds >= 3600 && var.headroom_alarm_seconds <= 31536000
    error_message = "Must be from 3600 to 31536000."
  }
}

variable "load_time_alarm_millis" {
  type        = number
  description = "Average time of a load above which the alarm fires."
  default     = 30000
  validation {
    condition     = var.load_time_alarm_millis >= 1000
    error_message = "Must be from 1000 up."
  }
}
