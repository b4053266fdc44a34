package aws

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"syscall"

	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// errExpired: the shard iterator is too old, or of a stream made anew. It never
// leaves the package: the reader takes another iterator.
var errExpired = errors.New("shard iterator expired")

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
func kinesisVerdict(r Refusal) error {
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
func warehouseVerdict(r Refusal) error {
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
func objectVerdict(r Refusal) error {
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

// failed wraps the error of a call that no role has a verdict on.
func failed(ctx context.Context, doing string, err error) error {
	return judged(ctx, doing, err, func(Refusal) error { return nil })
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
// being done, the verdict, and the service's words, as a Refusal.
func judged(ctx context.Context, doing string, err error, verdict func(Refusal) error) error {
	r := refusalOf(err)
	var late *lateError
	if ctx.Err() != nil {
		isLate := errors.As(err, &late) && errors.Is(ctx.Err(), context.DeadlineExceeded)
		err = why(ctx)
		switch {
		case isLate:
			late.last.Operation = r.Operation
			r = late.last
		case !errors.As(err, new(noAnswer)):
			return fmt.Errorf("%s: %w", doing, err) // the caller's own end: no verdict on the service
		default:
			r = Refusal{Operation: r.Operation}
		}
	}
	v := verdict(r)
	if r.Code != "" {
		err = r
	} else if addr := Unheard(err); addr != "" {
		err = &unheardError{addr, err}
	}
	if v != nil {
		return fmt.Errorf("%s: %w: %w", doing, v, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Unreached reports whether no service answered: it was not reached, or the
// connection broke, or time ran out.
func Unreached(err error) bool {
	var lost *smithyhttp.RequestSendError
	return errors.As(err, new(noAnswer)) || errors.As(err, &lost)
}

// Unheard is the address, host and port, whose connection was refused: nothing
// listens there. It is empty where the error comes of something else.
func Unheard(err error) string {
	var op *net.OpError
	if errors.Is(err, syscall.ECONNREFUSED) && errors.As(err, &op) && op.Addr != nil {
		return op.Addr.String()
	}
	return ""
}

// unheardError has the words for a refused connection: the SDK's name the attempts,
// a request that has no id, and a status of 0, and say this at their end.
type unheardError struct {
	addr string
	err  error
}

func (e *unheardError) Error() string { return "nothing listens on " + e.addr }

func (e *unheardError) Unwrap() error { return e.err }

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
