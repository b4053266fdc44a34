package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/lease"
	"github.com/cloudcafe/analytics-worker/internal/service"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// positionOptions are the flags of positions.
type positionOptions struct {
	format    string
	wide      bool
	reset     bool
	startOver bool
	shards    []string
	to        string
	dryRun    bool

	initial initialPosition // of to
}

func (a *app) positionsCommand() *cobra.Command {
	o := positionOptions{format: "table", to: stream.TrimHorizon}
	cmd := &cobra.Command{
		Use:   "positions",
		Short: "Show how far each shard is loaded, or put it somewhere else",
		Long: `positions shows what worker_checkpoints says of each shard, beside what the stream says of it.

With --reset it puts the shards that are named at another position, and with --start-over every shard of the
stream, where the positions are of a stream of this name that was deleted: positions of shards that this one
has not are removed. Workers may run meanwhile: whoever owns such a shard is refused its next load, claims the
shard anew, and reads on from the new position within seconds.

To read again what was loaded before is safe: it changes nothing. A position further on skips what lies
between, for good.`,
		Example: `  analytics-worker positions
  analytics-worker positions --reset --shard 3
  analytics-worker positions --reset --shard shardId-000000000003 --to AT_TIMESTAMP:2026-11-20T08:00:00Z
  analytics-worker positions --start-over --dry-run`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return a.positions(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table or json")
	f.BoolVar(&o.wide, "wide", false, "in a table, with whole shard ids and positions")
	f.BoolVar(&o.reset, "reset", false, "put the shards of --shard at the position of --to")
	f.BoolVar(&o.startOver, "start-over", false, "put every shard there, and forget the shards of a stream that is gone")
	f.StringArrayVar(&o.shards, "shard", nil, "with --reset: a shard, as 3 or by its whole id (may be given several times)")
	f.StringVar(&o.to, "to", o.to, "TRIM_HORIZON, LATEST, AT_TIMESTAMP:time, AT_SEQUENCE_NUMBER:n or AFTER_SEQUENCE_NUMBER:n")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would change, and change nothing")
	return cmd
}

func (o *positionOptions) check() (err error) {
	switch {
	case !slices.Contains([]string{"table", "json"}, o.format):
		return usagef("--format %s: must be table or json", o.format)
	case o.reset && o.startOver:
		return usagef("--reset and --start-over exclude each other")
	case o.reset && len(o.shards) == 0:
		return usagef("--reset needs a --shard; analytics-worker positions lists them")
	case !o.reset && len(o.shards) > 0:
		return usagef("--shard goes with --reset")
	case !o.reset && !o.startOver && (o.dryRun || o.to != stream.TrimHorizon):
		return usagef("--to and --dry-run go with --reset or --start-over")
	}
	o.shards = wholeShards(o.shards)
	if o.initial, err = parseInitial(o.to); err != nil {
		return usagef("--to %s: %w", o.to, err)
	}
	return nil
}

// shardPosition is one line of the listing.
type shardPosition struct {
	Shard         string     `json:"shard_id"`                 // as the stream, or the warehouse alone, has it
	State         string     `json:"state"`                    // open, closed, or not listed
	Term          int64      `json:"term"`                     // grows with each owner
	Position      string     `json:"position"`                 // sequence number up to which it is loaded, or TRIM_HORIZON, SHARD_END and the like; empty = it has none
	CompleteUntil *time.Time `json:"complete_until"`           // what arrived before is queryable
	StreamARN     string     `json:"stream_arn,omitempty"`     // of the stream that the position is of
	StreamCreated *time.Time `json:"stream_created,omitempty"` // when that stream was made
	Remark        string     `json:"remark,omitempty"`         // what is odd about it
}

func (a *app) positions(ctx context.Context, o positionOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	source, asking := account.Stream(c.Stream), account.Redshift(reading(c.Redshift))
	shards, err := source.Shards(ctx)
	if err != nil {
		return err
	}
	id, err := source.Identity(ctx)
	if err != nil {
		return err
	}
	patient, answered := a.waiting(ctx)
	checkpoints, err := warehouse.Checkpoints(patient, asking, source.Name())
	answered()
	if err != nil {
		return err
	}
	if !o.reset && !o.startOver {
		return a.showPositions(o, positionsOf(shards, id, checkpoints))
	}
	resets, err := o.resets(shards)
	if err != nil {
		return err
	}
	if !o.dryRun {
		if err := warehouse.ResetPositions(ctx, account.Redshift(c.Redshift), source.Name(), id, resets, o.startOver); err != nil {
			return err
		}
		if err := reopenLeases(ctx, account, c, id, shards, resets); err != nil {
			return err
		}
		if checkpoints, err = warehouse.Checkpoints(ctx, asking, source.Name()); err != nil {
			return err
		}
	} else {
		checkpoints = foreseen(checkpoints, id, resets, o.startOver)
		fmt.Fprintln(a.stderr, "dry run: nothing was changed; this is how it would be")
	}
	return a.showPositions(o, positionsOf(shards, id, checkpoints))
}

// resets are the shards to move, of those that the stream lists.
func (o *positionOptions) resets(shards []stream.Shard) ([]warehouse.Reset, error) {
	var out []warehouse.Reset
	now := time.Now()
	for _, id := range o.shards {
		if !slices.ContainsFunc(shards, func(s stream.Shard) bool { return s.ID == id }) {
			return nil, usagef("--shard %q: the stream does not list it; analytics-worker positions lists what there is", id)
		}
	}
	for _, s := range shards {
		if o.startOver || slices.Contains(o.shards, s.ID) {
			out = append(out, warehouse.Reset{Shard: s.ID, To: o.initial.of(s, now)})
		}
	}
	return out, nil
}

// foreseen is what ResetPositions would leave.
func foreseen(checkpoints []warehouse.Checkpoint, id stream.Identity, resets []warehouse.Reset, others bool) []warehouse.Checkpoint {
	var out []warehouse.Checkpoint
	for _, c := range checkpoints {
		if !others && !slices.ContainsFunc(resets, func(r warehouse.Reset) bool { return r.Shard == c.Shard }) {
			out = append(out, c)
		}
	}
	for _, r := range resets {
		next := warehouse.Checkpoint{Shard: r.Shard, Term: 1, Position: r.To, Stream: id}
		for _, c := range checkpoints {
			if c.Shard == r.Shard {
				next.Term = c.Term + 1
			}
		}
		out = append(out, next)
	}
	return out
}

// positionsOf puts the stream's shards and the warehouse's checkpoints side by
// side.
func positionsOf(shards []stream.Shard, id stream.Identity, checkpoints []warehouse.Checkpoint) []shardPosition {
	at := make(map[string]warehouse.Checkpoint, len(checkpoints))
	for _, c := range checkpoints {
		at[c.Shard] = c
	}
	out := []shardPosition{}
	for _, s := range shards {
		p := shardPosition{Shard: s.ID, State: "open"}
		if s.Closed {
			p.State = "closed"
		}
		c, known := at[s.ID]
		delete(at, s.ID)
		p.take(c, id)
		switch {
		case !known:
			p.Remark = "no worker has claimed it yet"
		case p.Remark == "" && !s.Closed && c.Position.Sequence == stream.ShardEnd:
			p.Remark = "counts as read to its end, and is open; see --reset"
		}
		out = append(out, p)
	}
	for _, c := range at {
		p := shardPosition{Shard: c.Shard, State: "not listed"}
		p.take(c, id)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b shardPosition) int { return strings.Compare(a.Shard, b.Shard) })
	return out
}

func (p *shardPosition) take(c warehouse.Checkpoint, id stream.Identity) {
	p.Term, p.Position = c.Term, c.Position.String()
	if !c.ArrivedUntil.IsZero() {
		p.CompleteUntil = &c.ArrivedUntil
	}
	if c.Stream.IsZero() {
		return
	}
	p.StreamARN, p.StreamCreated = c.Stream.ARN, &c.Stream.Created
	switch {
	case c.Stream.ARN != id.ARN:
		p.Remark = "of " + c.Stream.ARN
	case !c.Stream.Equal(id):
		p.Remark = "of the stream made on " + c.Stream.Created.Format(time.RFC3339) + ", which is gone; see --start-over"
	}
}

func (a *app) showPositions(o positionOptions, positions []shardPosition) error {
	if o.format == "json" {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(positions)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SHARD\tSTATE\tTERM\tPOSITION\tCOMPLETE UNTIL")
	for _, p := range positions {
		until := "-"
		if p.CompleteUntil != nil {
			until = p.CompleteUntil.Format(time.RFC3339)
		}
		if !o.wide {
			p.Shard, p.Position = shortShard(p.Shard), shortPosition(p.Position)
		}
		if p.Remark != "" {
			until += "\t" + printable(p.Remark)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", printable(p.Shard), p.State, p.Term, dash(printable(p.Position)), until)
	}
	return w.Flush()
}

// reopenLeases lets workers take shards again whose leases say that they were
// read to their end, or that have none any more.
func reopenLeases(ctx context.Context, account *aws.Account, c config, id stream.Identity, shards []stream.Shard, resets []warehouse.Reset) error {
	if c.LeaseTable == service.NoLeaseTable {
		return nil // the one worker there is keeps its leases in memory
	}
	table := account.LeaseTable(c.leaseTableName(account))
	for _, s := range shards {
		i := slices.IndexFunc(resets, func(r warehouse.Reset) bool { return r.Shard == s.ID })
		if i < 0 {
			continue
		}
		err := lease.Reopen(ctx, table, id, s, resets[i].To)
		switch {
		case errors.Is(err, stream.ErrGone):
			return nil // workers make the table, from the warehouse's positions
		case err != nil:
			return fmt.Errorf("the warehouse has the new positions, and the lease of %s could not be opened for them; run the command again: %w", s.ID, err)
		}
	}
	return nil
}
