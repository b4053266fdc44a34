package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

func (a *app) verifyCommand() *cobra.Command {
	format, since, timeout := "table", "", time.Duration(0)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the stream with the warehouse, record by record",
		Long: `verify reads the stream from its oldest record to the checkpoints and compares it with the warehouse: orders
that are missing, surplus, twice there or not their newest event, rejected records that are not in the dead
letters, letters of no record, rollups that are not what the facts add up to, checkpoints that cannot be. It
changes nothing, and may run while workers load. It ends with the replay command that would mend what it found.
It shares the stream's read limit with them (2 MiB/s for each shard). Status 1 means that something differs, or
that part of the stream should be loaded and is not.

Records from before INITIAL_POSITION may be loaded and need not be. LATEST is the time of the first start,
which nothing has noted down: give it with --since.`,
		Example: `  analytics-worker verify
  analytics-worker verify --format json | jq .ok
  INITIAL_POSITION=LATEST analytics-worker verify --since 2026-11-20T08:00:00Z`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "json"}, format) {
				return usagef("--format %s: must be table or json", format)
			}
			if err := checkTimeout(timeout); err != nil {
				return err
			}
			ctx, cancel := within(cmd.Context(), timeout)
			defer cancel()
			return a.verify(ctx, format, since)
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "table or json")
	cmd.Flags().StringVar(&since, "since", "", "records that arrived earlier need not be loaded: a time, or how long ago (default INITIAL_POSITION)")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, timeoutUsage)
	return cmd
}

func (a *app) verify(ctx context.Context, format, since string) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	if since != "" {
		at, err := parseSince(since, time.Now())
		if err != nil {
			return usagef("--since %s: %w", since, err)
		}
		c.Initial = initialPosition{all: stream.AtTime(at)}
	}
	report, err := a.compare(ctx, c)
	if err != nil {
		return err
	}
	if err := writeVerify(a.reporting(format), format, report, time.Now()); err != nil {
		return err
	}
	if report.OK {
		return nil
	}
	if c.Initial.latest {
		fmt.Fprintln(a.stderr, "analytics-worker: INITIAL_POSITION is LATEST, and records from before the worker's first start were never "+
			"to be loaded; if they are what differs, say when that was: verify --since TIME")
	}
	return errSilent
}

// compare reads everything and compares it.
func (a *app) compare(ctx context.Context, c config) (*verify.Report, error) {
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return nil, err
	}
	letters, fates, err := a.lettersToCompare(ctx, c, account)
	if err != nil {
		return nil, err
	}
	source := account.Stream(c.Stream)
	identity, err := source.Identity(ctx)
	if err != nil {
		return nil, err
	}
	progress := newLine(ctx, a.stderr)
	defer progress.done()
	return verify.Run(overheard(ctx, progress.say), verify.Config{
		Stream:   source.Name(),
		Identity: identity,
		Shards:   source.Shards,
		Open:     func(s stream.Shard, at stream.Position) verify.Reader { return source.Reader(s, at) },
		DB:       account.Redshift(reading(c.Redshift)),
		Letters:  letters,
		Fates:    fates,
		Tell:     progress.say,
		Families: c.Families,
		Start:    func(s stream.Shard) stream.Position { return c.Initial.of(s, time.Time{}) },
	})
}

// lettersToCompare are the dead letters, and what became of them. A folder that is not
// there has none: if no record was rejected, that is as it should be.
func (a *app) lettersToCompare(ctx context.Context, c config, account *aws.Account) (
	iter.Seq2[deadletter.Letter, error], func(context.Context) (deadletter.Fates, error), error,
) {
	store, err := c.lettersAsTheyAre(account)
	var none *noFolderError
	switch {
	case errors.As(err, &none):
		fmt.Fprintln(a.painted(a.stderr), "! "+printable(none.Error()))
		return func(func(deadletter.Letter, error) bool) {}, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return store.All(ctx), store.Fates, nil
}

func writeVerify(w io.Writer, format string, r *verify.Report, now time.Time) error {
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range []struct {
		what string
		n    int64
	}{
		{"records from before the start", r.Early},
		{"records up to the checkpoints", r.Records},
		{"  rejected", r.Rejected},
		{"  loaded", r.Records - r.Rejected},
		{"dead letters", r.Letters},
		{"  loaded at a later try", r.LettersLoaded},
		{"  parked, may be loaded yet", r.LettersParked},
		{"  missing", r.LettersMissing},
		{"  of no record", r.LettersSurplus},
	} {
		fmt.Fprintf(tw, "%s\t%d\n", row.what, row.n)
	}
	for i, t := range r.Tables {
		writeFacts(tw, event.Family(i), t)
	}
	if r.Until != nil {
		fmt.Fprintf(tw, "compared what arrived until\t%s (%s ago)\n", r.Until.Format("2006-01-02 15:04:05 UTC"), now.Sub(*r.Until).Round(time.Second))
	}
	for _, d := range r.Differences {
		fmt.Fprintf(tw, "%s\t%s\n", d.Kind, printable(strconv.Quote(d.Key)))
		if d.Stream != "" {
			fmt.Fprintf(tw, "  stream\t%s\n", printable(d.Stream))
		}
		if d.Warehouse != "" {
			fmt.Fprintf(tw, "  warehouse\t%s\n", printable(d.Warehouse))
		}
	}
	for _, g := range r.Gaps {
		fmt.Fprintf(tw, "not compared\t%s\n", printable(strings.TrimSpace(g.Shard+" "+g.Why)))
	}
	fmt.Fprintln(tw, outcome(r))
	if err := tw.Flush(); err != nil || r.Mend == nil {
		return err
	}
	return writeMend(w, r.Mend)
}

// mostShards bounds the shards that a command names; more are read whole.
const mostShards = 8

// writeMend writes what to run.
func writeMend(w io.Writer, m *verify.Mend) error {
	if n := int64(len(m.Remove)) + m.More; n > 0 {
		fmt.Fprintf(w, "\na replay leaves alone what is as new as its event and says something else; remove that first (%d in all):\n\n", n)
		for _, sql := range m.Remove {
			fmt.Fprintf(w, "  %s;\n", sql)
		}
		if m.More > 0 {
			fmt.Fprintf(w, "  (and %d more: verify names them once these are mended)\n", m.More)
		}
	}
	fmt.Fprintln(w, "\nthis mends what differs, beside running workers:")
	fmt.Fprintln(w)
	for _, r := range m.Replay {
		fmt.Fprintf(w, "  analytics-worker replay --from %s --to %s", r.From.Format(time.RFC3339Nano), r.To.Format(time.RFC3339Nano))
		if len(r.Shards) <= mostShards {
			for _, id := range r.Shards {
				fmt.Fprintf(w, " --shard %s", printable(id))
			}
		}
		fmt.Fprintln(w)
	}
	return nil
}

// writeFacts tells of one table of facts, if there is anything to tell of it.
func writeFacts(w io.Writer, f event.Family, t verify.TableReport) {
	if f != event.Orders && t.Keys+t.Facts+t.Rollups == 0 {
		return
	}
	what := warehouse.FactsOf(f).Noun + "s"
	for _, row := range []struct {
		what string
		n    int64
	}{
		{"distinct " + what + " among them", t.Keys},
		{"rows of " + t.Table, t.Facts},
		{"  missing", t.Missing},
		{"  surplus", t.Surplus},
		{"  not their newest event", t.Differing},
		{"  past the retention, not checked", t.Unverifiable},
		{"  of shards that were not read", t.Uncompared},
	} {
		fmt.Fprintf(w, "%s\t%d\n", row.what, row.n)
	}
	if t.Rollup != "" {
		fmt.Fprintf(w, "rows of %s\t%d\n  not what the facts add up to\t%d\n", t.Rollup, t.Rollups, t.RollupsDiffering)
	}
}

// outcome is the last line, and what to do next.
func outcome(r *verify.Report) string {
	switch {
	case len(r.Differences) > 0:
		return "DIFFERENCES FOUND; OPERATIONS.md, \"Is everything there?\", says what each means and what to do"
	case len(r.Gaps) > 0:
		return "NOT ALL WAS COMPARED: is a worker running? See analytics-worker status"
	case r.Records == 0:
		return "everything agrees: there are no records up to the checkpoints"
	}
	return "everything agrees"
}
