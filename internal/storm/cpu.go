package storm

import (
	"fmt"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// Meter tells how busy the CPUs are that the process may use. It is not safe
// for concurrent use.
type Meter struct {
	read  func() (busy, whole float64, err error) // seconds so far
	about string
	cores float64

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
// quota of its own, or of the CPUs that the process is kept to.
func NewMeter() (*Meter, error) {
	if read, cores, ok := quotaReader("/sys/fs/cgroup", "/proc/self/cgroup"); ok {
		m := &Meter{read: read, about: fmt.Sprintf("the container's quota of %.2g CPUs", cores), cores: cores}
		_, err := m.Load()
		return m, err
	}
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return nil, fmt.Errorf("measure the CPU: %w", err)
	}
	s, err := fs.Stat()
	if err != nil {
		return nil, fmt.Errorf("measure the CPU: %w", err)
	}
	var allowed unix.CPUSet
	mine := func(int64) bool { return true }
	about, cores := fmt.Sprintf("the machine's %d CPUs", len(s.CPU)), len(s.CPU)
	if err := unix.SchedGetaffinity(0, &allowed); err == nil && allowed.Count() < len(s.CPU) {
		mine = func(n int64) bool { return allowed.IsSet(int(n)) }
		cores = allowed.Count()
		about = fmt.Sprintf("%d of the machine's %d CPUs, to which this process is kept", cores, len(s.CPU))
	}
	m := &Meter{read: func() (float64, float64, error) { return machine(fs, mine) }, about: about, cores: float64(cores)}
	_, err = m.Load()
	return m, err
}

// About names what is measured.
func (m *Meter) About() string { return m.about }

// Cores is how many CPUs are measured; of a quota it may be a part of one.
func (m *Meter) Cores() float64 { return m.cores }

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

// machine reads /proc/stat, of the CPUs that are mine. Steal counts as busy: somebody
// wanted to run then. Guest time is part of user time there.
func machine(fs procfs.FS, mine func(int64) bool) (busy, whole float64, err error) {
	s, err := fs.Stat()
	if err != nil {
		return 0, 0, err
	}
	for n, c := range s.CPU {
		if mine(n) {
			now := c.User + c.Nice + c.System + c.IRQ + c.SoftIRQ + c.Steal
			busy += now
			whole += now + c.Idle + c.Iowait
		}
	}
	return busy, whole, nil
}
