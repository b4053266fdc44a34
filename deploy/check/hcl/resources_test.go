package hcl

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/deploy/check"
)

func read(t *testing.T, file string) string {
	t.Helper()
	out, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// property is what a template's resource has at a path.
func property(s *check.Stack, id string, path ...any) string {
	return text(below(s.Resources[id].Properties, path...))
}

// same is a property of the template and what the module has for it.
type same struct {
	id       string
	property []any
	resource string
	at       []any
}

type path = []any

// properties that have one place in each.
var properties = []same{
	{"LeaseTable", path{"TableName"}, "aws_dynamodb_table.leases", path{"name"}},
	{"LeaseTable", path{"BillingMode"}, "aws_dynamodb_table.leases", path{"billing_mode"}},
	{"LeaseTable", path{"KeySchema", 0, "AttributeName"}, "aws_dynamodb_table.leases", path{"hash_key"}},
	{"LeaseTable", path{"AttributeDefinitions", 0, "AttributeName"}, "aws_dynamodb_table.leases", path{"attribute", 0, "name"}},
	{"LeaseTable", path{"AttributeDefinitions", 0, "AttributeType"}, "aws_dynamodb_table.leases", path{"attribute", 0, "type"}},
	{"LeaseTable", path{"PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"}, "aws_dynamodb_table.leases", path{"point_in_time_recovery", 0, "enabled"}},
	{"LeaseTable", path{"SSESpecification", "KMSMasterKeyId"}, "aws_dynamodb_table.leases", path{"server_side_encryption", 0, "kms_key_arn"}},

	{"StagingBucket", path{"LifecycleConfiguration", "Rules", 0, "ExpirationInDays"}, "aws_s3_bucket_lifecycle_configuration.staging", path{"rule", 0, "expiration", 0, "days"}},
	{"StagingBucket", path{"LifecycleConfiguration", "Rules", 0, "AbortIncompleteMultipartUpload", "DaysAfterInitiation"}, "aws_s3_bucket_lifecycle_configuration.staging", path{"rule", 0, "abort_incomplete_multipart_upload", 0, "days_after_initiation"}},
	{"DeadLetterBucket", path{"LifecycleConfiguration", "Rules", 0, "NoncurrentVersionExpiration", "NoncurrentDays"}, "aws_s3_bucket_lifecycle_configuration.dead_letters", path{"rule", 0, "noncurrent_version_expiration", 0, "noncurrent_days"}},
	{"DeadLetterBucket", path{"LifecycleConfiguration", "Rules", 0, "ExpirationInDays"}, "aws_s3_bucket_lifecycle_configuration.dead_letters", path{"rule", 0, "expiration", 0, "days"}},
	{"DeadLetterBucket", path{"VersioningConfiguration", "Status"}, "aws_s3_bucket_versioning.dead_letters", path{"versioning_configuration", 0, "status"}},

	{"LaunchTemplate", path{"LaunchTemplateData", "MetadataOptions", "HttpTokens"}, "aws_launch_template.worker", path{"metadata_options", 0, "http_tokens"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "MetadataOptions", "HttpEndpoint"}, "aws_launch_template.worker", path{"metadata_options", 0, "http_endpoint"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "MetadataOptions", "HttpPutResponseHopLimit"}, "aws_launch_template.worker", path{"metadata_options", 0, "http_put_response_hop_limit"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "MetadataOptions", "InstanceMetadataTags"}, "aws_launch_template.worker", path{"metadata_options", 0, "instance_metadata_tags"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "Monitoring", "Enabled"}, "aws_launch_template.worker", path{"monitoring", 0, "enabled"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "BlockDeviceMappings", 0, "DeviceName"}, "aws_launch_template.worker", path{"block_device_mappings", 0, "device_name"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "BlockDeviceMappings", 0, "Ebs", "Encrypted"}, "aws_launch_template.worker", path{"block_device_mappings", 0, "ebs", 0, "encrypted"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "BlockDeviceMappings", 0, "Ebs", "VolumeSize"}, "aws_launch_template.worker", path{"block_device_mappings", 0, "ebs", 0, "volume_size"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "BlockDeviceMappings", 0, "Ebs", "VolumeType"}, "aws_launch_template.worker", path{"block_device_mappings", 0, "ebs", 0, "volume_type"}},
	{"LaunchTemplate", path{"LaunchTemplateData", "IamInstanceProfile", "Arn"}, "aws_launch_template.worker", path{"iam_instance_profile", 0, "arn"}},

	{"Workers", path{"AutoScalingGroupName"}, "aws_autoscaling_group.workers", path{"name"}},
	{"Workers", path{"MinSize"}, "aws_autoscaling_group.workers", path{"min_size"}},
	{"Workers", path{"MaxSize"}, "aws_autoscaling_group.workers", path{"max_size"}},
	{"Workers", path{"VPCZoneIdentifier"}, "aws_autoscaling_group.workers", path{"vpc_zone_identifier"}},
	{"Workers", path{"CapacityRebalance"}, "aws_autoscaling_group.workers", path{"capacity_rebalance"}},
	{"Workers", path{"DefaultInstanceWarmup"}, "aws_autoscaling_group.workers", path{"default_instance_warmup"}},
	{"Workers", path{"HealthCheckType"}, "aws_autoscaling_group.workers", path{"health_check_type"}},
	{"Workers", path{"HealthCheckGracePeriod"}, "aws_autoscaling_group.workers", path{"health_check_grace_period"}},
	{"Workers", path{"MixedInstancesPolicy", "InstancesDistribution", "OnDemandBaseCapacity"}, "aws_autoscaling_group.workers", path{"mixed_instances_policy", 0, "instances_distribution", 0, "on_demand_base_capacity"}},
	{"Workers", path{"MixedInstancesPolicy", "InstancesDistribution", "OnDemandPercentageAboveBaseCapacity"}, "aws_autoscaling_group.workers", path{"mixed_instances_policy", 0, "instances_distribution", 0, "on_demand_percentage_above_base_capacity"}},
	{"Workers", path{"MixedInstancesPolicy", "InstancesDistribution", "SpotAllocationStrategy"}, "aws_autoscaling_group.workers", path{"mixed_instances_policy", 0, "instances_distribution", 0, "spot_allocation_strategy"}},

	{"ScaleOnCPU", path{"TargetTrackingConfiguration", "TargetValue"}, "aws_autoscaling_policy.cpu", path{"target_tracking_configuration", 0, "target_value"}},
	{"ScaleOnCPU", path{"TargetTrackingConfiguration", "PredefinedMetricSpecification", "PredefinedMetricType"}, "aws_autoscaling_policy.cpu", path{"target_tracking_configuration", 0, "predefined_metric_specification", 0, "predefined_metric_type"}},
	{"ScaleOnCPU", path{"TargetTrackingConfiguration", "DisableScaleIn"}, "aws_autoscaling_policy.cpu", path{"target_tracking_configuration", 0, "disable_scale_in"}},
	{"ScaleOutOnLag", path{"AdjustmentType"}, "aws_autoscaling_policy.lag", path{"adjustment_type"}},
	{"ScaleOutOnLag", path{"EstimatedInstanceWarmup"}, "aws_autoscaling_policy.lag", path{"estimated_instance_warmup"}},
	{"ScaleInWhenIdle", path{"AdjustmentType"}, "aws_autoscaling_policy.idle", path{"adjustment_type"}},
}

// numbered are lists whose entries have the same properties in both.
var numbered = []struct {
	same
	fields map[string]string
}{
	{
		same{"Workers", path{"LifecycleHookSpecificationList"}, "aws_autoscaling_group.workers", path{"initial_lifecycle_hook"}},
		map[string]string{"LifecycleHookName": "name", "LifecycleTransition": "lifecycle_transition", "DefaultResult": "default_result", "HeartbeatTimeout": "heartbeat_timeout"},
	},
	{
		same{"Workers", path{"MixedInstancesPolicy", "LaunchTemplate", "Overrides"}, "aws_autoscaling_group.workers", path{"mixed_instances_policy", 0, "launch_template", 0, "override"}},
		map[string]string{"InstanceType": "instance_type"},
	},
	{
		same{"ScaleInWhenIdle", path{"StepAdjustments"}, "aws_autoscaling_policy.idle", path{"step_adjustment"}},
		map[string]string{"MetricIntervalLowerBound": "metric_interval_lower_bound", "MetricIntervalUpperBound": "metric_interval_upper_bound", "ScalingAdjustment": "scaling_adjustment"},
	},
	{
		same{"ScaleOutOnLag", path{"StepAdjustments"}, "aws_autoscaling_policy.lag", path{"step_adjustment"}},
		map[string]string{"MetricIntervalLowerBound": "metric_interval_lower_bound", "MetricIntervalUpperBound": "metric_interval_upper_bound", "ScalingAdjustment": "scaling_adjustment"},
	},
}

func TestResourcesAgree(t *testing.T) {
	for name, values := range pairs {
		s, m := both(t, values)
		found := 0
		for _, p := range properties {
			want, got := property(s, p.id, p.property...), text(m.at(p.resource, p.at...))
			if got != want {
				t.Errorf("%s: %s %v is %q, %s %v is %q", name, p.resource, p.at, got, p.id, p.property, want)
			}
			if want != "" {
				found++
			}
		}
		if found < len(properties)-5 { // a key, and what must not be there
			t.Errorf("%s: only %d of %d properties are there at all", name, found, len(properties))
		}
		for _, l := range numbered {
			want, got := sequence(below(s.Resources[l.id].Properties, l.property...)), sequence(m.at(l.resource, l.at...))
			if len(got) != len(want) || len(want) == 0 {
				t.Errorf("%s: %d of %s %v, %d of %s", name, len(got), l.resource, l.at, len(want), l.id)
				continue
			}
			for i := range want {
				for a, b := range l.fields {
					if text(below(got[i], b)) != text(below(want[i], a)) {
						t.Errorf("%s: %s %v %d: %s is %v, the template's is %v", name, l.resource, l.at, i, b, below(got[i], b), below(want[i], a))
					}
				}
			}
		}
		agreeOnStream(t, name, s, m)
		agreeOnBuckets(t, name, s, m)
		if a, b := script(text(m.at("aws_launch_template.worker", "user_data"))), script(s.Group().UserData); a != b {
			t.Errorf("%s: user data\n%s\nthe template's\n%s", name, a, b)
		}
	}
}

func agreeOnStream(t *testing.T, name string, s *check.Stack, m *module) {
	t.Helper()
	streams := m.resources["aws_kinesis_stream.orders"]
	r, made := s.Resources["Stream"]
	if (len(streams) == 1) != made {
		t.Fatalf("%s: %d streams, the template makes one: %v", name, len(streams), made)
	}
	if groups := m.resources["aws_cloudwatch_log_group.worker"]; (len(groups) == 1) != (s.Resources["LogGroup"].Type != "") {
		t.Errorf("%s: %d log groups", name, len(groups))
	}
	if !made {
		return
	}
	for a, b := range map[string]string{"Name": "name", "ShardCount": "shard_count", "RetentionPeriodHours": "retention_period"} {
		if text(r.Properties[a]) != text(streams[0][b]) {
			t.Errorf("%s: the stream's %s is %v, the template's %v", name, b, streams[0][b], r.Properties[a])
		}
	}
	if text(below(r.Properties, "StreamEncryption", "KeyId")) != text(streams[0]["kms_key_id"]) {
		t.Errorf("%s: the stream's key is %v", name, streams[0]["kms_key_id"])
	}
}

func agreeOnBuckets(t *testing.T, name string, s *check.Stack, m *module) {
	t.Helper()
	for _, kind := range []string{"aws_s3_bucket_public_access_block.private", "aws_s3_bucket_ownership_controls.owner", "aws_s3_bucket_server_side_encryption_configuration.encrypted", "aws_s3_bucket_policy.tls"} {
		if len(m.resources[kind]) != len(s.Of("AWS::S3::Bucket")) {
			t.Errorf("%s: %d of %s", name, len(m.resources[kind]), kind)
		}
	}
	for _, r := range m.resources["aws_s3_bucket_public_access_block.private"] {
		for _, k := range []string{"block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"} {
			if r[k] != true {
				t.Errorf("%s: %s is %v", name, k, r[k])
			}
		}
	}
	var want, got []string
	for _, id := range []string{"StagingBucket", "DeadLetterBucket"} {
		want = append(want, property(s, id, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "SSEAlgorithm"))
	}
	for _, r := range m.resources["aws_s3_bucket_server_side_encryption_configuration.encrypted"] {
		got = append(got, text(below(r, "rule", 0, "apply_server_side_encryption_by_default", 0, "sse_algorithm")))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: encryption %q, the template's %q", name, got, want)
	}
	for _, r := range m.resources["aws_s3_bucket_policy.tls"] {
		if p, err := check.ParsePolicy([]byte(text(r["policy"]))); err != nil || p.Statement[0].Effect != "Deny" || p.Statement[0].Condition["Bool"]["aws:SecureTransport"] != "false" {
			t.Errorf("%s: the policy of a bucket is %v, %v", name, r["policy"], err)
		}
	}
	for _, kind := range []string{"aws_kinesis_stream.orders", "aws_dynamodb_table.leases", "aws_s3_bucket.staging", "aws_s3_bucket.dead_letters", "aws_cloudwatch_log_group.worker"} {
		for _, r := range m.resources[kind] {
			if !slices.Contains(sequence(r["lifecycle"]), any("prevent_destroy")) {
				t.Errorf("%s can be destroyed by a slip", kind)
			}
		}
	}
}

// script is user data without what the stack alone is told, and settings in order.
func script(userData string) string {
	var lines, settings []string
	for line := range strings.SplitSeq(userData, "\n") {
		switch {
		case strings.Contains(line, "cfn-signal"), strings.HasPrefix(strings.TrimSpace(line), "#"), strings.TrimSpace(line) == "":
		case strings.HasPrefix(line, "export ") && !strings.HasPrefix(line, "export AWS_REGION"):
			name, value, _ := strings.Cut(line, "=")
			settings = append(settings, name+"="+strings.Trim(value, "'"))
		default:
			lines = append(lines, line)
		}
	}
	slices.Sort(settings)
	return strings.Join(append(lines, settings...), "\n")
}
