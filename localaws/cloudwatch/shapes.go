package cloudwatch

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// The inputs and outputs of the operations. A field has the name that the API
// gives it, so that one type serves CBOR, JSON and XML.

type putMetricDataInput struct {
	Namespace        string
	MetricData       []datum
	EntityMetricData []struct {
		MetricData []datum
	}
}

type datum struct {
	MetricName        string
	Dimensions        []dimension
	Timestamp         *instant
	Value             *number
	StatisticValues   *statisticSet
	Values            []number
	Counts            []number
	Unit              string
	StorageResolution *whole
}

type statisticSet struct {
	SampleCount, Sum, Minimum, Maximum number
}

type dimension struct {
	Name, Value string
}

type getMetricStatisticsInput struct {
	Namespace, MetricName string
	Dimensions            []dimension
	StartTime, EndTime    *instant
	Period                whole
	Statistics            []string
	ExtendedStatistics    []string
	Unit                  string
}

type getMetricStatisticsOutput struct {
	Label      string
	Datapoints members[datapoint]
}

type datapoint struct {
	Timestamp          instant
	SampleCount        *number    `json:",omitempty" xml:",omitempty"`
	Average            *number    `json:",omitempty" xml:",omitempty"`
	Sum                *number    `json:",omitempty" xml:",omitempty"`
	Minimum            *number    `json:",omitempty" xml:",omitempty"`
	Maximum            *number    `json:",omitempty" xml:",omitempty"`
	Unit               string     `json:",omitempty" xml:",omitempty"`
	ExtendedStatistics numberByID `json:",omitempty" xml:",omitempty"`
}

type getMetricDataInput struct {
	MetricDataQueries  []metricDataQuery
	StartTime, EndTime *instant
	ScanBy             string
	NextToken          string
	MaxDatapoints      *whole
}

type metricDataQuery struct {
	Id         string //nolint:revive // the API's spelling, which the decoders match
	MetricStat *struct {
		Metric metric
		Period whole
		Stat   string
		Unit   string
	}
	Expression string
	Label      string
	ReturnData *flag
}

type getMetricDataOutput struct {
	MetricDataResults members[metricDataResult]
	Messages          members[message]
	NextToken         string `json:",omitempty" xml:",omitempty"`
}

type metricDataResult struct {
	Id         string //nolint:revive // as above
	Label      string
	Timestamps members[instant]
	Values     members[number]
	StatusCode string
}

type message struct{ Code, Value string }

type listMetricsInput struct {
	Namespace, MetricName string
	Dimensions            []dimension // Value "" stands for any value
	NextToken             string
	RecentlyActive        string
}

type listMetricsOutput struct {
	Metrics   members[metric]
	NextToken string `json:",omitempty" xml:",omitempty"`
}

type metric struct {
	Namespace, MetricName string
	Dimensions            members[dimension]
}

// members is a list: in XML an element that holds <member> elements, and that
// is there when the list is empty.
type members[T any] []T

// MarshalXML implements xml.Marshaler.
func (m members[T]) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for _, v := range m {
		if err := e.EncodeElement(v, xml.StartElement{Name: xml.Name{Local: "member"}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// numberByID is a map of numbers: in XML, entries of a key and a value.
type numberByID map[string]number

// MarshalXML implements xml.Marshaler.
func (m numberByID) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	type entry struct {
		Key   string `xml:"key"`
		Value number `xml:"value"`
	}
	if err := e.EncodeToken(start); err != nil {
		return err
	}
	for k, v := range m {
		if err := e.EncodeElement(entry{k, v}, xml.StartElement{Name: xml.Name{Local: "entry"}}); err != nil {
			return err
		}
	}
	return e.EncodeToken(start.End())
}

// number is a double. As text it may be quoted, as every value is in the Query
// protocol, and as NaN is in JSON.
type number float64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	f, err := strconv.ParseFloat(unquoted(b), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // out of range parses as infinite, which validation refuses
		return fmt.Errorf("%s is not a number", b)
	}
	*n = number(f)
	return nil
}

// whole is an integer.
type whole int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *whole) UnmarshalJSON(b []byte) error {
	i, err := strconv.ParseInt(unquoted(b), 10, 32)
	if err != nil {
		return fmt.Errorf("%s is not an integer", b)
	}
	*n = whole(i)
	return nil
}

// flag is a boolean.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(b []byte) error {
	v, err := strconv.ParseBool(unquoted(b))
	*f = flag(v)
	return err
}

// unquoted is the text of a JSON scalar.
func unquoted(b []byte) string {
	var s string
	if err := json.Unmarshal(b, &s); err == nil {
		return s
	}
	return string(b)
}

// instant is a point in time: epoch seconds in JSON, the same under tag 1 in
// CBOR, ISO 8601 in XML and in forms. AWS keeps milliseconds.
type instant struct{ time.Time }

// farAway bounds what is taken for a time, in seconds around the epoch: within
// it no conversion overflows.
const farAway = 1e11

func (t *instant) set(seconds float64) error {
	if math.IsNaN(seconds) || math.Abs(seconds) > farAway {
		return fmt.Errorf("%v is not a time", seconds)
	}
	t.Time = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return nil
}

func (t instant) seconds() float64 { return float64(t.UnixMilli()) / 1000 }

// UnmarshalJSON implements json.Unmarshaler.
func (t *instant) UnmarshalJSON(b []byte) error {
	s := unquoted(b)
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return t.set(f)
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15:04Z07:00", "2006-01-02"} {
		if v, err := time.Parse(layout, strings.Replace(s, " ", "T", 1)); err == nil {
			t.Time = v.UTC()
			return nil
		}
	}
	return fmt.Errorf("%q is not a time", s)
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (t *instant) UnmarshalCBOR(b []byte) error {
	var v any
	if err := cbor.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case time.Time: // what the decoder makes of tag 1
		return t.set(float64(v.Unix()) + float64(v.Nanosecond())/1e9)
	case float64:
		return t.set(v)
	case uint64:
		return t.set(float64(v))
	case int64:
		return t.set(float64(v))
	}
	return fmt.Errorf("%v is not a time", v)
}

// MarshalJSON implements json.Marshaler.
func (t instant) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, t.seconds(), 'f', -1, 64), nil
}

// MarshalCBOR implements cbor.Marshaler.
func (t instant) MarshalCBOR() ([]byte, error) {
	return cbor.Marshal(cbor.Tag{Number: 1, Content: t.seconds()})
}

// MarshalXML implements xml.Marshaler.
func (t instant) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(t.UTC().Format("2006-01-02T15:04:05.999Z"), start)
}
