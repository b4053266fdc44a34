output "stream_name" {
  description = "The stream; put orders here."
  value       = var.kinesis_stream_name
}

output "lease_table_name" {
  description = "LEASE_TABLE."
  value       = aws_dynamodb_table.leases.name
}

output "staging_url" {
  description = "STAGING_URL."
  value       = "s3://${aws_s3_bucket.staging.bucket}/staging"
}

output "dead_letter_url" {
  description = "DEAD_LETTER_URL."
  value       = "s3://${aws_s3_bucket.dead_letters.bucket}/dead-letters"
}

output "worker_role_name" {
  description = "Role of the instances. Without a database user or secret, the warehouse knows it as IAMR: and this name."
  value       = aws_iam_role.worker.name
}

output "worker_policy_arn" {
  description = "What a worker may; an operator needs it too."
  value       = aws_iam_policy.worker.arn
}

output "operator_policy_arn" {
  description = "What an operator needs beside it for publish, redrive and stress, and to cancel what query, report and verify gave up."
  value       = aws_iam_policy.operator.arn
}

output "copy_role_arn" {
  description = "COPY_IAM_ROLE. Attach it to the warehouse before the first load."
  value       = aws_iam_role.copy.arn
}

output "attach_copy_role" {
  description = "The command for that."
  value = (local.has_cluster
    ? "aws redshift modify-cluster-iam-roles --region ${local.region} --cluster-identifier ${var.redshift_cluster_id} --add-iam-roles ${aws_iam_role.copy.arn}"
    : "aws redshift-serverless update-namespace --region ${local.region} --namespace-name NAMESPACE --iam-roles ROLES_THAT_IT_HAS ${aws_iam_role.copy.arn}"
  )
}

output "group_name" {
  description = "The Auto Scaling group."
  value       = aws_autoscaling_group.workers.name
}

output "alarm_topic_arn" {
  description = "Subscribe to it for alarms."
  value       = aws_sns_topic.alarms.arn
}

output "log_group_name" {
  description = "Logs, with a stream for each instance."
  value       = "/cloudcafe/analytics-worker"
}

output "dashboard_url" {
  description = "The dashboard."
  value       = "https://${local.region}.console.aws.amazon.com/cloudwatch/home?region=${local.region}#dashboards:name=${aws_cloudwatch_dashboard.worker.dashboard_name}"
}
