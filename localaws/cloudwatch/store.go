package cloudwatch

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// kept is how long data stays after it was put. CloudWatch keeps
	// one-minute data for 15 days; a laptop needs the last hours.
	kept = 3 * time.Hour
	// maxWeight bounds the memory: a cell weighs one, and one more for each
	// distinct value in it. At some 60 bytes each this is about 60 MB.
	maxWeight = 1 << 20
	// fineValues is how many distinct values a cell keeps as they are. Beyond
	// it, values are kept to within 1 %, which only percentiles show.
	fineValues = 2000
)

// store keeps the metrics: a series for each metric, and in it a cell for each
// minute (or second, at high resolution) and unit.
type store struct {
	mu     sync.Mutex // guards what follows, and the series and cells
	series map[string]*series
	cells  []*cell // all cells, oldest first: the next to expire is in front
	weight int
	max    int // of weight
}

type series struct {
	key    string
	metric metric // dimensions sorted by name
	cells  map[slot]*cell
}

// slot is the place of a cell in its series.
type slot struct {
	at         int64 // Unix seconds at which it starts
	resolution int64 // 1 or 60 seconds
	unit       string
}

// cell sums up what was put for one slot.
type cell struct {
	slot
	series *series
	born   time.Time
	tally
}

// tally is a sum of values. The zero tally holds none.
type tally struct {
	count, sum, min, max float64
	values               map[float64]float64 // how often each value came
	blurred              bool                // values holds representatives within 1 %
	opaque               bool                // some came as a statistic set: there are no percentiles
}

func newStore() *store { return &store{series: map[string]*series{}, max: maxWeight} }

// canonical is the metric with its dimensions in order, and its key: the order
// in which dimensions are sent does not tell metrics apart.
func canonical(space, name string, dims []dimension) (metric, string) {
	sorted := append([]dimension{}, dims...) // an empty list, not none: it is sent back
	slices.SortFunc(sorted, func(a, b dimension) int { return cmp.Compare(a.Name, b.Name) })
	var key strings.Builder
	for _, part := range []string{space, name} {
		key.WriteString(part + "\x00") // no name holds a control character
	}
	for _, d := range sorted {
		key.WriteString(d.Name + "\x00" + d.Value + "\x00")
	}
	return metric{Namespace: space, MetricName: name, Dimensions: sorted}, key.String()
}

// add puts one datum. The caller holds mu.
func (s *store) add(space string, d *datum, now time.Time) {
	m, key := canonical(space, d.MetricName, d.Dimensions)
	of := s.series[key]
	if of == nil {
		of = &series{key: key, metric: m, cells: map[slot]*cell{}}
		s.series[key] = of
	}
	at := now
	if d.Timestamp != nil {
		at = d.Timestamp.Time
	}
	place := slot{resolution: 60, unit: cmp.Or(d.Unit, "None")}
	if d.StorageResolution != nil {
		place.resolution = int64(*d.StorageResolution)
	}
	place.at = at.Unix() - mod(at.Unix(), place.resolution)
	c := of.cells[place]
	if c == nil {
		c = &cell{slot: place, series: of, born: now}
		of.cells[place] = c
		s.cells = append(s.cells, c)
		s.weight++
	}
	before := len(c.values)
	c.put(d)
	s.weight += len(c.values) - before
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

// put adds the datum's values.
func (t *tally) put(d *datum) {
	switch {
	case d.Value != nil:
		t.observe(float64(*d.Value), 1)
	case d.StatisticValues != nil:
		set := d.StatisticValues
		if set.Minimum == set.Maximum && set.Sum == set.Minimum*set.SampleCount {
			t.observe(float64(set.Minimum), float64(set.SampleCount))
			return
		}
		t.merge(tally{
			count: float64(set.SampleCount), sum: float64(set.Sum),
			min: float64(set.Minimum), max: float64(set.Maximum), opaque: true,
		})
	default:
		for i, v := range d.Values {
			n := 1.0
			if len(d.Counts) > 0 {
				n = float64(d.Counts[i])
			}
			t.observe(float64(v), n)
		}
	}
}

// observe adds a value that came n times.
func (t *tally) observe(v, n float64) {
	if n == 0 {
		return
	}
	t.merge(tally{count: n, sum: v * n, min: v, max: v})
	if t.values == nil {
		t.values = map[float64]float64{}
	}
	if t.blurred {
		v = blur(v)
	}
	t.values[v] += n
	if len(t.values) > fineValues && !t.blurred {
		t.blurred = true
		coarse := make(map[float64]float64, fineValues)
		for v, n := range t.values {
			coarse[blur(v)] += n
		}
		t.values = coarse
	}
}

// merge adds another tally.
func (t *tally) merge(o tally) {
	if o.count == 0 {
		return
	}
	if t.count == 0 {
		t.min, t.max = o.min, o.max
	}
	t.min, t.max = min(t.min, o.min), max(t.max, o.max)
	t.count += o.count
	t.sum += o.sum
	t.opaque = t.opaque || o.opaque
	if len(o.values) > 0 && t.values == nil {
		t.values = make(map[float64]float64, len(o.values))
	}
	for v, n := range o.values {
		t.values[v] += n
	}
}

// blur rounds a value to within 1 % of itself.
func blur(v float64) float64 {
	if v == 0 {
		return 0
	}
	const step = 0.01 // of the natural logarithm
	return math.Copysign(math.Exp(math.Round(math.Log(math.Abs(v))/step)*step), v)
}

// percentile is the value below which p percent of the values lie. There is
// none if a value is negative, or if some came as a statistic set.
func (t *tally) percentile(p float64) (float64, bool) {
	if t.opaque || t.count == 0 || t.min < 0 {
		return 0, false
	}
	values := make([]float64, 0, len(t.values))
	var total float64
	for v, n := range t.values {
		values = append(values, v)
		total += n
	}
	slices.Sort(values)
	var seen float64
	for _, v := range values {
		seen += t.values[v]
		if seen >= total*p/100 {
			// A blurred value may lie just outside what was seen.
			return min(max(v, t.min), t.max), true
		}
	}
	return t.max, true
}

// statistic is the named statistic: one of the five, or a percentile "pNN".
func (t *tally) statistic(name string) (float64, bool) {
	switch name {
	case "SampleCount":
		return t.count, t.count > 0
	case "Average":
		return t.sum / t.count, t.count > 0
	case "Sum":
		return t.sum, t.count > 0
	case "Minimum":
		return t.min, t.count > 0
	case "Maximum":
		return t.max, t.count > 0
	}
	p, ok := percentileOf(name)
	if !ok {
		return 0, false
	}
	return t.percentile(p)
}

// percentileOf reads "p99.9".
func percentileOf(name string) (float64, bool) {
	text, ok := strings.CutPrefix(name, "p")
	p, err := strconv.ParseFloat(text, 64)
	return p, ok && err == nil && p >= 0 && p <= 100
}

// expire lets go of what is older than is kept or more than is bounded. The
// caller holds mu.
func (s *store) expire(now time.Time) {
	n := 0
	for _, c := range s.cells {
		if s.weight <= s.max && now.Sub(c.born) < kept {
			break
		}
		n++
		s.weight -= 1 + len(c.values)
		delete(c.series.cells, c.slot)
		if len(c.series.cells) == 0 {
			delete(s.series, c.series.key)
		}
	}
	clear(s.cells[:n])
	s.cells = s.cells[n:] // the next growth of the slice leaves the front behind
}
