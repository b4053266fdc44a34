package aws

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// errExpired: the shard iterator is too old, or of a stream made anew. It never
// leaves the package: the reader takes another iterator.
var errExpired = errors.New("shard iterator expired")

// refusal is what a service said of a failed call. Code is empty where no
// service answered (a lost connection, a timeout).
type refusal struct {
	Code      string
	Message   string
	Status    int
	Operation string // as the SDK names it: "Kinesis.GetRecords"
}

// noCode is what the SDK calls an error of which the reply says nothing.
const noCode = "UnknownError"

func refusalOf(err error) refusal {
	var r refusal
	var api smithy.APIError
	if errors.As(err, &api) {
		r.Code, r.Message = api.ErrorCode(), api.ErrorMessage()
	}
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		r.Status = response.HTTPStatusCode()
	}
	if r.Code == noCode && (r.Message == "" || r.Message == noCode) {
		// A gateway's page, or an empty one: its status is all that it says.
		r.Message = fmt.Sprintf("the reply names no error, its status is HTTP %d %s", r.Status, http.StatusText(r.Status))
	}
	var op *smithy.OperationError
	if errors.As(err, &op) {
		r.Operation = op.Service() + "." + op.Operation()
	}
	return r
}

// throttled: codes by which any service asks for fewer calls.
func throttled(code string) bool {
	switch code {
	case "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
		"RequestLimitExceeded", "TooManyRequestsException", "LimitExceededException", "LimitExceeded", "SlowDown",
		"BandwidthLimitExceeded", "PriorRequestNotComplete", "EC2ThrottledException",
		"ProvisionedThroughputExceededException", "KMSThrottlingException":
		return true
	}
	return false
}

// denied: codes by which any service says that this caller may not.
func denied(code string) bool {
	if unauthenticated(code) {
		return true
	}
	switch code {
	case "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "NotAuthorized", "OptInRequired",
		"KMSAccessDeniedException", "KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException", "KMSOptInRequired":
		return true
	}
	return false
}

// kinesisVerdict says which error of the stream package a refusal is, or nil.
func kinesisVerdict(r refusal) error {
	switch {
	case throttled(r.Code):
		return stream.ErrThrottled
	case denied(r.Code):
		return stream.ErrDenied
	}
	switch r.Code {
	case "ResourceNotFoundException":
		return stream.ErrGone
	case "ExpiredIteratorException":
		return errExpired
	case "ResourceInUseException":
		if r.Operation == "Kinesis.CreateStream" {
			return fs.ErrExist
		}
	case "InvalidArgumentException", "ValidationException":
		switch r.Operation {
		case "Kinesis.GetShardIterator":
			return stream.ErrBadPosition
		case "Kinesis.GetRecords":
			return errExpired // an iterator of a stream that was deleted and made anew
		}
	}
	return nil
}

// warehouseVerdict says which error of the warehouse package a refused call of
// the Redshift Data API is, or nil.
func warehouseVerdict(r refusal) error {
	switch {
	case throttled(r.Code):
		return warehouse.ErrThrottled
	case denied(r.Code):
		return warehouse.ErrDenied
	case r.Code == "", r.Status >= http.StatusInternalServerError:
		return warehouse.ErrUnavailable
	}
	switch r.Code {
	case "ActiveStatementsExceededException", "ActiveSessionsExceededException":
		return warehouse.ErrTooMany
	case "DatabaseConnectionException", "QueryTimeoutException":
		return warehouse.ErrUnavailable
	case "ValidationException":
		// Redshift Serverless passes a throttle of its own on in words.
		if throttleText.MatchString(r.Message) {
			return warehouse.ErrThrottled
		}
		if unavailableText.MatchString(r.Message) || endedText.MatchString(r.Message) {
			return warehouse.ErrUnavailable
		}
	}
	if r.Operation == "Redshift Data.BatchExecuteStatement" {
		// The call itself is refused: for what it says, or for its size.
		return warehouse.ErrRejected
	}
	return nil
}

// objectVerdict says which error of io/fs a refusal of S3 is, or nil.
func objectVerdict(r refusal) error {
	switch {
	case denied(r.Code), r.Status == http.StatusForbidden:
		return fs.ErrPermission
	case r.Code == "NoSuchKey", r.Code == "NotFound", r.Code == "NoSuchBucket":
		return fs.ErrNotExist
	}
	return nil
}

// unanswered reports whether the call may have taken effect although it failed:
// the reply was lost, or the service failed in the middle.
func unanswered(err error) bool {
	r := refusalOf(err)
	if throttled(r.Code) {
		return false // some services throttle with 503
	}
	return r.Code == "" || r.Status >= http.StatusInternalServerError
}

// advice is what to do about a refusal, as the end of an error text.
func advice(r refusal) string {
	switch {
	case strings.HasPrefix(r.Code, "KMS"):
		return keyAdvice(r.Code)
	case unauthenticated(r.Code):
		return credentialAdvice(r)
	case r.Code == "ProvisionedThroughputExceededException" && r.Operation == "Kinesis.GetRecords":
		return "; all that poll a shard share its 5 calls/s and 2 MiB/s"
	case strings.HasPrefix(r.Code, "AccessDenied") || r.Code == "AllAccessDisabled" || r.Status == http.StatusForbidden && r.Code == "Forbidden":
		if action := iamAction(r.Operation); action != "" {
			return "; the caller's IAM role must allow " + action
		}
	case r.Code == "OptInRequired":
		return "; enable the service and the region in the AWS account"
	case r.Code == "ResourceNotFoundException" && strings.HasPrefix(r.Operation, "Kinesis."):
		return "; check KINESIS_STREAM_NAME and AWS_REGION"
	case r.Code == "ValidationException" && strings.HasPrefix(r.Operation, "Redshift Data."):
		return redshiftSetting(r.Message)
	case r.Code == "PermanentRedirect" || r.Code == "AuthorizationHeaderMalformed" || r.Code == "NoSuchBucket":
		return "; check the bucket's name and that it is in AWS_REGION"
	}
	return ""
}

// redshiftSetting names the setting that a ValidationException is about.
func redshiftSetting(message string) string {
	m := strings.ToLower(message)
	switch {
	case strings.Contains(m, "secret"):
		return "; check REDSHIFT_SECRET_ARN"
	case strings.Contains(m, "workgroup"):
		return "; check REDSHIFT_WORKGROUP and AWS_REGION"
	case strings.Contains(m, "cluster") || strings.Contains(m, "endpoint"):
		return "; check REDSHIFT_CLUSTER_ID and AWS_REGION"
	case strings.Contains(m, "database"):
		return "; check REDSHIFT_DATABASE"
	case strings.Contains(m, "user"):
		return "; check REDSHIFT_DB_USER"
	}
	return ""
}

func iamAction(operation string) string {
	service, call, _ := strings.Cut(operation, ".")
	switch service {
	case "Kinesis":
		return "kinesis:" + call
	case "Redshift Data":
		return "redshift-data:" + call
	case "CloudWatch":
		return "cloudwatch:" + call
	case "STS":
		return "sts:" + call
	case "Auto Scaling":
		return "autoscaling:" + call
	case "S3":
		switch call {
		case "ListObjectsV2", "HeadBucket":
			return "s3:ListBucket"
		case "DeleteObjects":
			return "s3:DeleteObject"
		}
		return "s3:" + call
	}
	return ""
}

// failed wraps the error of a call that no role has a verdict on.
func failed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing, err, func(refusal) error { return nil })
}

func kinesisFailed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing, err, kinesisVerdict)
}

func warehouseFailed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing, err, warehouseVerdict)
}

func objectFailed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing, err, objectVerdict)
}

// judged is the one place that turns an SDK error into one of ours: what was
// being done, the verdict, the service's words, and what to do next.
func judged(ctx context.Context, doing string, err error, verdict func(refusal) error) error {
	r := refusalOf(err)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if !errors.As(err, new(noAnswer)) {
			return fmt.Errorf("%s: %w", doing, err) // the caller's own end: no verdict on the service
		}
		r = refusal{Operation: r.Operation}
	}
	v := verdict(r)
	if r.Code != "" {
		passes := passing(err)
		err = fmt.Errorf("%s: %s%s", r.Code, r.Message, advice(r))
		switch {
		case passes:
			err = troubled{err}
		case unauthenticated(r.Code):
			err = badCredentials{err}
		case strings.HasPrefix(r.Code, "KMS"):
			err = badKey{err}
		}
	}
	if v != nil {
		return fmt.Errorf("%s: %w: %w", doing, v, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// troubled marks the refusal of a service that has trouble of its own.
type troubled struct{ error }

func (t troubled) Unwrap() error { return t.error }

// Troubled reports whether a service answered that it cannot now: it throttles, or
// fails by itself.
func Troubled(err error) bool { return errors.As(err, new(troubled)) }

// Unreached reports whether no service answered: it was not reached, or the
// connection broke, or time ran out.
func Unreached(err error) bool {
	var lost *smithyhttp.RequestSendError
	return errors.As(err, new(noAnswer)) || errors.As(err, &lost)
}

// The Data API reports the failure of a statement as the engine's text alone,
// with no code, so these patterns are all that there is to go by. They are
// matched against the text without the parts that may come from events: what is
// quoted, and the rows and keys that PostgreSQL shows beside a constraint.
var (
	eventText    = regexp.MustCompile(`(?s)"[^"]*"|'[^']*'|(?i)\bfailing row contains \(.*|\)=\(.*`)
	throttleText = regexp.MustCompile(`(?i)rate exceeded|throttl`)
	conflictText = regexp.MustCompile(`(?i)(^|error:|operation:|code:)\s*(1023|1018)\b|serializ|conflict|deadlock`)
	// Text of a warehouse that is away, restarting or resizing, of a table that
	// another one was put in the place of, and of COPY's troubles with S3, which are
	// about files and never about a row.
	unavailableText = regexp.MustCompile(`(?i)^\s*fatal:|connection|could not connect|unable to connect|paused|maintenance` +
		`|shut(ting)? ?down|resiz|read-only mode|starting up|recovery mode|restart|temporarily|try again` +
		`|relation with oid|cache lookup failed|dropped by (a )?concurrent|s3serviceexception|problem reading manifest`)
	// Text of a statement that was ended (by WLM, a monitoring rule, a timeout, an
	// administrator) or found no room: a smaller one may get through.
	fullText  = regexp.MustCompile(`(?i)disk full|no space left|out of disk`)
	endedText = regexp.MustCompile(`(?i)out of memory|insufficient memory|disk full|no space left|quota|cancel|time(d)? ?out` +
		`|\babort(ed|ing)?\b|(^|error:|operation:|code:)\s*1020\b|query monitoring`)
	deniedText  = regexp.MustCompile(`(?i)permission denied|must be owner|not authorized|password authentication failed|error accessdenied`)
	noTableText = regexp.MustCompile(`(?i)\brelation "" does not exist|\bcolumn \S+ (of relation "" )?does not exist`)
)

// statementKind tells what the text of a failed statement means, or nil where
// it is about the statement itself.
func statementKind(message string) error {
	plain := eventText.ReplaceAllString(message, `""`)
	switch {
	case conflictText.MatchString(plain):
		return warehouse.ErrConflict
	case deniedText.MatchString(plain):
		return warehouse.ErrDenied
	case noTableText.MatchString(plain):
		return warehouse.ErrNoTable
	case throttleText.MatchString(plain):
		return warehouse.ErrThrottled
	case unavailableText.MatchString(plain):
		return warehouse.ErrUnavailable
	case fullText.MatchString(plain):
		return warehouse.ErrFull
	case endedText.MatchString(plain):
		return warehouse.ErrEnded
	}
	return nil
}
