// Package vitals gathers what one worker knows of itself and of the others, and has
// it judged (package verdict): once a second, for everything that tells how it goes.
package vitals

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// NextStep is what to do about the error of a call to a service, which is empty where
// it is not known; "" = nothing is known.
type NextStep func(service string, err error) string

// The services, as people know them.
const (
	Kinesis    = "Kinesis"
	DynamoDB   = "DynamoDB"
	DataAPI    = "the Redshift Data API"
	S3         = "S3"
	CloudWatch = "CloudWatch"
)

// Trouble is the error of a call to a service as the verdict takes it, with what to do
// about it; nil = there is none.
func Trouble(service string, err error, since time.Time, next NextStep) *verdict.Trouble {
	if err == nil {
		return nil
	}
	t := &verdict.Trouble{Kind: kind(err), Says: err.Error(), Since: since}
	if t.Addr = aws.Unheard(err); t.Addr != "" {
		t.Says = "nothing listens on " + t.Addr
	}
	if next != nil {
		t.Next = next(service, err)
	}
	return t
}

// ofKinds sets the kinds of problems whose errors are known.
func ofKinds(problems []verdict.Problem) []verdict.Problem {
	for i := range problems {
		if err := problems[i].Err; err != nil {
			problems[i].Kind = kind(err)
			var r aws.Refusal
			problems[i].Leases = errors.As(err, &r) && r.Service() == DynamoDB
		}
	}
	return problems
}

func kind(err error) verdict.Kind {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case aws.Unauthenticated(err):
		return verdict.Credentials
	case aws.KeyRefused(err):
		return verdict.Key
	case is(stream.ErrDenied, warehouse.ErrDenied, fs.ErrPermission):
		return verdict.Denied
	case is(warehouse.ErrFull, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return verdict.Full
	case is(warehouse.ErrNoTable):
		return verdict.NoTable
	case is(stream.ErrThrottled, warehouse.ErrThrottled):
		return verdict.Throttled
	case is(warehouse.ErrConflict):
		return verdict.Conflict
	case is(stream.ErrGone, fs.ErrNotExist):
		return verdict.Gone
	case aws.Unreached(err), errors.Is(err, context.DeadlineExceeded):
		return verdict.Unreached
	}
	return verdict.Failing
}
