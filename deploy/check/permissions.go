package check

import (
	"slices"
	"strings"
)

// Need is what a call of the AWS SDK needs to be allowed, and who makes it.
type Need struct {
	Service, Operation string // as the local AWS names them, such as s3 and ListObjectsV2

	Actions []string
	By      By
	Reason  string // where the actions are not simply the operation's name, or the call is rare
	Rare    bool   // the worker makes it only when something fails that a test cannot bring about
}

// By is who makes a call.
type By string

// Who makes calls. The worker's policy is for Worker, the operator's is what
// Operator needs beside it, and Nobody's calls are for tests and laptops.
const (
	Worker   By = "worker" // the service itself, and doctor, status and verify beside it
	Operator By = "operator"
	Nobody   By = "nobody"
)

// LogIn is what the Data API does for the caller before it runs a statement, one
// of them by how the warehouse is named.
var LogIn = []string{
	"redshift:GetClusterCredentials", "redshift:GetClusterCredentialsWithIAM", "redshift-serverless:GetCredentials", "secretsmanager:GetSecretValue",
}

// Needs is every call that internal/aws makes. Sources: the tables of actions of
// AWS's Service Authorization Reference, and the pages that the reasons name.
var Needs = []Need{
	{Service: "kinesis", Operation: "ListShards", Actions: []string{"kinesis:ListShards"}, By: Worker},
	{Service: "kinesis", Operation: "DescribeStreamSummary", Actions: []string{"kinesis:DescribeStreamSummary"}, By: Worker},
	{Service: "kinesis", Operation: "GetShardIterator", Actions: []string{"kinesis:GetShardIterator"}, By: Worker},
	{
		Service: "kinesis", Operation: "GetRecords", Actions: []string{"kinesis:GetRecords", "kms:Decrypt"}, By: Worker,
		Reason: "a stream that a key of the customer's encrypts is decrypted for the caller (Kinesis guide, server-side encryption)",
	},
	{
		Service: "kinesis", Operation: "PutRecords", Actions: []string{"kinesis:PutRecords", "kms:GenerateDataKey"}, By: Operator,
		Reason: "the same, for writers",
	},
	{Service: "kinesis", Operation: "CreateStream", Actions: []string{"kinesis:CreateStream"}, By: Operator},
	{Service: "kinesis", Operation: "DeleteStream", By: Nobody},
	{Service: "kinesis", Operation: "SplitShard", By: Nobody},
	{Service: "kinesis", Operation: "MergeShards", By: Nobody},

	{
		Service: "redshift-data", Operation: "ExecuteStatement", Actions: append([]string{"redshift-data:ExecuteStatement"}, LogIn...), By: Worker,
		Reason: "the Data API logs in with the caller's permissions (Redshift guide, authorizing access to the Data API)",
	},
	{
		Service: "redshift-data", Operation: "BatchExecuteStatement", Actions: append([]string{"redshift-data:BatchExecuteStatement"}, LogIn...), By: Worker,
		Reason: "the same",
	},
	{Service: "redshift-data", Operation: "DescribeStatement", Actions: []string{"redshift-data:DescribeStatement"}, By: Worker},
	{Service: "redshift-data", Operation: "GetStatementResult", Actions: []string{"redshift-data:GetStatementResult"}, By: Worker},
	{Service: "redshift-data", Operation: "CancelStatement", Actions: []string{"redshift-data:CancelStatement"}, By: Operator},
	{Service: "redshift-data", Operation: "ListStatements", Actions: []string{"redshift-data:ListStatements"}, By: Operator},

	{Service: "dynamodb", Operation: "DescribeTable", Actions: []string{"dynamodb:DescribeTable"}, By: Worker},
	{Service: "dynamodb", Operation: "CreateTable", Actions: []string{"dynamodb:CreateTable"}, By: Worker},
	{Service: "dynamodb", Operation: "Scan", Actions: []string{"dynamodb:Scan"}, By: Worker},
	{Service: "dynamodb", Operation: "PutItem", Actions: []string{"dynamodb:PutItem"}, By: Worker},
	{Service: "dynamodb", Operation: "UpdateItem", Actions: []string{"dynamodb:UpdateItem"}, By: Worker},
	{Service: "dynamodb", Operation: "DeleteItem", Actions: []string{"dynamodb:DeleteItem"}, By: Worker, Rare: true, Reason: "a lease is removed once its shard has left the stream's retention"},
	{Service: "dynamodb", Operation: "GetItem", Actions: []string{"dynamodb:GetItem"}, By: Worker, Rare: true, Reason: "a row is looked at once a write of it was refused and the refusal did not show it"},

	{
		Service: "s3", Operation: "PutObject", Actions: []string{"s3:PutObject", "kms:GenerateDataKey"}, By: Worker,
		Reason: "a bucket that a key of the customer's encrypts (S3 guide, SSE-KMS)",
	},
	{
		Service: "s3", Operation: "GetObject", Actions: []string{"s3:GetObject", "s3:ListBucket", "kms:Decrypt"}, By: Worker,
		Reason: "without ListBucket an object that is not there is answered by 403, and not 404 (S3 API, GetObject)",
	},
	{Service: "s3", Operation: "ListObjectsV2", Actions: []string{"s3:ListBucket"}, By: Worker, Reason: "the operation has another name than the action"},
	{Service: "s3", Operation: "DeleteObject", Actions: []string{"s3:DeleteObject"}, By: Worker, Rare: true, Reason: "one staged file alone is removed, as after a load that failed"},
	{Service: "s3", Operation: "DeleteObjects", Actions: []string{"s3:DeleteObject"}, By: Worker, Reason: "the operation has another name than the action"},
	{Service: "s3", Operation: "CreateBucket", By: Nobody},

	{Service: "cloudwatch", Operation: "PutMetricData", Actions: []string{"cloudwatch:PutMetricData"}, By: Worker},
	{Service: "autoscaling", Operation: "DescribeAutoScalingInstances", Actions: []string{"autoscaling:DescribeAutoScalingInstances"}, By: Worker},
	{Service: "autoscaling", Operation: "DescribeLifecycleHooks", Actions: []string{"autoscaling:DescribeLifecycleHooks"}, By: Worker},
	{Service: "autoscaling", Operation: "CompleteLifecycleAction", Actions: []string{"autoscaling:CompleteLifecycleAction"}, By: Worker},
	{Service: "sts", Operation: "GetCallerIdentity", By: Worker, Reason: "needs no permission (STS API)"},
}

// NeedOf is the row of Needs for a call.
func NeedOf(service, operation string) (Need, bool) {
	i := slices.IndexFunc(Needs, func(n Need) bool { return n.Service == service && n.Operation == operation })
	if i < 0 {
		return Need{}, false
	}
	return Needs[i], true
}

// Allows reports whether a policy allows an action on a resource, its conditions
// taken to hold.
func (p Policy) Allows(action, resource string) bool {
	return slices.ContainsFunc(p.Statement, func(s Statement) bool {
		return s.Effect == "Allow" && slices.Contains(s.Action, action) &&
			slices.ContainsFunc(s.Resource, func(pattern string) bool { return matches(pattern, resource) })
	})
}

// matches is IAM's comparison of resources: a star is any text.
func matches(pattern, text string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for i := range len(text) + 1 {
		if matches(rest, text[i:]) {
			return true
		}
	}
	return false
}
