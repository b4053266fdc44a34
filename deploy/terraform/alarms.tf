# What each means and its first step: docs/DEPLOY.md, Alarms.

resource "aws_sns_topic" "alarms" {
  name_prefix  = "${var.name}-"
  display_name = "analytics-worker"
  tags         = local.tags
}

resource "aws_sns_topic_subscription" "email" {
  count     = var.alarm_email != "" ? 1 : 0
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

locals {
  # Of one metric each, by the end of the alarm's name. missing is what missing data mean.
  alarms = {
    "lag" = {
      metric      = "MillisBehindCommitted"
      statistic   = "Maximum"
      period      = 60
      periods     = 1
      threshold   = 300000
      comparison  = "GreaterThanThreshold"
      missing     = "ignore"
      description = "Orders take more than five minutes to be queryable. Run analytics-worker status. If CPU is high and instances are at MaxSize, split shards and raise it; if loads are slow or the warehouse is paused, more instances do not help."
    }
    "retention-headroom" = {
      metric      = "RetentionHeadroom"
      statistic   = "Minimum"
      period      = 60
      periods     = 1
      threshold   = var.headroom_alarm_seconds
      comparison  = "LessThanThreshold"
      missing     = "ignore"
      description = "Unread records are trimmed soon, and lost then. Raise the retention of the stream at once (aws kinesis increase-stream-retention-period); then find out why with analytics-worker status and doctor."
    }
    "no-data" = {
      metric      = "RecordsProcessed"
      statistic   = "SampleCount"
      period      = 60
      periods     = 5
      threshold   = 1
      comparison  = "LessThanThreshold"
      missing     = "breaching"
      description = "No worker has sent a metric for five minutes, where each sends zeros too. Look whether instances run and what they log (log group /cloudcafe/analytics-worker); on one, journalctl -u analytics-worker and analytics-worker doctor."
    }
    "worker-errors" = {
      metric      = "WorkerError"
      statistic   = "Sum"
      period      = 300
      periods     = 1
      threshold   = 0
      comparison  = "GreaterThanThreshold"
      missing     = "notBreaching"
      description = "Something went wrong that no repeat mends, as a dead-letter store that refuses or records that were trimmed unread. Read the log group /cloudcafe/analytics-worker at once; each error has a hint."
    }
    "write-errors" = {
      metric      = "RedshiftWriteError"
      statistic   = "Sum"
      period      = 300
      periods     = 3
      threshold   = 0
      comparison  = "GreaterThanThreshold"
      missing     = "notBreaching"
      description = "Loads have failed in each of the last three five minutes. They are repeated, and nothing is lost within the retention. Run analytics-worker doctor, and look whether the warehouse is paused, full or locked."
    }
    "shard-errors" = {
      metric      = "ShardProcessingError"
      statistic   = "Sum"
      period      = 300
      periods     = 3
      threshold   = 30
      comparison  = "GreaterThanThreshold"
      missing     = "notBreaching"
      description = "Reads of shards keep failing, throttles included; they are repeated. Another consumer on the same shards is the usual cause. Raise POLL_INTERVAL, or move the other one to enhanced fan-out."
    }
    "dead-letters" = {
      metric      = "RecordsRejected"
      statistic   = "Sum"
      period      = 300
      periods     = 1
      threshold   = var.dead_letter_threshold
      comparison  = "GreaterThanThreshold"
      missing     = "notBreaching"
      description = "Records were rejected and are kept as dead letters. A producer has changed, most likely. Look at reason and detail in DEAD_LETTER_URL; when it is mended, analytics-worker redrive puts them back."
    }
    "load-time" = {
      metric      = "RedshiftWriteDuration"
      statistic   = "Average"
      period      = 300
      periods     = 3
      threshold   = var.load_time_alarm_millis
      comparison  = "GreaterThanThreshold"
      missing     = "notBreaching"
      description = "Loads take long on average, for fifteen minutes. Look at the queues and locks of the warehouse (analytics-worker doctor names who holds the load lock), then raise LOAD_INTERVAL and BATCH_SIZE. More workers do not help."
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "worker" {
  for_each            = local.alarms
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "CloudCafe/Analytics"
  metric_name         = each.value.metric
  dimensions          = { Environment = var.environment }
  statistic           = each.value.statistic
  period              = each.value.period
  evaluation_periods  = each.value.periods
  threshold           = each.value.threshold
  comparison_operator = each.value.comparison
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "scale_out_on_lag" {
  alarm_name          = "${var.name}-scale-out-on-lag"
  alarm_description   = "Reading is more than a minute behind for three minutes. The group adds instances by itself; nothing to do. If all are there, see docs/OPERATIONS.md, Scale."
  namespace           = "CloudCafe/Analytics"
  metric_name         = "MillisBehindLatest"
  dimensions          = { Environment = var.environment }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  threshold           = 60000
  comparison_operator = "GreaterThanThreshold"
  # Nobody reports lag when no worker runs, and more instances are not what is missing then.
  treat_missing_data = "notBreaching"
  alarm_actions      = [aws_autoscaling_policy.lag.arn]
  tags               = local.tags
}

# One instance may go if the others can have its work: below the target of the CPU, and below what they load with ease. A
# group without data is not idle.
resource "aws_cloudwatch_metric_alarm" "scale_in_when_idle" {
  alarm_name          = "${var.name}-scale-in-when-idle"
  alarm_description   = "For fifteen minutes one instance less would have been enough, and nothing lagged. The group takes one away by itself; nothing to do."
  evaluation_periods  = 15
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_autoscaling_policy.idle.arn]
  tags                = local.tags
  metric_query {
    id = "cpu"
    metric {
      namespace   = "AWS/EC2"
      metric_name = "CPUUtilization"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.workers.name }
      stat        = "Average"
      period      = 60
    }
  }
  metric_query {
    id = "n"
    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = { AutoScalingGroupName = aws_autoscaling_group.workers.name }
      stat        = "Average"
      period      = 60
    }
  }
  metric_query {
    id = "lag"
    metric {
      namespace   = "CloudCafe/Analytics"
      metric_name = "MillisBehindLatest"
      dimensions  = { Environment = var.environment }
      stat        = "Maximum"
      period      = 60
    }
  }
  metric_query {
    id = "records"
    metric {
      namespace   = "CloudCafe/Analytics"
      metric_name = "RecordsProcessed"
      dimensions  = { Environment = var.environment }
      stat        = "Sum"
      period      = 60
    }
  }
  metric_query {
    id          = "idle"
    label       = "one instance less is enough"
    expression  = "IF((n > ${var.min_size}) AND (lag < 30000) AND (cpu * n < 60 * (n - 1)) AND (records / 60 < ${var.records_per_instance} * (n - 1)), 1, 0)"
    return_data = true
  }
}

resource "aws_cloudwatch_metric_alarm" "stalled" {
  alarm_name          = "${var.name}-stalled"
  alarm_description   = "Producers put records and none has been loaded for fifteen minutes. Run analytics-worker doctor; most often the warehouse is paused or refuses. Nothing is lost within the retention."
  evaluation_periods  = 3
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]
  tags                = local.tags
  metric_query {
    id = "incoming"
    metric {
      namespace   = "AWS/Kinesis"
      metric_name = "IncomingRecords"
      dimensions  = { StreamName = var.kinesis_stream_name }
      stat        = "Sum"
      period      = 300
    }
  }
  metric_query {
    id = "processed"
    metric {
      namespace   = "CloudCafe/Analytics"
      metric_name = "RecordsProcessed"
      dimensions  = { Environment = var.environment }
      stat        = "Sum"
      period      = 300
    }
  }
  metric_query {
    id          = "stalled"
    label       = "records come and none is loaded"
    expression  = "IF(FILL(incoming, 0) > 0 AND FILL(processed, 0) == 0, 1, 0)"
    return_data = true
  }
}

resource "aws_cloudwatch_dashboard" "worker" {
  dashboard_name = "${var.name}-${local.region}"
  dashboard_body = templatefile("${path.module}/dashboard.json.tftpl", {
    region   = local.region
    env      = var.environment
    stream   = var.kinesis_stream_name
    group    = aws_autoscaling_group.workers.name
    headroom = var.headroom_alarm_seconds
  })
}
