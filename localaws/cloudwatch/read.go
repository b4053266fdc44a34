package cloudwatch

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Quotas of the reading operations.
const (
	maxDatapoints = 1440
	maxQueries    = 500
	listPage      = 500
)

// plainStatistics are the statistics that every datapoint has.
var plainStatistics = []string{"SampleCount", "Average", "Sum", "Minimum", "Maximum"}

// span is a time range, cut into periods.
type span struct {
	start, end int64 // Unix seconds; end is not in it
	period     int64
}

// spanOf checks a range and a period.
func spanOf(start, end *instant, period int64, at string) (span, *wire.Error) {
	switch {
	case start == nil:
		return span{}, wire.Errorf("MissingParameter", "The parameter StartTime is required.")
	case end == nil:
		return span{}, wire.Errorf("MissingParameter", "The parameter EndTime is required.")
	case period == 0:
		return span{}, wire.Errorf("MissingParameter", "The parameter %s is required.", at)
	case period < 0 || period%60 != 0 && !slices.Contains([]int64{1, 5, 10, 20, 30}, period):
		return span{}, invalid(period, at, "It must be 1, 5, 10, 20, 30 or a multiple of 60.")
	case !start.Before(end.Time):
		return span{}, wire.Errorf("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
	}
	// The start goes down to a whole minute (second, at high resolution), and
	// with it the starts of all periods.
	return span{start: start.Unix() - mod(start.Unix(), min(period, 60)), end: end.Unix(), period: period}, nil
}

// group is the key of a datapoint: the start of its period, and its unit.
type group struct {
	at   int64
	unit string
}

// gather sums the cells of the metric by period. With a unit, only data of that
// unit is taken; apart tells whether the others are kept apart by unit.
func (s *store) gather(key string, in span, unit string, apart bool, now time.Time) map[group]*tally {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	of := s.series[key]
	if of == nil {
		return nil
	}
	out := map[group]*tally{}
	for place, c := range of.cells {
		if place.at < in.start || place.at >= in.end || unit != "" && place.unit != unit {
			continue
		}
		if in.period < place.resolution {
			continue // data of one-minute resolution has no seconds to tell
		}
		g := group{at: in.start + (place.at-in.start)/in.period*in.period}
		if apart {
			g.unit = place.unit
		}
		if out[g] == nil {
			out[g] = &tally{}
		}
		out[g].merge(c.tally)
	}
	return out
}

func (s *Service) getMetricStatistics(in *getMetricStatisticsInput, now time.Time) (*getMetricStatisticsOutput, *wire.Error) {
	if err := checkMetric(in.Namespace, in.MetricName, in.Dimensions, in.Unit); err != nil {
		return nil, err
	}
	over, err := spanOf(in.StartTime, in.EndTime, int64(in.Period), "Period")
	if err != nil {
		return nil, err
	}
	if err := checkStatistics(in); err != nil {
		return nil, err
	}
	if n := (over.end - over.start + over.period - 1) / over.period; n > maxDatapoints {
		return nil, wire.Errorf("InvalidParameterCombination",
			"You have requested up to %d datapoints, which exceeds the limit of %d. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
			n, maxDatapoints)
	}
	_, key := canonical(in.Namespace, in.MetricName, in.Dimensions)
	out := &getMetricStatisticsOutput{Label: in.MetricName, Datapoints: members[datapoint]{}}
	for g, t := range s.store.gather(key, over, in.Unit, true, now) {
		if p, some := datapointOf(g, t, in); some {
			out.Datapoints = append(out.Datapoints, p)
		}
	}
	// The order is none of the API's promises; a fixed one is easier to read.
	slices.SortFunc(out.Datapoints, func(a, b datapoint) int {
		return cmp.Or(a.Timestamp.Compare(b.Timestamp.Time), cmp.Compare(a.Unit, b.Unit))
	})
	return out, nil
}

func checkMetric(space, name string, dims []dimension, unit string) *wire.Error {
	if err := checkNamespace(space, false); err != nil {
		return err
	}
	if err := checkMetricName("MetricName", name); err != nil {
		return err
	}
	for i, d := range dims {
		if d.Name == "" || d.Value == "" {
			return wire.Errorf("MissingParameter", "The parameters Name and Value of Dimensions.member.%d are required.", i+1)
		}
	}
	return checkUnit("Unit", unit)
}

func checkStatistics(in *getMetricStatisticsInput) *wire.Error {
	switch {
	case len(in.Statistics) == 0 && len(in.ExtendedStatistics) == 0:
		return wire.Errorf("InvalidParameterCombination", "At least one of the parameters Statistics and ExtendedStatistics must be specified.")
	case len(in.Statistics) > 0 && len(in.ExtendedStatistics) > 0:
		return wire.Errorf("InvalidParameterCombination", "The parameters Statistics and ExtendedStatistics are mutually exclusive and you have specified both.")
	}
	for i, name := range in.Statistics {
		if !slices.Contains(plainStatistics, name) {
			return invalid(name, fmt.Sprintf("Statistics.member.%d", i+1), "It must be one of "+strings.Join(plainStatistics, ", ")+".")
		}
	}
	for i, name := range in.ExtendedStatistics {
		if _, ok := percentileOf(name); !ok {
			return invalid(name, fmt.Sprintf("ExtendedStatistics.member.%d", i+1), "Percentiles, p0 to p100, are the ones that are served here.")
		}
	}
	return nil
}

// datapointOf makes a datapoint; some is false where the data have none of the
// statistics: there are no percentiles of a statistic set.
func datapointOf(g group, t *tally, in *getMetricStatisticsInput) (p datapoint, some bool) {
	p = datapoint{Timestamp: instant{time.Unix(g.at, 0).UTC()}, Unit: g.unit}
	for _, name := range in.Statistics {
		v, ok := t.statistic(name)
		if !ok {
			continue
		}
		some = true
		n := number(v)
		switch name {
		case "SampleCount":
			p.SampleCount = &n
		case "Average":
			p.Average = &n
		case "Sum":
			p.Sum = &n
		case "Minimum":
			p.Minimum = &n
		case "Maximum":
			p.Maximum = &n
		}
	}
	for _, name := range in.ExtendedStatistics {
		if v, ok := t.statistic(name); ok {
			if p.ExtendedStatistics == nil {
				p.ExtendedStatistics = numberByID{}
			}
			p.ExtendedStatistics[name], some = number(v), true
		}
	}
	return p, some
}

func (s *Service) getMetricData(in *getMetricDataInput, now time.Time) (*getMetricDataOutput, *wire.Error) {
	switch {
	case len(in.MetricDataQueries) == 0:
		return nil, wire.Errorf("MissingParameter", "The parameter MetricDataQueries is required.")
	case len(in.MetricDataQueries) > maxQueries:
		return nil, wire.Errorf("InvalidParameterValue", "The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	case in.ScanBy != "" && in.ScanBy != "TimestampAscending" && in.ScanBy != "TimestampDescending":
		return nil, invalid(in.ScanBy, "ScanBy", "It must be TimestampAscending or TimestampDescending.")
	}
	out := &getMetricDataOutput{MetricDataResults: members[metricDataResult]{}, Messages: members[message]{}}
	ids := map[string]bool{}
	for i := range in.MetricDataQueries {
		q := &in.MetricDataQueries[i]
		at := fmt.Sprintf("MetricDataQueries.member.%d", i+1)
		if ids[q.Id] {
			return nil, invalid(q.Id, at+".Id", "It is given twice.")
		}
		ids[q.Id] = true
		result, err := s.query(at, q, in, now)
		if err != nil {
			return nil, err
		}
		if q.ReturnData == nil || bool(*q.ReturnData) {
			out.MetricDataResults = append(out.MetricDataResults, *result)
		}
	}
	return out, nil
}

// query answers one query of GetMetricData.
func (s *Service) query(at string, q *metricDataQuery, in *getMetricDataInput, now time.Time) (*metricDataResult, *wire.Error) {
	if !validID(q.Id) {
		return nil, invalid(q.Id, at+".Id", "It must start with a lowercase letter and hold letters, digits and underscores.")
	}
	if q.Expression != "" || q.MetricStat == nil {
		return nil, wire.Errorf("InvalidParameterValue", "The query %s has no MetricStat: expressions are not served here.", at)
	}
	m := q.MetricStat
	if err := checkMetric(m.Metric.Namespace, m.Metric.MetricName, m.Metric.Dimensions, m.Unit); err != nil {
		return nil, err
	}
	if _, ok := percentileOf(m.Stat); !ok && !slices.Contains(plainStatistics, m.Stat) {
		return nil, invalid(m.Stat, at+".MetricStat.Stat", "It must be one of "+strings.Join(plainStatistics, ", ")+" or a percentile.")
	}
	over, err := spanOf(in.StartTime, in.EndTime, int64(m.Period), at+".MetricStat.Period")
	if err != nil {
		return nil, err
	}
	over.start -= mod(over.start, over.period) // here periods start at multiples of themselves
	_, key := canonical(m.Metric.Namespace, m.Metric.MetricName, m.Metric.Dimensions)
	sums := s.store.gather(key, over, m.Unit, false, now)
	times := make([]int64, 0, len(sums))
	for g := range sums {
		times = append(times, g.at)
	}
	slices.Sort(times)
	if in.ScanBy != "TimestampAscending" {
		slices.Reverse(times)
	}
	result := &metricDataResult{
		Id: q.Id, Label: cmp.Or(q.Label, m.Metric.MetricName), StatusCode: "Complete",
		Timestamps: members[instant]{}, Values: members[number]{},
	}
	for _, t := range times {
		if v, ok := sums[group{at: t}].statistic(m.Stat); ok {
			result.Timestamps = append(result.Timestamps, instant{time.Unix(t, 0).UTC()})
			result.Values = append(result.Values, number(v))
		}
	}
	return result, nil
}

func validID(id string) bool {
	for i, c := range id {
		switch {
		case c >= 'a' && c <= 'z':
		case i > 0 && (c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'):
		default:
			return false
		}
	}
	return id != "" && len(id) <= maxName
}

func (s *Service) listMetrics(in *listMetricsInput, now time.Time) (*listMetricsOutput, *wire.Error) {
	after := ""
	if in.NextToken != "" {
		token, err := base64.URLEncoding.DecodeString(in.NextToken)
		if err != nil {
			return nil, wire.Errorf("InvalidNextToken", "The token is none that ListMetrics gave out.")
		}
		after = string(token)
	}
	keys, found := s.store.find(in, after, now)
	out := &listMetricsOutput{Metrics: found}
	if len(keys) > listPage {
		out.Metrics = found[:listPage]
		out.NextToken = base64.URLEncoding.EncodeToString([]byte(keys[listPage-1]))
	}
	return out, nil
}

// find returns the metrics that the request selects, and their keys, in the
// order of the keys and after the given one.
func (s *store) find(in *listMetricsInput, after string, now time.Time) ([]string, members[metric]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	var keys []string
	for key, of := range s.series {
		if key > after && of.metric.selected(in) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	found := make(members[metric], 0, len(keys))
	for _, key := range keys {
		found = append(found, s.series[key].metric)
	}
	return keys, found
}

// selected reports whether the metric has the name, and all the dimensions,
// that the request asks for.
func (m *metric) selected(in *listMetricsInput) bool {
	if in.Namespace != "" && in.Namespace != m.Namespace || in.MetricName != "" && in.MetricName != m.MetricName {
		return false
	}
	for _, want := range in.Dimensions {
		if !slices.ContainsFunc(m.Dimensions, func(d dimension) bool {
			return d.Name == want.Name && (want.Value == "" || d.Value == want.Value)
		}) {
			return false
		}
	}
	return true
}
