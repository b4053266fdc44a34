package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/storm"
)

func (a *app) writeStormReport(format string, r *storm.Report) error {
	if format == "json" {
		return a.printJSON(r)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	writeStormReached(w, r)
	if err := w.Flush(); err != nil {
		return err
	}
	writeStormQueries(a.stdout, r)
	return nil
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

func age(s float64) string {
	if s < 0 {
		return "not known"
	}
	return seconds(s)
}

// writeStormReached says what was asked and what was reached.
func writeStormReached(w io.Writer, r *storm.Report) {
	row := func(name, format string, values ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, values...))
	}
	end := "ran its full time"
	if !r.Completed {
		end = "was cut short"
	}
	row("storm", "%s of %s, seed %d: %s", seconds(r.Seconds), seconds(r.Asked.Seconds), r.Asked.Seed, end)
	row("", "over the 90 days before %s, at most %s per result", r.Asked.Until, plural.Of(r.Asked.MaxRows, "row"))
	if r.CPU.Judged {
		row("CPU", "mean %.1f %%, asked %.0f %%, at most %.1f off over 10 s, after the first 15 s (%s)", r.CPU.Mean, r.Asked.CPU, r.CPU.Worst, r.CPU.Of)
	} else {
		row("CPU", "mean %.1f %%, asked %.0f %%; too short to tell how it was held, which takes 25 s (%s)", r.CPU.Mean, r.Asked.CPU, r.CPU.Of)
	}
	row("", "%.1f %% by the storm itself, %.1f %% by all others on the machine", r.CPU.Own, max(0, r.CPU.Mean-r.CPU.Own))
	q := r.Queries
	row("queries", "%d started, %d finished, %d failed, %s refused; %d at once, asked %d", q.Started, q.Finished, q.Failed, plural.Of(q.Refused, "call"), r.AtOnce, r.Asked.Concurrency)
	if r.QuotaFound > 0 {
		row("", "the service took no more at %d active statements of the storm's", r.QuotaFound)
	}
	row("", "queued %s (p95 %s), ran %s (p95 %s)", seconds(r.QueueP50), seconds(r.QueueP95), seconds(r.RunP50), seconds(r.RunP95))
	row("results", "%s, %s, %s", plural.Of(q.Rows, "row"), plural.Of(q.Bytes, "byte"), plural.Of(r.Work.RealPages, "page"))
	if r.Work.RealPages+r.Work.MadePages > 0 {
		row("", "%.0f %% of the work was on them, the rest on %s", r.Work.RealShare, plural.Of(r.Work.MadePages, "made-up page"))
	}
	f := r.Figures
	row("revenue", "%s, sum %.2f, mean %.2f, deviation %.2f, largest %.2f", plural.Of(f.Amounts, "amount"), f.Sum, f.Mean, f.Spread, f.Largest)
	if r.Unread > 0 {
		row("", "not read when the time was over: %s of results", plural.Of(r.Unread, "page"))
	}
	writeChecksums(row, r)
	if p := r.Freshness; p.Before < 0 && p.P50 < 0 && p.After < 0 {
		row("pipeline", "how far it is behind is not known: the warehouse knows no time up to which all shards are loaded")
	} else {
		row("pipeline", "behind by %s before, %s at p50 and %s at p99 during, %s after", age(p.Before), age(p.P50), age(p.P99), age(p.After))
	}
	for _, alarm := range r.Alarms {
		row("alarm", "%s (%s): %s", alarm.Name, alarmRule(alarm), alarmSaid(alarm, r))
	}
}

// ofLag reports whether an alarm is of how far the pipeline is behind.
func ofLag(a storm.Alarm) bool { return strings.HasPrefix(a.Metric, "MillisBehind") }

func alarmRule(a storm.Alarm) string {
	unit := " %"
	if ofLag(a) {
		unit = " ms"
	}
	return fmt.Sprintf("%s of %s above %.0f%s, %d times %d s", a.Statistic, a.Metric, a.Threshold, unit, a.Periods, a.Seconds)
}

func alarmSaid(a storm.Alarm, r *storm.Report) string {
	unknown := ""
	if a.Unknown > 0 {
		unknown = fmt.Sprintf("; for %d s it is not known", a.Unknown)
	}
	switch {
	case a.Fired && ofLag(a) && 1000*r.Freshness.Before > a.Threshold:
		return fmt.Sprintf("would have fired after %d s, and the pipeline was behind by more before the storm already: is a worker running?", a.FiredAt)
	case a.Fired:
		return fmt.Sprintf("would have fired after %d s", a.FiredAt)
	case a.Unknown > 0 && a.Unknown >= len(r.PerSecond)-1:
		return "not known"
	case a.Seen < a.Periods:
		return fmt.Sprintf("cannot fire within %s: it takes %d whole minutes of the clock%s", seconds(r.Seconds), a.Periods*a.Seconds/60, unknown)
	}
	return "would not have fired" + unknown
}

// writeChecksums says by what this storm can be compared with another of its seed.
func writeChecksums(row func(name, format string, values ...any), r *storm.Report) {
	if r.ChecksumOf == 0 {
		row("checksum", "none: the first query did not finish")
	} else {
		row("checksum", "%s over the first %s of the seed", r.Checksum, plural.Either(r.ChecksumOf, "query", "queries"))
	}
	for _, c := range r.Checksums {
		if c.Queries > r.ChecksumOf {
			row("", "%s over the first %d", c.Checksum, c.Queries)
		}
	}
	if len(r.Lost) > 0 {
		row("", "given up after failures: queries %v; what comes after the first of them is in no checksum", r.Lost)
	}
}

// writeStormQueries lists the slowest queries, and what failed.
func writeStormQueries(w io.Writer, r *storm.Report) {
	if len(r.Errors) > 0 {
		fmt.Fprintln(w, "\nErrors")
		for _, text := range slices.Sorted(maps.Keys(r.Errors)) {
			fmt.Fprintf(w, "  %s: %s\n", plural.Of(r.Errors[text], "time"), printable(text))
		}
	}
	if len(r.Slowest) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSlowest queries")
	for _, q := range r.Slowest {
		fmt.Fprintf(w, "  %v, queued %v, %s: query %d, %s\n    %s\n", q.Ran.Round(time.Millisecond), q.Waited.Round(time.Millisecond), q.End, q.Number, q.Kind,
			strings.ReplaceAll(q.SQL, "\n", "\n    "))
	}
}
