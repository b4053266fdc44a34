package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/replay"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	format    string
	from, to  string
	shards    []string
	dryRun    bool
	begin     time.Time // of from
	end, past time.Time // of to; and what arrived before past is past the retention
}

func (a *app) replayCommand() *cobra.Command {
	o := replayOptions{format: "table"}
	cmd := &cobra.Command{
		Use:   "replay --from TIME [--to TIME]",
		Short: "Load a range of the stream again, beside running workers",
		Long: `replay reads what arrived in a range of time, up to where the workers have loaded, and loads it again: rows
that are missing or older than their event go in, everything else stays as it is, so that it may be run at any
time and as often as you like. Rejected records whose dead letters are gone get them again, no letter twice. The
rollups of the minutes of the range, and of all minutes whose rows change, are made anew from the facts. It
moves no position, and heals what verify finds; verify ends with the command to run.

A row that somebody made newer than its event, or changed without making it older, stays: it may be a later
event's. verify names such rows, and how to remove them before. What is past the stream's retention cannot be
read again, and is said. It shares the shards' read limits and the Data API with the workers, pausing after each
load for as long as it took, and keeps the rows of one shard's range in a temporary file (about 150 bytes a row).

With --format json the keys are
  from, to, past_retention_until (what arrived before it cannot be read, or null), dry_run, seconds,
  records, left_out (of FAMILIES that are not loaded), rejected, letters (that were there), restored (letters that
  were not), rows, changed, refused, rollups (groups made anew), loads, not_begun (shards without a position)

Status 1 means that the warehouse refused rows, or that it could not be done to its end.`,
		Example: `  analytics-worker replay --from 2h --dry-run
  analytics-worker replay --from 2026-11-20T08:00:00Z --to 2026-11-20T09:00:00Z
  analytics-worker replay --from 30m --shard shardId-000000000002`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(time.Now()); err != nil {
				return err
			}
			return a.replay(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table or json")
	f.StringVar(&o.from, "from", "", "records that arrived then or later: a time, or how long ago (90m, 24h, 7d)")
	f.StringVar(&o.to, "to", "", "and before then (default now)")
	f.StringArrayVar(&o.shards, "shard", nil, "only this shard, as 3 or by its whole id (may be given several times)")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what would change, and change nothing")
	complete(cmd, "format", []string{"table", "json"})
	return cmd
}

func (o *replayOptions) check(now time.Time) (err error) {
	if !slices.Contains([]string{"table", "json"}, o.format) {
		return usagef("--format %s: must be table or json", o.format)
	}
	if o.from == "" {
		return usagef("replay needs --from: a time like 2026-11-20T08:00:00Z, or how long ago; verify tells which")
	}
	if o.begin, err = parseSince(o.from, now); err != nil {
		return usagef("--from %s: %w", o.from, err)
	}
	o.end = now
	if o.to != "" {
		if o.end, err = parseSince(o.to, now); err != nil {
			return usagef("--to %s: %w", o.to, err)
		}
	}
	switch {
	case !o.begin.Before(o.end):
		return usagef("--from %s is not before --to", o.begin.UTC().Format(time.RFC3339))
	case o.end.After(now.Add(24*time.Hour + time.Hour)): // events are dated a day ahead of their arrival at most
		return usagef("--to %s is more than a day in the future", o.end.UTC().Format(time.RFC3339))
	}
	return nil
}

func (a *app) replay(ctx context.Context, o replayOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	source := account.Stream(c.Stream)
	described, err := source.Summary(ctx)
	if err != nil {
		return err
	}
	if horizon := time.Now().Add(-described.Retention); o.begin.Before(horizon) {
		o.past = horizon
	}
	progress := newLine(ctx, a.stderr)
	defer progress.done()
	cfg, house, err := c.replay(account, source, o, a.quietLogger(), progress.say)
	if err != nil {
		return err
	}
	cfg.Identity = described.Identity()
	began := time.Now()
	cfg.Tell = func(s replay.Summary) {
		rate := float64(s.Records) / max(time.Since(began).Seconds(), 0.001)
		progress.say(fmt.Sprintf("%s: %s read, %.0f/s; %s changed", s.Doing, plural.Of(s.Records, "record"), rate, plural.Of(s.Changed, "row")))
	}
	sum, err := replay.Run(ctx, cfg)
	progress.done()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	house.Close(closing)
	if errors.Is(err, replay.ErrForeign) {
		err = fmt.Errorf("%w; analytics-worker positions --start-over makes the workers begin anew", err)
	}
	if errors.Is(err, replay.ErrNoShard) {
		return usagef("%w; analytics-worker positions lists them", err)
	}
	if ctx.Err() != nil && err != nil {
		if sum == (replay.Summary{Doing: sum.Doing}) && o.format == "table" {
			return err // a table of zeros says nothing
		}
		err = o.cutShort(context.Cause(ctx))
	}
	if werr := writeReplay(a.stdout, o, sum, time.Since(began)); err == nil {
		err = werr
	}
	if err == nil && sum.Refused > 0 {
		return errSilent
	}
	return err
}

// cutShort is what to tell of a replay that cause has ended.
func (o *replayOptions) cutShort(cause error) error {
	if o.dryRun {
		return fmt.Errorf("%w: nothing was changed, and these are not all", cause)
	}
	return fmt.Errorf("%w: what was loaded stays, a load under way goes on, and running it again does the rest", cause)
}

// replay are the parts that a range is loaded again with.
func (c config) replay(account *aws.Account, source *aws.Stream, o replayOptions, log *slog.Logger, say func(string)) (replay.Config, *warehouse.Warehouse, error) {
	var letters *deadletter.Store
	var err error
	if o.dryRun {
		letters, err = c.lettersAsTheyAre(account)
	} else {
		letters, err = service.Letters(account, c.Stream, c.DeadLetterURL)
	}
	if err != nil {
		return replay.Config{}, nil, err
	}
	var fill warehouse.Fill = warehouse.Insert{}
	batch := warehouse.ReplayBytes
	if c.StagingURL != "" {
		bucket, err := account.Bucket(c.StagingURL)
		if err != nil {
			return replay.Config{}, nil, fmt.Errorf("STAGING_URL: %w", err)
		}
		fill = &warehouse.Copy{Staging: bucket, IAMRole: c.CopyIAMRole, Log: log}
		batch = 8 << 20
	}
	asking := account.Redshift(reading(c.Redshift))
	db := asking
	if !o.dryRun {
		db = account.Redshift(c.Redshift) // its loads go on, and are found done or not
	}
	house := warehouse.New(db, fill)
	return replay.Config{
		Stream: source.Name(), Shards: source.Shards,
		Open: func(s stream.Shard, at stream.Position) replay.Reader { return source.Reader(s, at) },
		Checkpoints: func(ctx context.Context) ([]warehouse.Checkpoint, error) {
			return warehouse.Checkpoints(overheard(ctx, say), asking, source.Name())
		},
		Warehouse: house, Letters: letters, Families: c.Families,
		From: o.begin, To: o.end, Only: wholeShards(o.shards), DryRun: o.dryRun, BatchBytes: batch, LoadInterval: c.LoadInterval,
	}, house, nil
}

// replayReport is what replay prints with --format json.
type replayReport struct {
	From    time.Time  `json:"from"`                 // of arrival: then or later
	To      time.Time  `json:"to"`                   // and before
	Past    *time.Time `json:"past_retention_until"` // what arrived before it cannot be read again; null = all can
	DryRun  bool       `json:"dry_run"`              // nothing was changed: changed and restored are what would be
	Seconds float64    `json:"seconds"`              // that it took
	replay.Summary
}

func writeReplay(w io.Writer, o replayOptions, s replay.Summary, took time.Duration) error {
	if o.format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(replayReport{o.begin.UTC(), o.end.UTC(), timeOrNull(o.past), o.dryRun, took.Seconds(), s})
	}
	restored, changed, rollups := "letters that were gone, stored again", "changed: they were missing or older", "rollup groups made anew beside theirs"
	if o.dryRun {
		restored, changed = "letters that are gone", "would change: they are missing or older"
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "records read\t%d (%.0f/s)\n", s.Records, float64(s.Records)/max(took.Seconds(), 0.001))
	fmt.Fprintf(tw, "  of families that are not loaded\t%d\n  rejected\t%d\n    already in the letters\t%d\n    %s\t%d\n", s.LeftOut, s.Rejected, s.Kept, restored, s.Restored)
	fmt.Fprintf(tw, "rows held against the warehouse\t%d\n  %s\t%d\n  refused by the warehouse\t%d\n", s.Rows, changed, s.Changed, s.Refused)
	if !o.dryRun {
		fmt.Fprintf(tw, "%s\t%d\n", rollups, s.Rollups)
	}
	fmt.Fprintf(tw, "took\t%v, %s\n", took.Round(time.Millisecond), plural.Of(s.Loads, "transaction"))
	if err := tw.Flush(); err != nil {
		return err
	}
	if !o.past.IsZero() {
		fmt.Fprintf(w, "! what arrived before %s is past the stream's retention and cannot be read again\n", o.past.UTC().Format(time.RFC3339))
	}
	if s.NotYet > 0 {
		have := "have"
		if s.NotYet == 1 {
			have = "has"
		}
		fmt.Fprintf(w, "! %s %s no position: nothing there was loaded before, and the workers load it from the beginning\n", plural.Of(s.NotYet, "shard"), have)
	}
	return nil
}
