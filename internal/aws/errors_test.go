package aws

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// sdkError is an error as a call of the SDK returns it.
func sdkError(operation string, status int, code, message string) error {
	service, call, _ := strings.Cut(operation, ".")
	return &smithy.OperationError{ServiceID: service, OperationName: call, Err: &awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status, Header: http.Header{}}},
			Err:      &smithy.GenericAPIError{Code: code, Message: message},
		},
	}}
}

// TestVerdicts lists every code that is told apart, and what becomes of it.
func TestVerdicts(t *testing.T) {
	const (
		getRecords = "Kinesis.GetRecords"
		iterator   = "Kinesis.GetShardIterator"
		create     = "Kinesis.CreateStream"
		execute    = "Redshift Data.ExecuteStatement"
		batch      = "Redshift Data.BatchExecuteStatement"
		putObject  = "S3.PutObject"
		getObject  = "S3.GetObject"
	)
	roles := map[string]func(context.Context, string, error) error{
		"Kinesis": kinesisFailed, "Redshift Data": warehouseFailed, "S3": objectFailed, "CloudWatch": failed,
	}
	for _, c := range []struct {
		operation string
		status    int
		code      string
		message   string
		want      error // nil: no verdict
	}{
		{getRecords, 400, "ProvisionedThroughputExceededException", "", stream.ErrThrottled},
		{getRecords, 400, "KMSThrottlingException", "", stream.ErrThrottled},
		{getRecords, 400, "LimitExceededException", "", stream.ErrThrottled},
		{getRecords, 400, "ThrottlingException", "", stream.ErrThrottled},
		{getRecords, 400, "ExpiredIteratorException", "", errExpired},
		{getRecords, 400, "InvalidArgumentException", "", errExpired},
		{getRecords, 400, "ResourceNotFoundException", "", stream.ErrGone},
		{getRecords, 400, "AccessDeniedException", "", stream.ErrDenied},
		{getRecords, 400, "UnrecognizedClientException", "", stream.ErrDenied},
		{getRecords, 400, "InvalidSignatureException", "", stream.ErrDenied},
		{getRecords, 400, "InvalidSignatureException", "Signature expired: 20261126T080000Z is now earlier than 20261126T080500Z", stream.ErrDenied},
		{getRecords, 400, "InvalidSignatureException", "Signature not yet current: 20261126T081000Z is still later than 20261126T080500Z", stream.ErrDenied},
		{getRecords, 403, "InvalidClientTokenId", "", stream.ErrDenied},
		{getRecords, 400, "ExpiredTokenException", "", stream.ErrDenied},
		{getRecords, 400, "MissingAuthenticationTokenException", "", stream.ErrDenied},
		{getRecords, 400, "KMSAccessDeniedException", "", stream.ErrDenied},
		{getRecords, 400, "KMSDisabledException", "", stream.ErrDenied},
		{getRecords, 400, "KMSInvalidStateException", "", stream.ErrDenied},
		{getRecords, 400, "KMSNotFoundException", "", stream.ErrDenied},
		{getRecords, 400, "KMSOptInRequired", "", stream.ErrDenied},
		{getRecords, 500, "InternalFailureException", "", nil},
		{getRecords, 400, "SomethingNew", "", nil},
		{iterator, 400, "InvalidArgumentException", "", stream.ErrBadPosition},
		{iterator, 400, "ValidationException", "", stream.ErrBadPosition},
		{iterator, 400, "ResourceNotFoundException", "", stream.ErrGone},
		{create, 400, "ResourceInUseException", "", fs.ErrExist},
		{create, 400, "InvalidArgumentException", "", nil},

		{execute, 400, "ThrottlingException", "Rate exceeded", warehouse.ErrThrottled},
		{execute, 400, "ActiveStatementsExceededException", "", warehouse.ErrThrottled},
		{execute, 400, "ActiveSessionsExceededException", "", warehouse.ErrThrottled},
		{execute, 400, "ValidationException", "Service returned error code ThrottlingException (Service: RedshiftServerless)", warehouse.ErrThrottled},
		{execute, 400, "ValidationException", "Rate exceeded", warehouse.ErrThrottled},
		{execute, 400, "ValidationException", "Redshift endpoint doesn't exist in this region.", nil},
		{execute, 400, "ValidationException", "Workgroup w not found", nil},
		{execute, 400, "ValidationException", "Secret s does not hold a user", nil},
		{execute, 400, "ValidationException", "Database d is not there", nil},
		{execute, 400, "ValidationException", "DbUser is wrong", nil},
		{execute, 400, "ValidationException", "Cluster c is paused", warehouse.ErrUnavailable},
		{execute, 400, "AccessDeniedException", "", warehouse.ErrDenied},
		{execute, 400, "QueryTimeoutException", "", warehouse.ErrUnavailable},
		{execute, 500, "DatabaseConnectionException", "", warehouse.ErrUnavailable},
		{execute, 500, "InternalServerException", "", warehouse.ErrUnavailable},
		{execute, 500, "BatchExecuteStatementException", "", warehouse.ErrUnavailable},
		{execute, 400, "ResourceNotFoundException", "", nil},
		{execute, 400, "ValidationException", "request too large", nil},
		{batch, 400, "ValidationException", "request too large", warehouse.ErrRejected},
		{batch, 413, "RequestEntityTooLarge", "", warehouse.ErrRejected},
		{batch, 400, "ThrottlingException", "", warehouse.ErrThrottled},
		{batch, 400, "AccessDeniedException", "", warehouse.ErrDenied},

		{getObject, 404, "NoSuchKey", "", fs.ErrNotExist},
		{getObject, 404, "NoSuchBucket", "", fs.ErrNotExist},
		{putObject, 403, "AccessDenied", "", fs.ErrPermission},
		{putObject, 403, "Forbidden", "", fs.ErrPermission},
		{putObject, 403, "SignatureDoesNotMatch", "", fs.ErrPermission},
		{putObject, 403, "RequestTimeTooSkewed", "", fs.ErrPermission},
		{putObject, 400, "ExpiredToken", "", fs.ErrPermission},
		{execute, 400, "ExpiredTokenException", "", warehouse.ErrDenied},
		{execute, 400, "OptInRequired", "", warehouse.ErrDenied},
		{putObject, 301, "PermanentRedirect", "", nil},
		{putObject, 503, "SlowDown", "", nil},
		{"S3.ListObjectsV2", 403, "AccessDenied", "", fs.ErrPermission},
		{"CloudWatch.PutMetricData", 403, "AccessDenied", "", nil},
	} {
		service, _, _ := strings.Cut(c.operation, ".")
		err := roles[service](t.Context(), "do a thing", sdkError(c.operation, c.status, c.code, c.message))
		for _, verdict := range []error{
			stream.ErrThrottled, stream.ErrGone, stream.ErrBadPosition, stream.ErrDenied, errExpired,
			warehouse.ErrThrottled, warehouse.ErrConflict, warehouse.ErrUnavailable, warehouse.ErrDenied, warehouse.ErrRejected,
			fs.ErrNotExist, fs.ErrPermission, fs.ErrExist,
		} {
			if got := errors.Is(err, verdict); got != (verdict == c.want) {
				t.Errorf("%s %s %q: is %q: %v", c.operation, c.code, c.message, verdict, got)
			}
		}
		var r Refusal
		if !errors.As(err, &r) || r.Code != c.code || r.Operation != c.operation || r.Status != c.status {
			t.Errorf("%s %s: is of %+v", c.operation, c.code, r)
		}
		// Only a refused permission is mended by one.
		if r.Forbidden() != (strings.HasPrefix(c.code, "AccessDenied") || c.code == "Forbidden") {
			t.Errorf("%s %s: %v", c.operation, c.code, r.Forbidden())
		}
		for _, part := range []string{"do a thing: ", c.code} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s %s: %q does not say %q", c.operation, c.code, err, part)
			}
		}
	}
}

func TestACallThatWasNotAnswered(t *testing.T) {
	lost := &smithy.OperationError{ServiceID: "Redshift Data", OperationName: "ExecuteStatement", Err: errors.New("connection reset by peer")}
	if !unanswered(lost) || !unanswered(sdkError("x.y", 500, "InternalServerException", "")) {
		t.Error("a lost reply counts as an answer")
	}
	for _, code := range []string{"ValidationException", "ThrottlingException"} {
		if unanswered(sdkError("x.y", 400, code, "")) {
			t.Errorf("%s does not count as an answer", code)
		}
	}
	if unanswered(sdkError("x.y", 503, "SlowDown", "")) {
		t.Error("a throttle counts as a lost reply")
	}
	if err := warehouseFailed(t.Context(), "submit", lost); !errors.Is(err, warehouse.ErrUnavailable) {
		t.Errorf("got %v, want it to be unavailable", err)
	}
}

func TestTheCallersEndIsNotTheServicesFault(t *testing.T) {
	lost := errors.New("canceled")
	draining := errors.New("draining")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(draining)
	if err := warehouseFailed(ctx, "submit", lost); !errors.Is(err, draining) || errors.Is(err, warehouse.ErrUnavailable) {
		t.Errorf("caller's end: got %v", err)
	}
	ctx, stop := bounded(t.Context(), 0)
	defer stop()
	<-ctx.Done()
	if err := warehouseFailed(ctx, "submit", lost); !errors.Is(err, warehouse.ErrUnavailable) || !strings.Contains(err.Error(), "no answer within 0s") {
		t.Errorf("our deadline: got %v", err)
	}
}

// TestStatementKinds: the Data API gives the engine's words and no code.
func TestStatementKinds(t *testing.T) {
	for _, c := range []struct {
		text string
		want error
	}{
		{"ERROR: 1023\nDetail: Serializable isolation violation on table - 100123, transactions forming the cycle are: 1, 2", warehouse.ErrConflict},
		{"ERROR: 1018 Relation does not exist", warehouse.ErrConflict},
		{"1023", warehouse.ErrConflict},
		{"ERROR: could not serialize access due to concurrent update", warehouse.ErrConflict},
		{"ERROR: deadlock detected", warehouse.ErrConflict},
		{"Transaction conflict: cannot update a table that has been altered", warehouse.ErrConflict},
		{"Connection refused. Check that the hostname and port are correct", warehouse.ErrUnavailable},
		{"FATAL: database \"analytics\" does not exist", warehouse.ErrUnavailable},
		{"The cluster is paused", warehouse.ErrUnavailable},
		{"ERROR: cluster is in maintenance mode", warehouse.ErrUnavailable},
		{"ERROR: the cluster is resizing", warehouse.ErrUnavailable},
		{"terminating: the database system is shutting down", warehouse.ErrUnavailable},
		{"ERROR: Out of Memory", warehouse.ErrEnded},
		{"ERROR: Disk Full", warehouse.ErrFull},
		{"ERROR: Query (1234) cancelled on user's request", warehouse.ErrEnded},
		{"ERROR: Query timed out", warehouse.ErrEnded},
		{"ERROR: Query (28572825) cancelled on user's request", warehouse.ErrEnded},
		{"ERROR: could not complete because of conflict with concurrent transaction", warehouse.ErrConflict},
		{"FATAL: IAM Authentication token has expired", warehouse.ErrUnavailable},
		// Statements that were ended from outside: WLM, a query monitoring rule.
		{"ERROR: abort query", warehouse.ErrEnded},
		{"abort query", warehouse.ErrEnded},
		{"ERROR: 1020 DETAIL: system requested abort", warehouse.ErrEnded},
		{"ERROR: Query aborted by a query monitoring rule", warehouse.ErrEnded},
		{"ERROR: canceling statement due to statement timeout", warehouse.ErrEnded},
		// Tables that another transaction put another in the place of.
		{"ERROR: could not open relation with OID 123456789", warehouse.ErrUnavailable},
		{"ERROR: Relation with OID 15170212 does not exist", warehouse.ErrUnavailable},
		{"ERROR: cache lookup failed for relation 4711", warehouse.ErrUnavailable},
		{"ERROR: table 1234 dropped by concurrent transaction", warehouse.ErrUnavailable},
		// COPY's troubles with S3.
		{"ERROR: S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid A,CanRetry 1", warehouse.ErrUnavailable},
		{"ERROR: S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown,Rid A,CanRetry 1", warehouse.ErrUnavailable},
		{"ERROR: S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid A,CanRetry 1", warehouse.ErrDenied},
		{"ERROR: Problem reading manifest file - S3ServiceException:...", warehouse.ErrUnavailable},
		{"ERROR: Disk quota exceeded", warehouse.ErrEnded},
		// Throttles of others, passed on in words.
		{"ERROR: Rate exceeded", warehouse.ErrThrottled},
		{"ERROR: ThrottlingException from STS", warehouse.ErrThrottled},
		// A row as PostgreSQL shows it may say anything.
		{`ERROR: new row for relation "fact_orders" violates check constraint "c" DETAIL: Failing row contains (o-1, abort, cancelled, timeout).`, nil},
		{`ERROR: duplicate key value violates unique constraint "k" DETAIL: Key (order_id)=(abort query) already exists.`, nil},
		{"ERROR: Cannot insert a NULL value into column item_count", nil},
		{"ERROR: String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: ef b7 af (error 6)", nil},
		{"ERROR: Load into table 'load_incoming' failed.  Check 'sys_load_error_detail' system table for details.", nil},
		{"ERROR: Numeric data overflow (result precision)", nil},
		{"ERROR: permission denied for relation fact_orders", warehouse.ErrDenied},
		{"ERROR: must be owner of relation fact_orders", warehouse.ErrDenied},
		{`ERROR: relation "fact_orders" does not exist`, warehouse.ErrNoTable},
		{`ERROR: column "stream_arn" of relation "worker_checkpoints" does not exist`, warehouse.ErrNoTable},
		{`ERROR: column c.stream_arn does not exist`, warehouse.ErrNoTable},
		{"ERROR: value too long for type character varying(100)", nil},
		{"ERROR: value too long for type character varying(1023)", nil},
		{`ERROR: invalid input syntax for integer: "deadlock conflict timeout"`, nil},
		{"ERROR: value 'connection out of memory' is bad", nil},
		{"ERROR: syntax error at or near \"FROM\"", nil},
		{"ERROR: numeric field overflow", nil},
		{"", nil},
	} {
		if got := statementKind(c.text); got != c.want {
			t.Errorf("%q: got %v, want %v", c.text, got, c.want)
		}
	}
}

// Refusals of the credentials and of the stream's key are told from those of a
// permission: the next step is another one.
func TestRefusalsAreToldApart(t *testing.T) {
	for code, want := range map[string][2]bool{ // credentials, key
		"AccessDeniedException": {false, false}, "ExpiredTokenException": {true, false}, "InvalidSignatureException": {true, false},
		"UnrecognizedClientException": {true, false}, "KMSDisabledException": {false, true}, "KMSAccessDeniedException": {false, true},
		"KMSThrottlingException": {false, false}, "ResourceNotFoundException": {false, false},
	} {
		err := kinesisFailed(t.Context(), "read", sdkError("Kinesis.GetRecords", 400, code, "no"))
		var r Refusal
		if got := [2]bool{errors.As(err, &r) && r.Unauthenticated(), r.KeyRefused()}; got != want {
			t.Errorf("%s: %v, want %v", code, got, want)
		}
	}
}

// A signature that is refused for its time is a matter of the clock, not of the keys.
func TestARefusedSignatureMayBeTheClocks(t *testing.T) {
	for message, want := range map[string]bool{
		"": false, "The request signature we calculated does not match": false,
		"Signature expired: 20261126T080000Z is now earlier than 20261126T080500Z":         true,
		"Signature not yet current: 20261126T081000Z is still later than 20261126T080500Z": true,
	} {
		if got := (Refusal{Code: "InvalidSignatureException", Message: message}).OffTime(); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
	if !(Refusal{Code: "RequestTimeTooSkewed"}).OffTime() {
		t.Error("S3's word for it is not known")
	}
}

// Action names the permission of a call as IAM does.
func TestActionOfACall(t *testing.T) {
	for operation, want := range map[string]string{
		"Kinesis.GetRecords": "kinesis:GetRecords", "Redshift Data.BatchExecuteStatement": "redshift-data:BatchExecuteStatement",
		"S3.PutObject": "s3:PutObject", "S3.ListObjectsV2": "s3:ListBucket", "S3.HeadBucket": "s3:ListBucket", "S3.DeleteObjects": "s3:DeleteObject",
		"CloudWatch.PutMetricData": "cloudwatch:PutMetricData", "STS.GetCallerIdentity": "sts:GetCallerIdentity",
		"DynamoDB.Scan": "dynamodb:Scan", "Auto Scaling.CompleteLifecycleAction": "autoscaling:CompleteLifecycleAction", "": "", "Other.Thing": "",
	} {
		if got := (Refusal{Operation: operation}).Action(); got != want {
			t.Errorf("%s: %q, want %q", operation, got, want)
		}
	}
}
