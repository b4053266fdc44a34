package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/verdict"
	"github.com/cloudcafe/analytics-worker/internal/vitals"
)

// fleetReport is what the workers tell of themselves in the lease table. A null means
// that one of them, or none, says so.
type fleetReport struct {
	Workers  []verdict.Member `json:"workers"`                   // those that have a shard, by name
	Rate     *float64         `json:"records_a_second"`          // loaded or rejected, of the last seconds
	Rejected *float64         `json:"records_rejected_a_second"` // of them
	Waiting  *int             `json:"records_waiting"`           // read and not loaded
	Staged   *verdict.Staged  `json:"fleet_loads"`               // null = each loads for itself, or none says
}

// fleet is what the leases tell of the workers.
func (s *survey) fleet() fleetReport {
	var rows []lease.Seen
	for _, r := range slices.Collect(maps.Values(s.leases)) {
		if s.owner(r.Shard) != "" { // else it is of another stream
			rows = append(rows, lease.Seen{Row: r})
		}
	}
	out := fleetReport{Workers: vitals.Members(rows, func(r lease.Seen) bool { return s.alive[r.Owner] })}
	if sum, known := verdict.Total(out.Workers); known {
		out.Rate, out.Rejected, out.Waiting = &sum.Rate, &sum.Rejected, &sum.Waiting
	}
	if staged := verdict.Together(out.Workers); staged.Loader != "" {
		out.Staged = &staged
	}
	return out
}

// flow says what the workers do, in one line.
func (f fleetReport) flow() string {
	if f.Rate == nil {
		return "not known"
	}
	return fmt.Sprintf("%s records/s, %s/s rejected; %d wait", perSecond(*f.Rate), perSecond(*f.Rejected), *f.Waiting)
}

func perSecond(v float64) string {
	if v > 0 && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// write writes the workers as a table. wide is with the addresses of their pages.
func (f fleetReport) write(w io.Writer, wide bool, now time.Time) error {
	if len(f.Workers) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// All workers of a fleet are of one version, but while it is brought up to date.
	wide = wide || f.versions() > 1
	head := "WORKER\tSHARDS\tALIVE\tRATE\tWAIT\tUP\tPAGE"
	if wide {
		head += "\tVERSION"
	}
	fmt.Fprintln(tw, head)
	for _, m := range f.Workers {
		alive, self, version := m.Alive, m.Self, "-"
		speed, waiting, up, page := "-", "-", "-", "-"
		if self != nil {
			speed, waiting, up = perSecond(self.Rate), fmt.Sprint(self.Waiting), uptime(now.Sub(self.Since))
			version, page = dash(printable(self.Version)), dash(printable(self.Page))
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t%s", printable(m.Worker), m.Shards, yesNo(&alive), speed, waiting, up, page)
		if wide {
			fmt.Fprintf(tw, "\t%s", version)
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// versions is how many there are.
func (f fleetReport) versions() int {
	all := make(map[string]bool)
	for _, m := range f.Workers {
		if m.Self != nil {
			all[m.Self.Version] = true
		}
	}
	return len(all)
}

// uptime is a time in one or two letters and a number.
func uptime(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Truncate(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
