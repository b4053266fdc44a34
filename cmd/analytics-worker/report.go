package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// reportOptions are the flags of report.
type reportOptions struct {
	format string
	limit  int
	since  string
	store  string
	plot   bool
	safe   bool
	wide   bool

	timeout time.Duration

	from    time.Time // of since; zero = all
	storeID int64     // of store
}

func (a *app) reportCommand() *cobra.Command {
	o := reportOptions{format: "table", limit: 20, timeout: askTimeout}
	var names []string
	var about strings.Builder
	for _, r := range reports(warehouse.Names{}) {
		names = append(names, r.name)
		fmt.Fprintf(&about, "  %-18s %s\n", r.name, r.about)
	}
	cmd := &cobra.Command{
		Use:   "report NAME",
		Short: "Ask the warehouse a known question, such as top-stores",
		Long: "report runs one of these queries in the warehouse and prints the answer. Times are UTC. In JSON, numbers are numbers\n" +
			"with all their digits, and times are as RFC 3339 has them. Ctrl-C and --timeout cancel the query.\n\n" + about.String(),
		Example: `  analytics-worker report top-stores --since 24h --limit 5
  analytics-worker report orders-over-time --format csv > hours.csv
  analytics-worker report minutes --since 2026-11-20T08:00:00Z --store 7`,
		ValidArgs: names,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(names, args[0]) {
				return usagef("report takes one name: %s", strings.Join(names, ", "))
			}
			at := slices.Index(names, args[0])
			if err := o.check(reports(warehouse.Names{})[at], time.Now()); err != nil {
				return err
			}
			if !cmd.Flags().Changed("plot") {
				o.plot = isTerminal(a.stdout)
			}
			return a.report(cmd.Context(), at, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table, csv or json")
	f.IntVar(&o.limit, "limit", o.limit, "rows at most")
	f.StringVar(&o.since, "since", "", "only what happened since then: a time, or how long ago (90m, 24h, 7d)")
	f.StringVar(&o.store, "store", "", "only this store_id")
	f.BoolVar(&o.safe, "safe-cells", false, safeCellsUsage)
	f.BoolVar(&o.wide, "wide", false, "in a table, with whole shard ids and positions, and the stream's name in each row")
	f.DurationVar(&o.timeout, "timeout", o.timeout, timeoutUsage)
	f.BoolVar(&o.plot, "plot", false, "draw a bar beside each row of a table (default: on a terminal)")
	return cmd
}

// safeCellsUsage describes --safe-cells.
const safeCellsUsage = "with --format csv, put a ' before each cell that a spreadsheet would take for a formula (=, +, -, @, tab, return first)"

func (o *reportOptions) check(r report, now time.Time) (err error) {
	switch {
	case o.limit < 1 || o.limit > 100_000:
		return usagef("--limit %d: must be from 1 to 100000", o.limit)
	case !slices.Contains(formats, o.format):
		return usagef("--format %s: must be one of %s", o.format, strings.Join(formats, ", "))
	case o.safe && o.format != "csv":
		return usagef("--safe-cells goes with --format csv")
	case o.since != "" && r.timeColumn == "":
		return usagef("report %s does not take --since", r.name)
	case o.store != "" && !r.byStore:
		return usagef("report %s does not take --store", r.name)
	}
	if o.since != "" {
		if o.from, err = parseSince(o.since, now); err != nil {
			return usagef("--since %s: %w", o.since, err)
		}
	}
	if o.store != "" {
		if o.storeID, err = strconv.ParseInt(o.store, 10, 32); err != nil {
			return usagef("--store %s: must be a whole number", o.store)
		}
	}
	return checkTimeout(o.timeout)
}

// parseRange reads --since and --until; a zero time is one that was not given.
func parseRange(since, until string, now time.Time) (from, to time.Time, err error) {
	if since != "" {
		if from, err = parseSince(since, now); err != nil {
			return from, to, usagef("--since %s: %w", since, err)
		}
	}
	if until != "" {
		if to, err = parseSince(until, now); err != nil {
			return from, to, usagef("--until %s: %w", until, err)
		}
	}
	if until != "" && !from.Before(to) {
		return from, to, usagef("--since %s is not before --until %s", from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	}
	return from, to, nil
}

// parseSince reads an instant, or a duration before now. Days are 24 hours. It takes
// what this program prints, too.
func parseSince(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.Add(-time.Duration(n) * 24 * time.Hour), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02", "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, strings.TrimSuffix(s, " UTC")); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`not a time like "2026-11-20T08:00:00Z" and not a duration like "90m" or "7d"`)
}

// report runs the report that is at this place in the list.
func (a *app) report(ctx context.Context, at int, o reportOptions) error {
	var r report
	var results []warehouse.Result
	err := a.ask(ctx, o.timeout, func(ctx context.Context, db *aws.Redshift, _ func()) (err error) {
		r = reports(db.Names())[at]
		results, err = db.Run(ctx, warehouse.Token(), []string{r.query(o)})
		return err
	})
	if err != nil {
		return fmt.Errorf("report %s: %w", reports(warehouse.Names{})[at].name, err)
	}
	result := results[0]
	if r.finish != nil {
		result = r.finish(result)
	}
	if o.format == "table" && !o.wide {
		result = narrow(result)
	}
	if o.plot && o.format == "table" && r.plot != "" {
		columns := 0
		if a.fits(a.stdout) {
			columns, _ = a.size(a.stdout)
		}
		result = withBars(result, r.plot, columns)
	}
	out := &rowWriter{w: a.stdout, format: o.format, safeCells: o.safe, utc: true}
	if err := out.part(result); err != nil {
		return err
	}
	return a.ended(out)
}

// ended ends what was printed of a result, and says of a table that it is empty.
func (a *app) ended(out *rowWriter) error {
	if out.format == "table" && out.began && out.rows == 0 {
		fmt.Fprintln(a.stderr, "no rows")
	}
	return out.end()
}
