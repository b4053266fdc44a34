package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	format := "table"
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the stream with the warehouse, record by record",
		Long: `verify reads the stream from its oldest record to the checkpoints and compares it with the warehouse: orders
that are missing, surplus or not their newest event, rejected records that are not in the dead letters,
rollups that are not what the facts add up to. It changes nothing, and may run while workers load. It shares
the stream's read limit with them (2 MiB/s for each shard). Status 1 means that something differs.`,
		Example: "  analytics-worker verify\n  analytics-worker verify --format json | jq .ok",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "json"}, format) {
				return usagef("--format %s: must be table or json", format)
			}
			report, err := a.verify(cmd.Context())
			if err != nil {
				return err
			}
			if err := writeVerify(a.stdout, format, report); err != nil {
				return err
			}
			if !report.OK {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&format, "format", format, "table or json")
	return cmd
}

func (a *app) verify(ctx context.Context) (*verify.Report, error) {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return nil, err
	}
	account, err := aws.Open(ctx, aws.Options{Region: c.Region, Log: a.logger()})
	if err != nil {
		return nil, err
	}
	letters, err := c.letters(account)
	if err != nil {
		return nil, err
	}
	source := account.Stream(c.Stream)
	progress := newLine(a.stderr)
	defer progress.done()
	return verify.Run(ctx, verify.Config{
		Stream:  source.Name(),
		Shards:  source.Shards,
		Open:    func(s stream.Shard, at stream.Position) verify.Reader { return source.Reader(s, at) },
		DB:      account.Redshift(c.Redshift),
		Letters: letters.All(ctx),
		Tell:    progress.say,
	})
}

func writeVerify(w io.Writer, format string, r *verify.Report) error {
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
		{"records up to the checkpoints", r.Records},
		{"  rejected", r.Rejected},
		{"  loaded", r.Records - r.Rejected},
		{"distinct orders among them", r.Orders},
		{"rows of fact_orders", r.Facts},
		{"  missing", r.Missing},
		{"  surplus", r.Surplus},
		{"  not their newest event", r.Differing},
		{"  past the retention, not checked", r.Unverifiable},
		{"dead letters", r.Letters},
		{"  missing", r.LettersMissing},
		{"rows of agg_orders_minute", r.Rollups},
		{"  not what the facts add up to", r.RollupsDiffering},
	} {
		fmt.Fprintf(tw, "%s\t%d\n", row.what, row.n)
	}
	for _, d := range r.Differences {
		fmt.Fprintf(tw, "%s\t%s\n", d.Kind, printable(d.Key))
		if d.Stream != "" {
			fmt.Fprintf(tw, "  stream\t%s\n", printable(d.Stream))
		}
		if d.Warehouse != "" {
			fmt.Fprintf(tw, "  warehouse\t%s\n", printable(d.Warehouse))
		}
	}
	verdict := "everything agrees"
	if !r.OK {
		verdict = "DIFFERENCES FOUND"
	}
	fmt.Fprintln(tw, verdict)
	return tw.Flush()
}
