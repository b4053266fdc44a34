package admin

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/metrics"
)

const (
	sampleEvery = 5 * time.Second
	maxSamples  = 180 // 15 minutes
	// Percentiles are told of the last markEvery*maxMarks at most.
	markEvery = time.Minute
	maxMarks  = 5
)

// past is the last minutes of a worker, so that whoever opens the dashboard sees
// how it came to this. Its memory is bounded.
type past struct {
	mu      sync.Mutex // guards what follows
	samples []sample
	marks   []mark
	process Process
	cpuAt   time.Time
	cpu     time.Duration
}

// sample is the counts at one time, for plots: milliseconds of the epoch, records
// read, processed and rejected, milliseconds behind, and of each family the events
// written.
type sample []int64

// Columns of a sample that are no counts.
const (
	atColumn     = 0
	behindColumn = 4
)

// columns is how many a sample has.
func columns(m *metrics.Metrics) int { return behindColumn + 1 + len(families(m)) }

type mark struct {
	at          time.Time
	loads, ends metrics.Mark
}

// Process is what the process takes of the machine.
type Process struct {
	CPUPercent  float64 `json:"cpu_percent"` // of one processor, over the last seconds
	Processors  int     `json:"processors"`
	MemoryBytes int64   `json:"memory_bytes"` // resident
	MemoryLimit int64   `json:"memory_limit,omitempty"`
}

// sample notes the present.
func (p *past) sample(now time.Time, c Config) {
	st, m := c.Status(), c.Metrics
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := sample{now.UnixMilli(), m.RecordsRead.Value(), m.RecordsProcessed.Value(), m.RecordsRejected.Value(), st.Behind.Milliseconds()}
	for _, f := range families(m) {
		counts = append(counts, f.Written)
	}
	p.samples = append(p.samples, counts)
	if over := len(p.samples) - maxSamples; over > 0 {
		p.samples = append(p.samples[:0], p.samples[over:]...)
	}
	if len(p.marks) == 0 || now.Sub(p.marks[len(p.marks)-1].at) >= markEvery {
		p.marks = append(p.marks, mark{now, m.WriteDuration.Mark(), m.EndToEnd.Mark()})
		if over := len(p.marks) - maxMarks; over > 0 {
			p.marks = append(p.marks[:0], p.marks[over:]...)
		}
	}
	cpu := cpuTime()
	if !p.cpuAt.IsZero() && now.After(p.cpuAt) {
		p.process.CPUPercent = 100 * float64(cpu-p.cpu) / float64(now.Sub(p.cpuAt))
	}
	p.cpu, p.cpuAt = cpu, now
	p.process.Processors = runtime.GOMAXPROCS(0)
	p.process.MemoryBytes = residentBytes()
}

func (p *past) history() []sample {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sample{}, p.samples...)
}

func (p *past) recent(c Config) (loads, ends Percentiles, process Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := p.marks[0]
	return percentiles(&c.Metrics.WriteDuration, since.loads), percentiles(&c.Metrics.EndToEnd, since.ends), p.process
}

func percentiles(d *metrics.Distribution, since metrics.Mark) (out Percentiles) {
	values, n := d.QuantileSince(since, 0.5, 0.9, 0.99)
	for i, v := range values {
		out.Millis[i] = v.Milliseconds()
	}
	out.Count = n
	return out
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var use syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &use) != nil {
		return 0
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// residentBytes is the memory of the process as the kernel counts it, or, where
// that cannot be read, as the Go runtime does.
func residentBytes() int64 {
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return pages * int64(os.Getpagesize())
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased)
}
