package kinesis

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// The error codes of Kinesis that are used in more than one place.
const (
	codeValidation = "ValidationException"
	codeArgument   = "InvalidArgumentException"
	codeNotFound   = "ResourceNotFoundException"
	codeInUse      = "ResourceInUseException"
	codeLimit      = "LimitExceededException"
	codeThroughput = "ProvisionedThroughputExceededException"
	codeInternal   = "InternalFailure" // of a single record in PutRecords
	codeExpired    = "ExpiredIteratorException"
)

// checks collects what is wrong with the members of a request, so that one
// answer names all of it, as AWS's does.
type checks struct{ failed []string }

var (
	streamNames = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	shardIDs    = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
)

func (c *checks) fail(value any, member, constraint string) {
	c.failed = append(c.failed, fmt.Sprintf("Value '%v' at '%s' failed to satisfy constraint: Member must %s", value, member, constraint))
}

func (c *checks) missing(member string) {
	c.failed = append(c.failed, fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", member))
}

// text checks a member that must be there and match the pattern.
func (c *checks) text(value *string, member string, pattern *regexp.Regexp) string {
	switch {
	case value == nil:
		c.missing(member)
		return ""
	case !pattern.MatchString(*value):
		c.fail(*value, member, "satisfy regular expression pattern: "+strings.Trim(pattern.String(), "^$"))
	}
	return *value
}

// oneOf checks a member that must be there and be one of the values.
func (c *checks) oneOf(value *string, member string, values ...string) string {
	if value == nil {
		c.missing(member)
		return ""
	}
	for _, v := range values {
		if *value == v {
			return v
		}
	}
	c.fail(*value, member, "satisfy enum value set: ["+strings.Join(values, ", ")+"]")
	return *value
}

// number checks a member against its bounds. fallback stands for one that is
// absent; where it is nil, the member must be there.
func (c *checks) number(value *int64, member string, low, high int64, fallback *int64) int {
	switch {
	case value == nil && fallback == nil:
		c.missing(member)
		return 0
	case value == nil:
		return int(*fallback)
	case *value < low:
		c.fail(*value, member, fmt.Sprintf("have value greater than or equal to %d", low))
		return 0
	case *value > high:
		c.fail(*value, member, fmt.Sprintf("have value less than or equal to %d", high))
		return 0
	}
	return int(*value)
}

func (c *checks) err() *wire.Error {
	switch n := len(c.failed); n {
	case 0:
		return nil
	case 1:
		return wire.Errorf(codeValidation, "1 validation error detected: %s", c.failed[0])
	default:
		return wire.Errorf(codeValidation, "%d validation errors detected: %s", n, strings.Join(c.failed, "; "))
	}
}
