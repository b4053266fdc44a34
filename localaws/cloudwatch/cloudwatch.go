// Package cloudwatch is the CloudWatch of the local AWS: custom metrics put,
// listed and read back as statistics, over the three protocols that clients
// speak today (Smithy RPC v2 CBOR, JSON 1.0, and the Query protocol).
package cloudwatch

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Options says how strict the service is.
type Options struct {
	// Limits enforces the documented quotas: request size, metrics a request,
	// values a metric, calls a second. What makes a request wrong rather than
	// large (a unit that is none, NaN, a blank name) is always refused.
	Limits bool
}

// Service is the CloudWatch service. It is safe for concurrent use.
type Service struct {
	limits bool
	rates  map[string]*rate.Limiter // by operation; nil without limits
	store  *store
}

var _ wire.Service = (*Service)(nil)

// New makes a service that holds no metrics yet.
func New(o Options) *Service {
	s := &Service{limits: o.Limits, store: newStore()}
	if o.Limits {
		// Calls a second of an account in a region, from the service's quotas.
		s.rates = map[string]*rate.Limiter{
			"PutMetricData":       rate.NewLimiter(500, 500),
			"GetMetricStatistics": rate.NewLimiter(400, 400),
			"GetMetricData":       rate.NewLimiter(50, 50),
			"ListMetrics":         rate.NewLimiter(25, 25),
		}
	}
	return s
}

// Name returns "cloudwatch".
func (s *Service) Name() string { return "cloudwatch" }

// Operations are those that are served.
func (s *Service) Operations() []string {
	return []string{"PutMetricData", "GetMetricStatistics", "GetMetricData", "ListMetrics"}
}

// Match takes the requests that name CloudWatch in their path (RPC v2), their
// target (JSON), or their API version (Query).
func (s *Service) Match(r *http.Request, body []byte) (string, bool) {
	p, operation := protocolOf(r, body)
	return operation, p != nil
}

// Serve answers one call.
func (s *Service) Serve(w http.ResponseWriter, r *http.Request, operation string, body []byte) {
	p, _ := protocolOf(r, body)
	if p == nil {
		s.Refuse(w, r, wire.Internal("the request was routed here, and is not CloudWatch's"))
		return
	}
	out, err := s.call(p, r, operation, body)
	if err != nil {
		p.refuse(w, err)
		return
	}
	if err := p.reply(w, operation, out); err != nil {
		p.refuse(w, wire.Internal(fmt.Sprintf("write the reply to %s: %v", operation, err)))
	}
}

// call decodes the request, runs the operation and returns its output; nil
// stands for an operation without one.
func (s *Service) call(p protocol, r *http.Request, operation string, body []byte) (any, *wire.Error) {
	if l := s.rates[operation]; l != nil && !l.Allow() {
		return nil, s.Throttled()
	}
	now := time.Now()
	switch operation {
	case "PutMetricData":
		var in putMetricDataInput
		if err := p.decode(body, &in); err != nil {
			return nil, err
		}
		wire.Note(r, fmt.Sprintf("%s: %d metrics", in.Namespace, len(in.MetricData)))
		return nil, s.putMetricData(&in, requestSize(r, body), now)
	case "GetMetricStatistics":
		var in getMetricStatisticsInput
		if err := p.decode(body, &in); err != nil {
			return nil, err
		}
		return result(s.getMetricStatistics(&in, now))
	case "GetMetricData":
		var in getMetricDataInput
		if err := p.decode(body, &in); err != nil {
			return nil, err
		}
		return result(s.getMetricData(&in, now))
	case "ListMetrics":
		var in listMetricsInput
		if err := p.decode(body, &in); err != nil {
			return nil, err
		}
		return result(s.listMetrics(&in, now))
	}
	return nil, p.unknown(operation)
}

// result keeps a nil pointer from becoming an interface that is not nil.
func result[T any](out *T, err *wire.Error) (any, *wire.Error) {
	if err != nil {
		return nil, err
	}
	return out, nil
}

// requestSize is the size that the quota counts: the bytes on the wire, which
// gzip may have made fewer than the body's.
func requestSize(r *http.Request, body []byte) int {
	if n, err := strconv.Atoi(r.Header.Get("Content-Length")); err == nil && n > 0 {
		return min(n, len(body))
	}
	return len(body)
}

// Refuse writes e in the protocol of the request.
func (s *Service) Refuse(w http.ResponseWriter, r *http.Request, e *wire.Error) {
	switch {
	case strings.HasPrefix(r.URL.Path, rpcPath):
		cborProtocol{}.refuse(w, e)
	case strings.HasPrefix(r.Header.Get("X-Amz-Target"), target):
		jsonProtocol{}.refuse(w, e)
	default:
		queryProtocol{}.refuse(w, e)
	}
}

// Throttled is the error of a call over its rate.
func (s *Service) Throttled() *wire.Error {
	return &wire.Error{Code: "Throttling", Message: "Rate exceeded", Status: http.StatusBadRequest}
}
