package aws

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
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

// verdicts lists every code that is told apart, and what becomes of it.
var verdicts = []struct {
	operation string
	status    int
	want      error    // nil: no verdict
	codes     []string // each by itself
	messages  []string // each with each code; none is the empty one
}{
	{"Kinesis.GetRecords", 400, stream.ErrThrottled, []string{"ProvisionedThroughputExceededException", "KMSThrottlingException", "LimitExceededException", "ThrottlingException"}, nil},
	{"Kinesis.GetRecords", 400, errExpired, []string{"ExpiredIteratorException", "InvalidArgumentException"}, nil},
	{"Kinesis.GetRecords", 400, stream.ErrGone, []string{"ResourceNotFoundException"}, nil},
	{"Kinesis.GetRecords", 400, stream.ErrDenied, []string{
		"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "MissingAuthenticationTokenException",
		"KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException", "KMSOptInRequired",
	}, nil},
	{"Kinesis.GetRecords", 400, stream.ErrDenied, []string{"InvalidSignatureException"}, []string{
		"Signature expired: 20261126T080000Z is now earlier than 20261126T080500Z",
		"Signature not yet current: 20261126T081000Z is still later than 20261126T080500Z",
	}},
	{"Kinesis.GetRecords", 403, stream.ErrDenied, []string{"InvalidClientTokenId"}, nil},
	{"Kinesis.GetRecords", 500, nil, []string{"InternalFailureException"}, nil},
	{"Kinesis.GetRecords", 400, nil, []string{"SomethingNew"}, nil},
	{"Kinesis.GetShardIterator", 400, stream.ErrBadPosition, []string{"InvalidArgumentException", "ValidationException"}, nil},
	{"Kinesis.GetShardIterator", 400, stream.ErrGone, []string{"ResourceNotFoundException"}, nil},
	{"Kinesis.CreateStream", 400, fs.ErrExist, []string{"ResourceInUseException"}, nil},
	{"Kinesis.CreateStream", 400, nil, []string{"InvalidArgumentException"}, nil},

	{execute, 400, warehouse.ErrThrottled, []string{"ThrottlingException"}, []string{"Rate exceeded"}},
	{execute, 400, warehouse.ErrThrottled, []string{"ActiveStatementsExceededException", "ActiveSessionsExceededException"}, nil},
	{execute, 400, warehouse.ErrThrottled, []string{"ValidationException"}, []string{"Service returned error code ThrottlingException (Service: RedshiftServerless)", "Rate exceeded"}},
	{execute, 400, nil, []string{"ValidationException"}, []string{
		"Redshift endpoint doesn't exist in this region.", "Workgroup w not found", "Secret s does not hold a user", "Database d is not there", "DbUser is wrong", "request too large",
	}},
	{execute, 400, nil, []string{"ResourceNotFoundException"}, nil},
	{execute, 400, warehouse.ErrUnavailable, []string{"ValidationException"}, []string{"Cluster c is paused"}},
	{execute, 400, warehouse.ErrUnavailable, []string{"QueryTimeoutException"}, nil},
	{execute, 500, warehouse.ErrUnavailable, []string{"DatabaseConnectionException", "InternalServerException", "BatchExecuteStatementException"}, nil},
	{execute, 400, warehouse.ErrDenied, []string{"AccessDeniedException", "ExpiredTokenException", "OptInRequired"}, nil},
	{batch, 400, warehouse.ErrRejected, []string{"ValidationException"}, []string{"request too large"}},
	{batch, 413, warehouse.ErrRejected, []string{"RequestEntityTooLarge"}, nil},
	{batch, 400, warehouse.ErrThrottled, []string{"ThrottlingException"}, nil},
	{batch, 400, warehouse.ErrDenied, []string{"AccessDeniedException"}, nil},

	{"S3.GetObject", 404, fs.ErrNotExist, []string{"NoSuchKey", "NoSuchBucket"}, nil},
	{"S3.PutObject", 403, fs.ErrPermission, []string{"AccessDenied", "Forbidden", "SignatureDoesNotMatch", "RequestTimeTooSkewed"}, nil},
	{"S3.PutObject", 400, fs.ErrPermission, []string{"ExpiredToken"}, nil},
	{"S3.PutObject", 301, nil, []string{"PermanentRedirect"}, nil},
	{"S3.PutObject", 503, nil, []string{"SlowDown"}, nil},
	{"S3.ListObjectsV2", 403, fs.ErrPermission, []string{"AccessDenied"}, nil},
	{"CloudWatch.PutMetricData", 403, nil, []string{"AccessDenied"}, nil},
}

const (
	execute = "Redshift Data.ExecuteStatement"
	batch   = "Redshift Data.BatchExecuteStatement"
)

func TestVerdicts(t *testing.T) {
	for _, c := range verdicts {
		for _, code := range c.codes {
			for _, message := range append(c.messages, "")[:max(1, len(c.messages))] {
				checkVerdict(t, Refusal{Operation: c.operation, Status: c.status, Code: code, Message: message}, c.want)
			}
		}
	}
}

// checkVerdict wants the refusal, as the SDK returns it, to be of the one verdict and of no other.
func checkVerdict(t *testing.T, refused Refusal, want error) {
	t.Helper()
	service, _, _ := strings.Cut(refused.Operation, ".")
	judge := map[string]func(context.Context, string, error) error{
		"Kinesis": kinesisFailed, "Redshift Data": warehouseFailed, "S3": objectFailed, "CloudWatch": failed,
	}[service]
	err := judge(t.Context(), "do a thing", sdkError(refused.Operation, refused.Status, refused.Code, refused.Message))
	for _, verdict := range []error{
		stream.ErrThrottled, stream.ErrGone, stream.ErrBadPosition, stream.ErrDenied, errExpired,
		warehouse.ErrThrottled, warehouse.ErrConflict, warehouse.ErrUnavailable, warehouse.ErrDenied, warehouse.ErrRejected,
		fs.ErrNotExist, fs.ErrPermission, fs.ErrExist,
	} {
		if got := errors.Is(err, verdict); got != (verdict == want) {
			t.Errorf("%v: is %q: %v", refused, verdict, got)
		}
	}
	var r Refusal
	if !errors.As(err, &r) || r.Code != refused.Code || r.Operation != refused.Operation || r.Status != refused.Status {
		t.Errorf("%v: is of %+v", refused, r)
	}
	// Only a refused permission is mended by one.
	if r.Forbidden() != (strings.HasPrefix(refused.Code, "AccessDenied") || refused.Code == "Forbidden") {
		t.Errorf("%v: %v", refused, r.Forbidden())
	}
	for _, part := range []string{"do a thing: ", refused.Code} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: %q does not say %q", refused, err, part)
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

// Nothing listens: the address is all that there is to say, and what the errors are
// stays to be asked.
func TestARefusedConnectionIsSaidInAFewWords(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
	dial := &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	sdk := &smithy.OperationError{ServiceID: "Redshift Data", OperationName: "ExecuteStatement", Err: &smithyhttp.RequestSendError{Err: dial}}
	err := warehouseFailed(t.Context(), "submit", sdk)
	if want := "submit: " + warehouse.ErrUnavailable.Error() + ": nothing listens on 127.0.0.1:9"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if Unheard(err) != addr.String() || !Unreached(err) || !errors.Is(err, warehouse.ErrUnavailable) || !errors.Is(err, syscall.ECONNREFUSED) || refusalOf(err).Operation == "" {
		t.Errorf("the error has forgotten what it is: %+v", err)
	}
	dial.Err = os.NewSyscallError("read", syscall.ECONNRESET)
	if err := warehouseFailed(t.Context(), "submit", sdk); Unheard(err) != "" || strings.Contains(err.Error(), "nothing listens") {
		t.Errorf("a broken connection is %v", err)
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
