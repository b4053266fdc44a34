package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/storm"
)

// stormDisplay shows a storm while it runs: drawn in place on a terminal, a line
// every five seconds elsewhere.
type stormDisplay struct {
	w      io.Writer
	screen *terminal // w, where it is drawn in place; else nil
	every  time.Duration
	next   time.Duration // of the storm's time, when the next line is due
	size   func(io.Writer) (width, height int)
}

func (a *app) newStormDisplay(w io.Writer, o stressOptions) *stormDisplay {
	d := &stormDisplay{w: w, every: 5 * time.Second, size: a.size}
	if t, ok := onTerminal(w).(*terminal); ok && steerable(t) {
		d.w, d.screen, d.every = t, t, 500*time.Millisecond
	}
	fmt.Fprintf(d.w, "Query Storm: %v at %.0f %% CPU, seed %d\n", o.duration, o.target, o.seed)
	return d
}

// say writes what is being done before there is anything to show.
func (d *stormDisplay) say(what string) { fmt.Fprintln(d.w, what) }

func (d *stormDisplay) show(s storm.Snapshot) {
	if d.screen == nil {
		if s.Elapsed >= d.next { // at the end it is shown for each query that is cancelled
			d.next = s.Elapsed + d.every*9/10
			fmt.Fprintln(d.w, stormLine(s))
		}
		return
	}
	width, height := d.size(d.screen)
	d.screen.draw(stormLines(s, width, height))
}

func (d *stormDisplay) end() {
	if d.screen != nil {
		d.screen.keep()
		fmt.Fprintln(d.w)
	}
}

// stormState is the storm's state in a few words.
func stormState(s storm.Snapshot) string {
	switch {
	case s.Cancelling > 0:
		return "cancelling " + plural.Either(s.Cancelling, "query", "queries")
	case s.Down:
		return "the warehouse takes no queries: made-up results alone (" + stormError(s) + ")"
	case s.Failing:
		return "every query fails: made-up results alone (" + stormError(s) + ")"
	case s.Held:
		return "queries are held back: the CPU is above the target"
	case s.Full:
		return plural.Either(s.Unread, "page waits", "pages wait") + " to be read, which is enough"
	case s.InFlight >= s.Allowed && s.Counts.Refused > 0:
		return "at the account's limits"
	}
	return "queries and reports"
}

// stormError is the last error, as far as there is room for it.
func stormError(s storm.Snapshot) string { return cut(printable(s.LastError), 160) }

// cut is the first characters of a text.
func cut(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}

func stormBehind(s storm.Snapshot) string {
	if !s.FreshKnown {
		return "how far it is behind is not known"
	}
	return stormFreshness(s) + " behind"
}

func stormFreshness(s storm.Snapshot) string {
	if !s.FreshKnown {
		return "not known"
	}
	return s.Freshness.Round(100 * time.Millisecond).String()
}

// stormLine is a snapshot on one line, for a log.
func stormLine(s storm.Snapshot) string {
	return fmt.Sprintf("%4.0fs  CPU %3.0f%% of %.0f%%  in flight %d of %d  finished %d  failed %d  refused %d  %s rows/s  query p50 %v p95 %v  made up %.0f%%  pipeline %s  %s",
		s.Elapsed.Seconds(), s.CPU, s.Target, s.InFlight, s.Allowed, s.Counts.Finished, s.Counts.Failed, s.Counts.Refused,
		thousands(s.RowsPerSecond), s.RunP50.Round(time.Millisecond), s.RunP95.Round(time.Millisecond), 100*s.Made, stormFreshness(s), stormState(s))
}

// thousands writes a number the short way.
func thousands(n float64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1fM", n/1e6)
	case n >= 1e4:
		return fmt.Sprintf("%.0fk", n/1e3)
	}
	return fmt.Sprintf("%.0f", n)
}

// mostWidth is how wide the display is at the most.
const mostWidth = 100

// stormLines is a snapshot on a screen of that size. No line is wider than it: one
// that wraps would be two, and the next picture would be drawn below this one. On a
// low screen there is no plot.
func stormLines(s storm.Snapshot, width, height int) []string {
	width = min(width, mostWidth)
	left := fmt.Sprintf("] %v left", s.Left.Round(time.Second))
	whole := (s.Elapsed + s.Left).Seconds()
	room := max(0, width-len(left)-8)
	full := int(float64(room) * min(1, s.Elapsed.Seconds()/max(1, whole)))
	counts := s.Counts
	out := []string{"[" + strings.Repeat("=", full) + strings.Repeat(" ", room-full) + left}
	if height > plotRows+8 {
		out = append(out, "")
		out = append(out, cpuPlot(s, max(10, width-8))...)
	}
	out = append(out,
		fmt.Sprintf("CPU        %3.0f %%, target %.0f %%: %s", s.CPU, s.Target, stormState(s)),
		fmt.Sprintf("queries    %d in flight, %d allowed, %d finished, %d failed, %d refused", s.InFlight, s.Allowed, counts.Finished, counts.Failed, counts.Refused),
		fmt.Sprintf("           queued p50 %v, ran p50 %v and p95 %v", s.WaitP50.Round(time.Millisecond), s.RunP50.Round(time.Millisecond), s.RunP95.Round(time.Millisecond)),
		fmt.Sprintf("results    %s rows, %s rows/s, %s to read, %.0f %% of the work made up", thousands(float64(counts.Rows)), thousands(s.RowsPerSecond), plural.Of(s.Unread, "page"), 100*s.Made),
		"pipeline   "+stormBehind(s),
	)
	for i, line := range out {
		out[i] = cut(line, width)
	}
	return out
}

// plotRows is the height of the plot of the CPU.
const plotRows = 6

// cpuPlot draws the CPU of the last seconds, with the target as a line.
func cpuPlot(s storm.Snapshot, width int) []string {
	history := s.History[max(0, len(s.History)-width):]
	const step = 100.0 / plotRows
	var out []string
	for row := plotRows - 1; row >= 0; row-- {
		low := float64(row) * step
		var b strings.Builder
		fmt.Fprintf(&b, "%4.0f%% ", low+step)
		at := s.Target > low && s.Target <= low+step
		for i := range width {
			switch {
			case i < len(history) && history[i].CPU >= low+step/2:
				b.WriteByte('#')
			case at:
				b.WriteByte('-')
			default:
				b.WriteByte(' ')
			}
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}
