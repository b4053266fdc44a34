package metrics

import (
	"fmt"
	"reflect"
)

// cursor tells what was measured since it was last asked: values, and how often
// each occurred. None means that there is nothing to tell.
type cursor func() (values, counts []float64)

// Declaration is what the tags of a field say.
type Declaration struct {
	CloudWatch string // name there; empty = not sent
	Unit       string // in CloudWatch's list
	Prometheus string // whole name there; empty = not shown
	Label      string
	Help       string

	instrument any // *Counter, *Gauge, *Percent, *Distribution, *CounterBy or *GaugeBy
}

// prefix begins the names in Prometheus.
const prefix = "analytics_worker_"

// Declared reads the declarations of a set: a pointer to a struct like Metrics,
// each field of which is one metric.
func Declared(set any) ([]Declaration, error) {
	v := reflect.ValueOf(set)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("metrics: %T is not a pointer to a struct of metrics", set)
	}
	v = v.Elem()
	var out []Declaration
	for i := range v.NumField() {
		field := v.Type().Field(i)
		d := Declaration{
			CloudWatch: field.Tag.Get("cloudwatch"), Unit: field.Tag.Get("unit"), Prometheus: field.Tag.Get("prometheus"),
			Label: field.Tag.Get("label"), Help: field.Tag.Get("help"),
		}
		if !field.IsExported() {
			return nil, fmt.Errorf("metrics: field %s of %T is not exported: nobody could read it", field.Name, set)
		}
		if err := d.complete(v.Field(i).Addr().Interface()); err != nil {
			return nil, fmt.Errorf("metrics: field %s of %T: %w", field.Name, set, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// complete takes in the field itself and checks that its tags fit it.
func (d *Declaration) complete(instrument any) error {
	labelled, emptied := false, false
	switch instrument.(type) {
	case *Counter:
		d.Unit = "Count"
	case *Percent:
		emptied = true
	case *CounterBy:
		d.Unit, labelled = "Count", true
	case *GaugeBy:
		labelled = true
	case *Gauge, *Distribution:
	default:
		return fmt.Errorf("%T is no metric", instrument)
	}
	switch {
	case d.Unit == "":
		return fmt.Errorf("it has no unit")
	case d.Help == "":
		return fmt.Errorf("it has no help")
	case labelled != (d.Label != ""):
		return fmt.Errorf("a label goes with a CounterBy or GaugeBy, and with nothing else")
	case labelled && d.CloudWatch != "":
		return fmt.Errorf("CloudWatch bills every value of a label as a metric of its own: labels are for Prometheus")
	case d.CloudWatch == "" && d.Prometheus == "":
		return fmt.Errorf("nobody is told it")
	case emptied && d.Prometheus != "":
		return fmt.Errorf("a Percent is emptied by who reads it, and that is CloudWatch")
	}
	if d.Prometheus != "" {
		d.Prometheus = prefix + d.Prometheus
	}
	d.instrument = instrument
	return nil
}

// cursor is nil for what CloudWatch is not told.
func (d *Declaration) cursor() cursor {
	if c, ok := d.instrument.(interface{ cursor() cursor }); ok && d.CloudWatch != "" {
		return c.cursor()
	}
	return nil
}
