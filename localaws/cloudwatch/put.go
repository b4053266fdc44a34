package cloudwatch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/localaws/wire"
)

// Quotas of PutMetricData, and bounds on what may be put.
const (
	maxRequestBytes  = 1 << 20
	maxMetrics       = 1000
	maxUniqueValues  = 150
	maxDimensions    = 30
	maxName          = 255
	maxDimensionText = 1024
	oldest           = 14 * 24 * time.Hour
	newest           = 2 * time.Hour
)

// maxValue bounds the magnitude of a value: 2^360.
var maxValue = math.Ldexp(1, 360)

// units is CloudWatch's whole list. A unit of one's own ("Records") is refused.
var units = []string{
	"Seconds", "Microseconds", "Milliseconds",
	"Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
	"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits",
	"Percent", "Count",
	"Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second",
	"Bits/Second", "Kilobits/Second", "Megabits/Second", "Gigabits/Second", "Terabits/Second",
	"Count/Second", "None",
}

// putMetricData takes all of the request or, if any of it is wrong, none.
func (s *Service) putMetricData(in *putMetricDataInput, size int, now time.Time) *wire.Error {
	if s.limits && size > maxRequestBytes {
		return &wire.Error{
			Code: "RequestEntityTooLarge", Status: 413,
			Message: fmt.Sprintf("the request has %d bytes, more than %d", size, maxRequestBytes),
		}
	}
	if err := checkNamespace(in.Namespace, true); err != nil {
		return err
	}
	type place struct {
		at    string
		datum *datum
	}
	var all []place
	for i := range in.MetricData {
		all = append(all, place{fmt.Sprintf("MetricData.member.%d", i+1), &in.MetricData[i]})
	}
	for e := range in.EntityMetricData {
		of := in.EntityMetricData[e].MetricData
		for i := range of {
			all = append(all, place{fmt.Sprintf("EntityMetricData.member.%d.MetricData.member.%d", e+1, i+1), &of[i]})
		}
	}
	switch {
	case len(all) == 0:
		return wire.Errorf("MissingParameter", "The parameter MetricData is required.")
	case s.limits && len(all) > maxMetrics:
		return wire.Errorf("InvalidParameterValue", "The collection MetricData must not have a size greater than %d.", maxMetrics)
	}
	for _, p := range all {
		if err := s.checkDatum(p.at, p.datum, now); err != nil {
			return err
		}
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	for _, p := range all {
		s.store.add(in.Namespace, p.datum, now)
	}
	s.store.expire(now)
	return nil
}

func invalid(value any, parameter, why string) *wire.Error {
	return wire.Errorf("InvalidParameterValue", "The value %v for parameter %s is invalid. %s", value, parameter, why)
}

// checkNamespace checks a namespace; those of AWS's own services can be read
// and not written.
func checkNamespace(name string, toWrite bool) *wire.Error {
	if name == "" {
		return wire.Errorf("MissingParameter", "The parameter Namespace is required.")
	}
	if toWrite && strings.HasPrefix(name, "AWS/") {
		return invalid("AWS/", "Namespace", "Namespaces that begin with AWS/ belong to the services.")
	}
	return checkText(name, "Namespace", maxName)
}

// checkText checks what namespaces, names and dimensions have in common.
func checkText(text, parameter string, longest int) *wire.Error {
	switch {
	case len(text) > longest:
		return wire.Errorf("InvalidParameterValue", "The parameter %s must be shorter than %d characters.", parameter, longest+1)
	case strings.TrimSpace(text) == "":
		return wire.Errorf("InvalidParameterValue", "The parameter %s must not be blank.", parameter)
	case strings.HasPrefix(text, ":") && !strings.HasSuffix(parameter, "Value") && !strings.HasSuffix(parameter, "MetricName"):
		return invalid(text, parameter, "It must not start with a colon.")
	}
	for _, c := range []byte(text) {
		if c < 0x20 || c >= 0x7f {
			return wire.Errorf("InvalidParameterValue", "The parameter %s must hold only printable ASCII characters.", parameter)
		}
	}
	return nil
}

func checkDimensions(at string, dims []dimension) *wire.Error {
	if len(dims) > maxDimensions {
		return wire.Errorf("InvalidParameterValue", "The collection %s.Dimensions must not have a size greater than %d.", at, maxDimensions)
	}
	seen := make(map[string]bool, len(dims))
	for i, d := range dims {
		here := fmt.Sprintf("%s.Dimensions.member.%d", at, i+1)
		switch {
		case d.Name == "":
			return wire.Errorf("MissingParameter", "The parameter %s.Name is required.", here)
		case d.Value == "":
			return wire.Errorf("MissingParameter", "The parameter %s.Value is required.", here)
		case seen[d.Name]:
			return invalid(d.Name, here+".Name", "The dimension is given twice.")
		}
		seen[d.Name] = true
		if err := checkText(d.Name, here+".Name", maxName); err != nil {
			return err
		}
		if err := checkText(d.Value, here+".Value", maxDimensionText); err != nil {
			return err
		}
	}
	return nil
}

func checkMetricName(at, name string) *wire.Error {
	if name == "" {
		return wire.Errorf("MissingParameter", "The parameter %s is required.", at)
	}
	return checkText(name, at, maxName)
}

func checkUnit(at, unit string) *wire.Error {
	if unit != "" && !slices.Contains(units, unit) {
		return wire.Errorf("InvalidParameterValue", "The value %s for parameter %s is invalid. It must be one of %s.",
			unit, at, strings.Join(units, ", "))
	}
	return nil
}

func (s *Service) checkDatum(at string, d *datum, now time.Time) *wire.Error {
	if err := checkMetricName(at+".MetricName", d.MetricName); err != nil {
		return err
	}
	if err := checkDimensions(at, d.Dimensions); err != nil {
		return err
	}
	if err := checkUnit(at+".Unit", d.Unit); err != nil {
		return err
	}
	if r := d.StorageResolution; r != nil && *r != 1 && *r != 60 {
		return invalid(*r, at+".StorageResolution", "It must be 1 or 60.")
	}
	if t := d.Timestamp; t != nil && (t.Before(now.Add(-oldest)) || t.After(now.Add(newest))) {
		return invalid(t.Format(time.RFC3339), at+".Timestamp",
			"It must be at most two weeks in the past and two hours in the future.")
	}
	return s.checkValues(at, d)
}

// checkValues checks that the datum has its values in exactly one way.
func (s *Service) checkValues(at string, d *datum) *wire.Error {
	switch {
	case d.Value == nil && d.StatisticValues == nil && len(d.Values) == 0:
		return wire.Errorf("MissingParameter", "At least one of the parameters %[1]s.Value, %[1]s.Values and %[1]s.StatisticValues must be specified.", at)
	case d.Value != nil && d.StatisticValues != nil:
		return exclusive(at, "Value", "StatisticValues")
	case d.Value != nil && len(d.Values) > 0:
		return exclusive(at, "Value", "Values")
	case d.StatisticValues != nil && len(d.Values) > 0:
		return exclusive(at, "StatisticValues", "Values")
	case s.limits && len(d.Values) > maxUniqueValues:
		return wire.Errorf("InvalidParameterValue", "The collection %s.Values must not have a size greater than %d.", at, maxUniqueValues)
	case len(d.Counts) > 0 && len(d.Counts) != len(d.Values):
		return wire.Errorf("InvalidParameterValue", "The parameters %[1]s.Values and %[1]s.Counts must be of the same size.", at)
	}
	if d.Value != nil {
		return checkNumber(*d.Value, at+".Value")
	}
	for i, v := range d.Values {
		if err := checkNumber(v, fmt.Sprintf("%s.Values.member.%d", at, i+1)); err != nil {
			return err
		}
	}
	for i, c := range d.Counts {
		here := fmt.Sprintf("%s.Counts.member.%d", at, i+1)
		if err := checkNumber(c, here); err != nil {
			return err
		}
		if c < 0 {
			return invalid(c, here, "It must not be negative.")
		}
	}
	if d.StatisticValues != nil {
		return checkSet(at+".StatisticValues", d.StatisticValues)
	}
	return nil
}

func exclusive(at, a, b string) *wire.Error {
	return wire.Errorf("InvalidParameterCombination",
		"The parameters %[1]s.%[2]s and %[1]s.%[3]s are mutually exclusive and you have specified both.", at, a, b)
}

func checkSet(at string, s *statisticSet) *wire.Error {
	for _, p := range []struct {
		name  string
		value number
	}{{"SampleCount", s.SampleCount}, {"Sum", s.Sum}, {"Minimum", s.Minimum}, {"Maximum", s.Maximum}} {
		if err := checkNumber(p.value, at+"."+p.name); err != nil {
			return err
		}
	}
	switch {
	case s.SampleCount <= 0:
		return invalid(s.SampleCount, at+".SampleCount", "It must be greater than 0.")
	case s.Minimum > s.Maximum:
		return invalid(s.Minimum, at+".Minimum", "It must not be greater than Maximum.")
	}
	return nil
}

func checkNumber(n number, parameter string) *wire.Error {
	if f := float64(n); math.IsNaN(f) || math.Abs(f) > maxValue {
		return invalid(f, parameter, "It must be a number from -2^360 to 2^360.")
	}
	return nil
}
