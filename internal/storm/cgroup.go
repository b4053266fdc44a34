package storm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hierarchy is where the quotas and the usage of groups are: of cgroup version 2 in one
// tree, of version 1 in those of the controllers cpu and cpuacct.
type hierarchy struct {
	quotas string // folder of the root group
	usages string // the same for what was used
	group  string // of the process, below both
	quota  func(dir string) (cores float64, limited bool)
	usage  func(dir string) (seconds float64, err error)
}

// quotaReader reads the usage of the group that has a quota below the CPUs that the
// process may use. ok is false where there is none. root is where cgroups are mounted
// and self the file that names the process's.
func quotaReader(root, self string) (read func() (busy, whole float64, err error), cores float64, ok bool) {
	text, _ := os.ReadFile(self) // without it, the root groups
	for _, h := range hierarchies(root, string(text)) {
		dir := ""
		// The tightest quota of the group and those above it holds. In a container the
		// group may be named as the host sees it, where only its own tree is mounted.
		for at := filepath.Join("/", h.group); ; at = filepath.Dir(at) {
			if n, limited := h.quota(filepath.Join(h.quotas, at)); limited && (cores == 0 || n < cores) {
				cores, dir = n, at
			}
			if at == "/" {
				break
			}
		}
		began, usages := time.Now(), filepath.Join(h.usages, dir)
		// In version 1 the usage may be counted by other groups than have the quotas.
		if _, err := h.usage(usages); err != nil || cores == 0 || cores >= float64(runtime.NumCPU()) {
			cores = 0
			continue
		}
		return func() (float64, float64, error) {
			used, err := h.usage(usages)
			return used, time.Since(began).Seconds() * cores, err
		}, cores, true
	}
	return nil, 0, false
}

// hierarchies reads the text of /proc/self/cgroup: lines of a number, controllers and a
// group, of which version 2 has the number 0 and no controllers.
func hierarchies(root, text string) []hierarchy {
	two := hierarchy{quotas: root, usages: root, quota: quotaOf2, usage: usageOf2}
	one := hierarchy{quotas: filepath.Join(root, "cpu"), usages: filepath.Join(root, "cpuacct"), quota: quotaOf1, usage: usageOf1}
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers := strings.Split(fields[1], ",")
		switch {
		case fields[0] == "0" && fields[1] == "":
			two.group = fields[2]
		case slices.Contains(controllers, "cpu"):
			one.group = fields[2]
		}
	}
	return []hierarchy{two, one}
}

// quotaOf2 reads cpu.max: a quota and a period in microseconds, or max.
func quotaOf2(dir string) (cores float64, limited bool) {
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text))
	if len(fields) != 2 {
		return 0, false
	}
	return share(fields[0], fields[1])
}

// quotaOf1 reads the same of version 1, where a quota of -1 is none.
func quotaOf1(dir string) (cores float64, limited bool) {
	quota, err1 := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	period, err2 := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err1 != nil || err2 != nil {
		return 0, false
	}
	return share(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

func share(quota, period string) (cores float64, limited bool) {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0, false
	}
	return q / p, true
}

// usageOf2 reads the seconds of CPU that a group has used.
func usageOf2(dir string) (float64, error) {
	file := filepath.Join(dir, "cpu.stat")
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

// usageOf1 reads the same of version 1, in nanoseconds.
func usageOf1(dir string) (float64, error) {
	file := filepath.Join(dir, "cpuacct.usage")
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", file, err)
	}
	return n / 1e9, nil
}
