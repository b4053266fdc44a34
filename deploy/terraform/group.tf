resource "aws_security_group" "worker" {
  name_prefix = "${var.name}-"
  description = "analytics-worker calls AWS over TLS; nothing calls it."
  vpc_id      = var.vpc_id
  tags        = local.tags
  egress {
    description      = "AWS and package mirrors"
    protocol         = "tcp"
    from_port        = 443
    to_port          = 443
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }
}

resource "aws_launch_template" "worker" {
  name_prefix            = "${var.name}-"
  image_id               = var.ami_id != "" ? var.ami_id : nonsensitive(data.aws_ssm_parameter.ami[0].value)
  vpc_security_group_ids = [aws_security_group.worker.id]
  user_data              = base64encode(local.user_data)
  update_default_version = true
  tags                   = local.tags
  iam_instance_profile {
    arn = aws_iam_instance_profile.worker.arn
  }
  # Version 2 only. One hop: a container on the instance gets no credentials of it.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }
  # The CPU each minute, as the scaling policy asks for.
  monitoring {
    enabled = true
  }
  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.disk_gib
      encrypted             = true
      delete_on_termination = true
    }
  }
  dynamic "tag_specifications" {
    for_each = ["instance", "volume"]
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = var.name })
    }
  }
}

resource "aws_autoscaling_group" "workers" {
  name                      = "${var.name}-asg"
  vpc_zone_identifier       = var.subnet_ids
  min_size                  = var.min_size
  max_size                  = var.max_size
  default_instance_warmup   = 180
  health_check_type         = "EC2"
  health_check_grace_period = 300
  capacity_rebalance        = true
  enabled_metrics           = ["GroupDesiredCapacity", "GroupInServiceInstances", "GroupMaxSize"]
  metrics_granularity       = "1Minute"
  depends_on = [
    aws_s3_bucket_policy.tls, aws_iam_role_policy_attachment.worker, aws_iam_role_policy.instance, aws_iam_role_policy.copy,
  ]

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.on_demand_base
      on_demand_percentage_above_base_capacity = var.on_demand_percent
      on_demand_allocation_strategy            = "lowest-price"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker.id
        version            = aws_launch_template.worker.latest_version
      }
      dynamic "override" {
        for_each = local.instance_types[var.architecture][var.instance_size]
        content {
          instance_type = override.value
        }
      }
    }
  }

  # An instance serves once its installation said so, and is replaced where it did not.
  initial_lifecycle_hook {
    name                 = "analytics-worker-launch"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    default_result       = "ABANDON"
    heartbeat_timeout    = 900
  }
  # The worker looks for a name that begins with analytics-worker, drains, and answers. Longer than the longest drain.
  initial_lifecycle_hook {
    name                 = "analytics-worker-drain"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    default_result       = "CONTINUE"
    heartbeat_timeout    = 900
  }

  # A new version of the launch template replaces the instances, one after the other.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 50
      instance_warmup        = 180
      auto_rollback          = true
    }
  }

  dynamic "tag" {
    for_each = local.tags
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    precondition {
      condition     = (var.redshift_cluster_id == "") != (var.redshift_workgroup == "")
      error_message = "Name redshift_cluster_id or redshift_workgroup, and not both."
    }
    precondition {
      condition     = var.max_size <= var.shard_count && var.min_size <= var.max_size
      error_message = "max_size must not be above shard_count, nor below min_size; an instance beyond the shards is idle."
    }
    precondition {
      condition     = var.instance_size != "medium" || var.architecture == "arm64"
      error_message = "instance_size medium is for arm64; take large for amd64."
    }
  }
}

resource "aws_autoscaling_policy" "cpu" {
  name                   = "${var.name}-cpu"
  autoscaling_group_name = aws_autoscaling_group.workers.name
  policy_type            = "TargetTrackingScaling"
  target_tracking_configuration {
    target_value     = 70
    disable_scale_in = true # the policy below does, which knows of lag and load too
    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

# Bounds are counted from the alarm's threshold: one instance more from a minute of lag, two from five minutes.
resource "aws_autoscaling_policy" "lag" {
  name                      = "${var.name}-lag"
  autoscaling_group_name    = aws_autoscaling_group.workers.name
  policy_type               = "StepScaling"
  adjustment_type           = "ChangeInCapacity"
  metric_aggregation_type   = "Maximum"
  estimated_instance_warmup = 180
  step_adjustment {
    metric_interval_lower_bound = 0
    metric_interval_upper_bound = 240000
    scaling_adjustment          = 1
  }
  step_adjustment {
    metric_interval_lower_bound = 240000
    scaling_adjustment          = 2
  }
}

# Its alarm, scale_in_when_idle, has the value 1 while it is on.
resource "aws_autoscaling_policy" "idle" {
  name                   = "${var.name}-idle"
  autoscaling_group_name = aws_autoscaling_group.workers.name
  policy_type            = "StepScaling"
  adjustment_type        = "ChangeInCapacity"
  step_adjustment {
    metric_interval_lower_bound = 0
    scaling_adjustment          = -1
  }
}
