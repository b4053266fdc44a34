package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"syscall"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
	"github.com/cloudcafe/analytics-worker/internal/worker"
)

// advice is what to do about errors of one kind. Packages say what is wrong; what to
// do next is decided here alone, for the log (hint), doctor, status, the pages and
// the end of every verb, as only the program knows its settings and its verbs. A
// verdict takes it from here too (verdict.Trouble), and has next steps of its own for
// what no error tells: what waits, is behind, is rejected.
type advice struct {
	kind string
	is   func(error) bool
	next func(error) string
}

// nextStep is what to do about an error, or "" where nothing is known.
func nextStep(err error) string {
	if err == nil {
		return ""
	}
	for _, a := range advices {
		if a.is(err) {
			return a.next(err)
		}
	}
	return ""
}

// nextStepOf is what to do about the error of a call to a service, which may be empty.
func nextStepOf(service string, err error) string { return nextStep(&askedError{err, service}) }

// withNextStep is the error's text and what to do about it, in a line.
func withNextStep(err error) string {
	if next := nextStep(err); next != "" {
		return err.Error() + "; " + next
	}
	return err.Error()
}

// advices come in the order in which they are asked: what is special first. An error
// has the verdicts of all layers that it went through.
var advices = []advice{
	{"positions of another stream", is[*worker.OtherStreamError], func(err error) string {
		if as[*worker.OtherStreamError](err).Remade() {
			return startOver + " reads the new one from its oldest record; workers may go on"
		}
		return "load one of the two into a database of its own"
	}},
	{"a stream made anew", oneOf(worker.ErrRemade, stream.ErrBadPosition), always(startOver)},
	{"a lease table of another stream", wrong(lease.ForeignTable), always("set LEASE_TABLE to another name for one of the two; or delete the table if nobody reads the other stream any more")},
	{"a lease table that is gone", wrong(lease.NoTable), always("a running worker makes it again within seconds; if it stays away, see the log of the workers: is one running?")},
	{"a lease row that cannot be read", wrong(lease.UnreadableRow), always("delete the row from the lease table: it is made anew, and the warehouse knows the position")},
	{"an open shard that counts as read", wrong(lease.ReadToItsEnd), func(err error) string {
		return "analytics-worker positions --reset --shard " + as[*lease.Contradiction](err).Shard +
			" --to TRIM_HORIZON (workers may run on; what is loaded already changes nothing). If the stream was made anew: analytics-worker positions --start-over"
	}},
	{"a shard without a worker", wrong(lease.NoOwner), always("see the log of the workers for what keeps them from taking it; is one running?")},
	{"a shard that vanished", oneOf(lease.ErrVanished), always("raise the stream's retention, and keep workers running")},
	{"records trimmed unread", oneOf(worker.ErrTrimmed), always("raise the stream's retention, and add workers: they fell behind by more than the retention")},
	{"a shard that expired unread", oneOf(worker.ErrExpired), always("raise the stream's retention")},
	{"a final dead letter", oneOf(worker.ErrFinal), always("once its cause is mended: analytics-worker redrive --reason '" + deadletter.RefusedByWarehouse + "'")},
	{"a drain out of time", oneOf(service.ErrOverdue), always("if the warehouse needs longer, raise DRAIN_TIMEOUT, and the time that whatever stops the worker gives it")},
	{"no log file", oneOf(errLogFile), always("let the folder be there, and the worker's user write to it")},

	{"a clock that is off", refused(aws.Refusal.OffTime), always("this machine's clock is more than five minutes off AWS's: enable chrony or systemd-timesyncd")},
	{"expired credentials", code("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), always("the AWS credentials have expired: renew them. Those of a role and those in a file are read again by themselves, those in the environment at a restart")},
	{"a wrong secret key", code("InvalidSignatureException", "SignatureDoesNotMatch"), always("check the AWS credentials: the secret access key is not that of the access key")},
	{"an unknown access key", code("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken"), always("check the AWS credentials: AWS does not know the access key (is it deleted or disabled, is its session token missing or of another, is the region enabled in the account?)")},
	{"credentials that are refused", refused(aws.Refusal.Unauthenticated), always("check the AWS credentials")},
	{"KMS's rate", code("KMSThrottlingException"), always("the account's rate of calls to KMS is used up, which passes; if it stays, ask for a higher quota of KMS")},
	{"a key that may not be used", code("KMSAccessDeniedException"), always("allow kms:Decrypt on the stream's KMS key (and kms:GenerateDataKey to write) to the role of this caller, in IAM and in the key's policy")},
	{"a key that is disabled", code("KMSDisabledException"), always("enable the stream's KMS key")},
	{"a key that cannot be used now", code("KMSInvalidStateException"), always("see the stream's KMS key: is its deletion scheduled, or its material not imported?")},
	{"a key that is gone", code("KMSNotFoundException"), always("start the stream's encryption with another KMS key: the old one is not there")},
	{"a key", refused(aws.Refusal.KeyRefused), always("check the stream's KMS key")},
	{"the rate of a shard", refusedCall("Kinesis.GetRecords", "ProvisionedThroughputExceededException"), always("it passes; all that poll a shard share its 5 calls/s and 2 MiB/s: if it stays, see what else reads the stream, and give it enhanced fan-out")},
	{"the rate of the lease table", and(operation("DynamoDB."), oneOf(stream.ErrThrottled)), always("see the lease table's capacity (on demand is enough), and who else reads it")},
	{"a lease table that may not be used", and(refused(aws.Refusal.Forbidden), operation("DynamoDB.")), always("allow the worker's IAM role dynamodb:DescribeTable, CreateTable, Scan, GetItem, PutItem, UpdateItem and DeleteItem on the lease table")},
	{"a missing permission", and(refused(aws.Refusal.Forbidden), func(err error) bool { return as[aws.Refusal](err).Action() != "" }), func(err error) string {
		return "allow " + as[aws.Refusal](err).Action() + " to the IAM role of this caller; analytics-worker doctor shows what else is missing"
	}},
	{"a service that is not enabled", code("OptInRequired"), always("enable the service and the region in the AWS account")},
	{"no such stream", refusedCall("Kinesis.", "ResourceNotFoundException"), always("check KINESIS_STREAM_NAME and AWS_REGION, or create the stream: analytics-worker publish --create 4 --count 1")},
	{"no such bucket", code("NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed"), always("create the bucket in AWS_REGION, or correct the name in STAGING_URL or DEAD_LETTER_URL")},
	{"no table of leases", oneOf(aws.ErrNotLeases), always("set LEASE_TABLE to another name")},

	{"too many calls to the warehouse", oneOf(warehouse.ErrThrottled), always("ask again in a minute; if it stays, see what else calls the Redshift Data API, as its rates hold for the whole account, and raise LOAD_INTERVAL")},
	{"a service in trouble", aws.Troubled, func(err error) string {
		return "ask again in a minute; if it stays, see what else calls " + asked(err) + " in this account, and AWS's health page"
	}},
	{"nothing that listens here", func(err error) bool {
		host, _, _ := net.SplitHostPort(aws.Unheard(err))
		return net.ParseIP(host).IsLoopback()
	}, func(err error) string { return verdict.Down(aws.Unheard(err)).Step() }},
	{"no answer", func(err error) bool { return aws.Unreached(err) || oneOf(errQuickTime, errWarehouseTime)(err) }, func(err error) string {
		return "check the network path to " + asked(err) + " (security group, VPC endpoint, proxy), and AWS_ENDPOINT_URL if it is set"
	}},
	{"a lost transaction", oneOf(warehouse.ErrConflict), always("it passes; if it stays, see who else writes to the tables")},
	{"a missing table or column", oneOf(warehouse.ErrNoTable), always("analytics-worker schema --apply")},
	{"a missing grant", oneOf(warehouse.ErrDenied), always("grant the database user what the error names: analytics-worker schema --grants USER prints all of it")},
	{"a full warehouse", oneOf(warehouse.ErrFull), always("free space in the warehouse (drop or unload what nobody needs, and VACUUM), or resize it")},
	{"a warehouse that is away", oneOf(warehouse.ErrUnavailable, worker.ErrSilent), always("is the cluster paused, resizing or overloaded, or does a session hold worker_load_lock? analytics-worker doctor tells")},
	{"a setting of the warehouse", func(err error) bool { return redshiftSetting(err) != "" }, redshiftSetting},
	{"a checkpoint that is there twice", oneOf(warehouse.ErrTwice), always("analytics-worker verify tells more; nothing is loaded of the shard until one of the rows is deleted")},
	{"a refused statement", is[*warehouse.StatementError], always("analytics-worker doctor compares the tables with what the worker expects")},

	{"a full disk", folder(syscall.ENOSPC, syscall.EDQUOT), always("free some space or enlarge the volume: letters are kept until they are replayed")},
	{"a disk that is not writable", folder(syscall.EROFS), always("mount the file system writable, or point DEAD_LETTER_URL elsewhere")},
	{"a folder without hard links", folder(syscall.EPERM, syscall.ENOTSUP, syscall.EXDEV), always("let the folder be on one file system that has hard links: point DEAD_LETTER_URL to another, or to s3://")},
	{"another's folder", folder(fs.ErrPermission), always("give the user that runs this program write access to the folder of DEAD_LETTER_URL")},
	{"no folder", folder(syscall.ENOTDIR), always("let DEAD_LETTER_URL name a folder")},
	{"a denial", oneOf(stream.ErrDenied, fs.ErrPermission), always("allow what the error names to the role of this caller; analytics-worker doctor shows what else is missing")},
	{"work that fails", wrong(lease.Failing), always("read the error; analytics-worker doctor checks what a worker needs")},
}

const startOver = "if the old stream is gone for good: analytics-worker positions --start-over"

// redshiftSetting names the setting that a ValidationException of the Data API is about.
func redshiftSetting(err error) string {
	r := as[aws.Refusal](err)
	if r.Code != "ValidationException" || !strings.HasPrefix(r.Operation, "Redshift Data.") {
		return ""
	}
	m := strings.ToLower(r.Message)
	switch {
	case strings.Contains(m, "secret"):
		return "check REDSHIFT_SECRET_ARN"
	case strings.Contains(m, "workgroup"):
		return "check REDSHIFT_WORKGROUP and AWS_REGION"
	case strings.Contains(m, "cluster") || strings.Contains(m, "endpoint"):
		return "check REDSHIFT_CLUSTER_ID and AWS_REGION"
	case strings.Contains(m, "database"):
		return "check REDSHIFT_DATABASE"
	case strings.Contains(m, "user"):
		return "check REDSHIFT_DB_USER"
	}
	return ""
}

func as[T error](err error) (out T) {
	errors.As(err, &out)
	return out
}

func is[T error](err error) bool {
	var out T
	return errors.As(err, &out)
}

func always(next string) func(error) string { return func(error) string { return next } }

func and(a, b func(error) bool) func(error) bool {
	return func(err error) bool { return a(err) && b(err) }
}

func oneOf(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

func refused(how func(aws.Refusal) bool) func(error) bool {
	return func(err error) bool { return is[aws.Refusal](err) && how(as[aws.Refusal](err)) }
}

func code(codes ...string) func(error) bool {
	return refused(func(r aws.Refusal) bool {
		for _, c := range codes {
			if r.Code == c {
				return true
			}
		}
		return false
	})
}

func operation(prefix string) func(error) bool {
	return refused(func(r aws.Refusal) bool { return strings.HasPrefix(r.Operation, prefix) })
}

func refusedCall(prefix, refusal string) func(error) bool {
	return and(operation(prefix), code(refusal))
}

func wrong(what lease.Wrong) func(error) bool {
	return func(err error) bool {
		c := as[*lease.Contradiction](err)
		return c != nil && c.Wrong == what
	}
}

func folder(targets ...error) func(error) bool {
	return and(is[*deadletter.FolderError], oneOf(targets...))
}

// askedError is the error of asking a service, for a caller that knows which.
type askedError struct {
	error
	service string
}

func (e *askedError) Unwrap() error { return e.error }

// asked is the service that the error is of.
func asked(err error) string {
	if e := as[*askedError](err); e != nil && e.service != "" {
		return e.service
	}
	if s := as[aws.Refusal](err).Service(); s != "" {
		return s
	}
	return "AWS"
}

// advising is a handler that gives each line with an error its hint.
type advising struct{ slog.Handler }

// Handle implements slog.Handler.
func (a advising) Handle(ctx context.Context, r slog.Record) error {
	var err error
	hinted := false
	r.Attrs(func(at slog.Attr) bool {
		if e, is := at.Value.Any().(error); is && err == nil {
			err = e
		}
		hinted = hinted || at.Key == "hint"
		return true
	})
	if next := nextStep(err); next != "" && !hinted {
		r = r.Clone()
		r.AddAttrs(slog.String("hint", next))
	}
	return a.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (a advising) WithAttrs(attrs []slog.Attr) slog.Handler {
	return advising{a.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (a advising) WithGroup(name string) slog.Handler { return advising{a.Handler.WithGroup(name)} }
