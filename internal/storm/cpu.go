package storm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// Meter tells how busy the CPUs are that the process may use. It is not safe
// for concurrent use.
type Meter struct {
	read  func() (busy, whole float64, err error) // seconds so far
	about string

	last reading
}

// reading is seconds of CPU since some time in the past.
type reading struct {
	busy  float64 // of everybody
	own   float64 // of this process
	whole float64 // that there were
}

// Load is the shares of the CPUs that were busy over a time, 0 to 1.
type Load struct {
	Busy float64 // by everybody
	Own  float64 // by this process
}

// NewMeter returns a meter of the machine, or of the container where that has a
// quota of its own.
func NewMeter() (*Meter, error) {
	if read, cores, ok := quotaReader("/sys/fs/cgroup", "/proc/self/cgroup"); ok {
		m := &Meter{read: read, about: fmt.Sprintf("the container's quota of %.2g CPUs", cores)}
		_, err := m.Load()
		return m, err
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, fmt.Errorf("measure the CPU: %w", err)
	}
	m := &Meter{read: func() (float64, float64, error) { return machine(fs) }, about: fmt.Sprintf("the machine's %d CPUs", runtime.NumCPU())}
	_, err = m.Load()
	return m, err
}

// About names what is measured.
func (m *Meter) About() string { return m.about }

// Load is how busy the CPUs were since the last call.
func (m *Meter) Load() (Load, error) {
	var now reading
	var err error
	if now.busy, now.whole, err = m.read(); err != nil {
		return Load{}, fmt.Errorf("measure the CPU: %w", err)
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		return Load{}, fmt.Errorf("measure the CPU of this process: %w", err)
	}
	now.own = time.Duration(own.Utime.Nano() + own.Stime.Nano()).Seconds()
	last := m.last
	m.last = now
	if now.whole <= last.whole {
		return Load{}, nil
	}
	share := func(from, to float64) float64 { return min(1, max(0, (to-from)/(now.whole-last.whole))) }
	return Load{share(last.busy, now.busy), share(last.own, now.own)}, nil
}

// machine reads /proc/stat. Steal counts as busy: somebody wanted to run then.
// Guest time is part of user time there.
func machine(fs procfs.FS) (busy, whole float64, err error) {
	s, err := fs.Stat()
	if err != nil {
		return 0, 0, err
	}
	c := s.CPUTotal
	busy = c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
	return busy, busy + c.Idle + c.Iowait, nil
}

// quotaReader reads the usage of a cgroup (version 2) that has a quota below the
// machine's CPUs. ok is false where there is none.
func quotaReader(root, self string) (read func() (busy, whole float64, err error), cores float64, ok bool) {
	dir := root
	if text, err := os.ReadFile(self); err == nil {
		for line := range strings.Lines(string(text)) {
			if path, v2 := strings.CutPrefix(strings.TrimSpace(line), "0::"); v2 {
				dir = filepath.Join(root, path)
			}
		}
	}
	// The tightest quota of the group and those above it holds.
	for at := dir; strings.HasPrefix(at, root); at = filepath.Dir(at) {
		if n, limited := quota(filepath.Join(at, "cpu.max")); limited && (cores == 0 || n < cores) {
			cores, dir = n, at
		}
	}
	if cores == 0 || cores >= float64(runtime.NumCPU()) {
		return nil, 0, false
	}
	began := time.Now()
	stat := filepath.Join(dir, "cpu.stat")
	return func() (float64, float64, error) {
		used, err := usage(stat)
		return used, time.Since(began).Seconds() * cores, err
	}, cores, true
}

// quota reads cpu.max: a quota and a period in microseconds, or max.
func quota(file string) (cores float64, limited bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, false
	}
	q, err1 := strconv.ParseFloat(fields[0], 64)
	period, err2 := strconv.ParseFloat(fields[1], 64)
	if err1 != nil || err2 != nil || q <= 0 || period <= 0 {
		return 0, false
	}
	return q / period, true
}

// usage reads the seconds of CPU that a cgroup has used.
func usage(file string) (float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if micros, found := strings.CutPrefix(strings.TrimSpace(line), "usage_usec "); found {
			n, err := strconv.ParseFloat(micros, 64)
			return n / 1e6, err
		}
	}
	return 0, errors.New(file + " names no usage_usec")
}
