package aws

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
)

// Refusal is what a service said of a call that failed: the last error in the chain
// of every error of this package that a service is to blame for. What to do about it
// is for the program to say.
type Refusal struct {
	Code      string // as the service names it; empty where no service answered
	Message   string
	Status    int    // of HTTP; 0 = the refusal is of a part of a call
	Operation string // as the SDK names it: "Kinesis.GetRecords", "Redshift Data.ExecuteStatement"
}

func (r Refusal) Error() string { return r.Code + ": " + r.Message }

// noCode is what the SDK calls an error of which the reply says nothing.
const noCode = "UnknownError"

func refusalOf(err error) Refusal {
	var r Refusal
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

// passes reports whether the trouble is the service's own, and over soon.
func (r Refusal) passes() bool {
	return throttled(r.Code) || r.Status >= http.StatusInternalServerError
}

// Forbidden reports whether a permission is missing that the caller can be given.
func (r Refusal) Forbidden() bool {
	return strings.HasPrefix(r.Code, "AccessDenied") || r.Code == "AllAccessDisabled" || r.Code == "Forbidden" && r.Status == http.StatusForbidden
}

// Unauthenticated reports whether the service did not take the credentials: no
// permission would help.
func (r Refusal) Unauthenticated() bool { return unauthenticated(r.Code) }

// OffTime reports whether the service refused the signature for its time: the clock of
// this machine is more than five minutes off.
func (r Refusal) OffTime() bool {
	switch r.Code {
	case "RequestExpired", "RequestTimeTooSkewed":
		return true
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		// "Signature expired: ... is now earlier than ..." and "Signature not yet current: ...".
		return strings.HasPrefix(r.Message, "Signature expired") || strings.HasPrefix(r.Message, "Signature not yet current")
	}
	return false
}

// KeyRefused reports whether the service cannot use the KMS key that encrypts the data.
func (r Refusal) KeyRefused() bool { return strings.HasPrefix(r.Code, "KMS") && !throttled(r.Code) }

// Action is the IAM action that allows the call, or "" where that is not known.
func (r Refusal) Action() string {
	service, call, _ := strings.Cut(r.Operation, ".")
	switch service {
	case "Kinesis":
		return "kinesis:" + call
	case "DynamoDB":
		return "dynamodb:" + call
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

// Service is the service that was called, as its users name it.
func (r Refusal) Service() string {
	name, _, _ := strings.Cut(r.Operation, ".")
	if name == "Redshift Data" {
		return "the Redshift Data API"
	}
	return name
}

// Unauthenticated reports whether the error is of a service that did not take the
// credentials.
func Unauthenticated(err error) bool {
	var r Refusal
	return errors.As(err, &r) && r.Unauthenticated()
}

// KeyRefused reports whether the error is of a service that cannot use the KMS key that
// encrypts the data.
func KeyRefused(err error) bool {
	var r Refusal
	return errors.As(err, &r) && r.KeyRefused()
}

// Troubled reports whether a service answered that it cannot now: it throttles, or
// fails by itself.
func Troubled(err error) bool {
	var r Refusal
	return errors.As(err, &r) && r.passes()
}
