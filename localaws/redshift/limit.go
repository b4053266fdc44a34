package redshift

import (
	"time"

	"golang.org/x/time/rate"
)

// Quotas of the Data API that do not depend on Options.Limits: they are part
// of what a well-formed call is.
const (
	maxStatementBytes = 100 * 1024
	maxBatch          = 40
	maxKeepAlive      = 86400 // seconds
)

// Quotas that Options.Limits turns on.
const (
	maxActive   = 200 // statements not at their end, a cluster
	maxSessions = 500
	maxRowBytes = 64 << 10 // of one result row
)

// rates holds the call rates of the account. They refill continuously and
// allow a burst of one second's calls.
type rates struct {
	of map[string]*rate.Limiter
}

func newRates() *rates {
	r := &rates{of: make(map[string]*rate.Limiter)}
	for operation, perSecond := range map[string]int{
		"ExecuteStatement":      30,
		"BatchExecuteStatement": 20,
		"DescribeStatement":     100,
		"GetStatementResult":    20,
		"GetStatementResultV2":  20,
		"CancelStatement":       3,
		"ListStatements":        3,
		"ListDatabases":         3,
		"ListSchemas":           3,
		"ListTables":            3,
		"DescribeTable":         3,
	} {
		r.of[operation] = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	}
	return r
}

func (r *rates) allow(operation string, now time.Time) bool {
	l, ok := r.of[operation]
	return !ok || l.AllowN(now, 1)
}
