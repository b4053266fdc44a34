package aws

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/cloudcafe/analytics-worker/internal/plural"
)

// Limits of PutMetricData. The body may have 1 MB; it is reckoned before its
// compression, with room to spare.
const (
	maxData      = 1000
	maxValues    = 150
	maxDataBytes = 900_000
)

// ErrUnsettled says of a publication that the data may be in or not: CloudWatch
// has no token that would keep a repeat from counting twice.
var ErrUnsettled = errors.New("the data may have gone in")

// maxMetric is the largest value that CloudWatch takes, 2^360.
var maxMetric = math.Ldexp(1, 360)

// Metrics publishes under one CloudWatch namespace.
type Metrics struct {
	client    *cloudwatch.Client
	namespace string
	account   *Account
}

// Dimension is a name and value that tell series of one metric apart.
type Dimension struct{ Name, Value string }

// Datum is what one metric was at one time: single values, each with how often
// it occurred.
type Datum struct {
	Name       string
	Unit       string // from CloudWatch's list: Count, Milliseconds, Percent, ...
	Dimensions []Dimension
	Time       time.Time
	Values     []float64
	Counts     []float64 // as many as Values, or none: once each
	BySecond   bool      // CloudWatch is to keep the seconds apart, and not the minutes
}

// Metrics returns the publisher of a namespace. It makes no call.
func (a *Account) Metrics(namespace string) *Metrics {
	client := cloudwatch.NewFromConfig(a.cfg, func(o *cloudwatch.Options) {
		o.Retryer = retry.NewStandard(standard, func(o *retry.StandardOptions) {
			o.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(unsent)}
		})
	})
	return &Metrics{client: client, namespace: namespace, account: a}
}

// unsent has only a call tried again that no service got. Whoever was throttled
// would ask for more of it by asking again, a lost reply would count twice, and
// the next publication takes along what this one did not.
func unsent(err error) sdk.Ternary { return sdk.BoolTernary(neverSent(err)) }

func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// PutMetricData publishes the data in as few calls as the limits allow. Values
// that CloudWatch does not take (NaN, infinities) are left out, as one of them
// would have the whole call refused. On an error some of the data may be in.
func (m *Metrics) PutMetricData(ctx context.Context, data []Datum) error {
	var batch []types.MetricDatum
	size := 0
	for _, d := range data {
		for _, part := range m.parts(ctx, d) {
			weight := bodyBytes(part)
			if len(batch) == maxData || size+weight > maxDataBytes && len(batch) > 0 {
				if err := m.send(ctx, batch); err != nil {
					return err
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, part), size+weight
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return m.send(ctx, batch)
}

func (m *Metrics) send(ctx context.Context, batch []types.MetricDatum) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := m.client.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: &m.namespace, MetricData: batch})
	if err == nil {
		return nil
	}
	failure := failed(ctx, fmt.Sprintf("publish %s to %s", plural.Of(len(batch), "metric"), m.namespace), err)
	if refusalOf(err).Code == "" && !neverSent(err) {
		failure = fmt.Errorf("%w: %w", failure, ErrUnsettled)
	}
	return failure
}

// Probe finds out whether the caller may publish, and publishes nothing: it sends
// a value that CloudWatch refuses, which is decided after whether it may at all.
// A refused permission is fs.ErrPermission.
func (m *Metrics) Probe(ctx context.Context) error {
	ctx, cancel := bounded(ctx, callTimeout)
	defer cancel()
	_, err := m.client.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: &m.namespace, MetricData: []types.MetricDatum{{
		MetricName: sdk.String("Probe"), Unit: types.StandardUnitNone, Value: sdk.Float64(math.NaN()),
	}}})
	if err == nil || strings.HasPrefix(refusalOf(err).Code, "InvalidParameter") {
		return nil
	}
	return judged(ctx, "try to publish metrics to "+m.namespace, err, func(r Refusal) error {
		if denied(r.Code) {
			return fs.ErrPermission
		}
		return nil
	})
}

// parts makes as many data of d as the limit on values asks for, none where d
// has no values.
func (m *Metrics) parts(ctx context.Context, d Datum) []types.MetricDatum {
	if len(d.Counts) != 0 && len(d.Counts) != len(d.Values) {
		m.account.log.WarnContext(ctx, "metric left out: as many counts as values are needed", "metric", d.Name)
		return nil
	}
	var values, counts []float64
	for i, v := range d.Values {
		n := 1.0
		if len(d.Counts) != 0 {
			n = d.Counts[i]
		}
		if !fits(v) || !fits(n) || n <= 0 {
			m.account.log.WarnContext(ctx, "value of a metric left out: CloudWatch does not take it", "metric", d.Name, "value", v, "count", n)
			continue
		}
		values, counts = append(values, v), append(counts, n)
	}
	var dimensions []types.Dimension
	for _, dim := range d.Dimensions {
		dimensions = append(dimensions, types.Dimension{Name: sdk.String(dim.Name), Value: sdk.String(dim.Value)})
	}
	var out []types.MetricDatum
	for len(values) > 0 {
		n := min(len(values), maxValues)
		part := types.MetricDatum{
			MetricName: sdk.String(d.Name), Unit: types.StandardUnit(d.Unit), Dimensions: dimensions,
			Values: values[:n], Counts: counts[:n],
		}
		if !d.Time.IsZero() {
			part.Timestamp = sdk.Time(d.Time)
		}
		if d.BySecond {
			part.StorageResolution = sdk.Int32(1)
		}
		out = append(out, part)
		values, counts = values[n:], counts[n:]
	}
	return out
}

func fits(v float64) bool { return !math.IsNaN(v) && math.Abs(v) <= maxMetric }

// bodyBytes is about how many bytes a datum takes in the body.
func bodyBytes(d types.MetricDatum) int {
	n := 120 + len(*d.MetricName) + len(d.Unit) + 9*(len(d.Values)+len(d.Counts)) // a CBOR double has 9 bytes
	for _, dim := range d.Dimensions {
		n += 20 + len(*dim.Name) + len(*dim.Value)
	}
	return n
}
