package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/redrive"
	"github.com/cloudcafe/analytics-worker/internal/service"
)

// redriveOptions are the flags of redrive.
type redriveOptions struct {
	format       string
	reasons      []string
	shards       []string
	since, until string
	limit        int
	dryRun       bool
	inDoubt      bool

	from, to time.Time // of since and until; zero = no bound
}

func (a *app) redriveCommand() *cobra.Command {
	o := redriveOptions{format: "table"}
	cmd := &cobra.Command{
		Use:   "redrive",
		Short: "Put dead letters back onto the stream, each at most once",
		Long: `redrive puts rejected records back onto the stream, unchanged and with their own partition keys, for a worker
to judge them anew: after a rule has been relaxed, say, or a column widened. Each letter goes back at most
once, however often the command is run or killed. What went back is marked in the dead-letter store, not
deleted. A row that the warehouse refused at first and took at a later try stays where it is, and so does a
record of a family that FAMILIES leaves out: a worker would reject it again at once.

A run that dies between its mark and the stream's answer leaves letters in doubt: they may be on the stream
or not. They are counted and left alone until you ask for them with --in-doubt, which may put them a second
time; an order event that is on the stream twice still takes effect once.

Status 1 means that some of the letters did not go back, or are in doubt.`,
		Example: `  analytics-worker redrive --dry-run --reason 'unknown family'
  analytics-worker redrive --reason 'unknown family' --since 24h --limit 100
  analytics-worker redrive --in-doubt`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(time.Now()); err != nil {
				return err
			}
			return a.redrive(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table or json")
	f.StringArrayVar(&o.reasons, "reason", nil, "only letters with this reason (may be given several times)")
	f.StringArrayVar(&o.shards, "shard", nil, "only letters of this shard, as 3 or by its whole id (may be given several times)")
	f.StringVar(&o.since, "since", "", "only records that arrived then or later: a time, or how long ago (90m, 24h, 7d)")
	f.StringVar(&o.until, "until", "", "only records that arrived before then")
	f.IntVar(&o.limit, "limit", 0, "letters at most; 0 = all")
	f.BoolVar(&o.dryRun, "dry-run", false, "count what would go back, and change nothing")
	f.BoolVar(&o.inDoubt, "in-doubt", false, "put those again of which is not known whether they went back; run no other redrive meanwhile")
	completeReasons(cmd)
	return cmd
}

func (o *redriveOptions) check(now time.Time) (err error) {
	if !slices.Contains([]string{"table", "json"}, o.format) {
		return usagef("--format %s: must be table or json", o.format)
	}
	o.shards = wholeShards(o.shards)
	if err := checkReasons(o.reasons); err != nil {
		return err
	}
	if o.limit < 0 {
		return usagef("--limit %d: must not be negative", o.limit)
	}
	o.from, o.to, err = parseRange(o.since, o.until, now)
	return err
}

func (o *redriveOptions) match(l deadletter.Letter) bool {
	switch {
	case len(o.reasons) > 0 && !slices.Contains(o.reasons, l.Reason),
		len(o.shards) > 0 && !slices.Contains(o.shards, l.ShardID),
		!o.from.IsZero() && l.ArrivedAt.Before(o.from),
		!o.to.IsZero() && !l.ArrivedAt.Before(o.to):
		return false
	}
	return true
}

func (a *app) redrive(ctx context.Context, o redriveOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	letters, err := c.lettersAsTheyAre(account) // a folder that is not there has none to put back
	if err == nil && !o.dryRun {
		letters, err = service.Letters(account, c.Stream, c.DeadLetterURL)
	}
	if err != nil {
		return err
	}
	target := account.Stream(c.Stream)
	progress := newLine(ctx, a.stderr)
	reasons, off := make(map[string]int), switchedOff{of: c.Families}
	sum, err := redrive.Run(ctx, redrive.Config{
		Letters: letters.All(ctx), Marks: letters, Run: rand.Text(),
		Put: func(ctx context.Context, ls []deadletter.Letter) ([]deadletter.Outcome, error) {
			return putLetters(ctx, target, ls)
		},
		Match: func(l deadletter.Letter) bool {
			if o.match(l) {
				reasons[l.Reason]++
				return true
			}
			return false
		},
		InVain: off.has, Limit: o.limit, DryRun: o.dryRun, Doubtful: o.inDoubt,
		Tell: func(s redrive.Summary) {
			progress.say(fmt.Sprintf("put %d of %s back", s.Placed, plural.Of(s.Due, "letter")))
		},
	})
	progress.done()
	if err != nil && sum == (redrive.Summary{}) && o.format == "table" {
		return err // a table of zeros says nothing
	}
	if werr := writeRedrive(a.stdout, o, sum, reasons); err == nil {
		err = werr
	}
	off.tell(a.painted(a.stderr), sum.InVain)
	if err == nil && sum.Refused+sum.Unknown+sum.Lost+sum.Doubtful+sum.InVain > 0 {
		return errSilent
	}
	return err
}

// switchedOff tells letters of families that FAMILIES leaves out: a worker with the
// same FAMILIES would reject them again at once.
type switchedOff struct {
	of    []event.Family // that are loaded
	names []string       // of the others that were met
	event event.Event
}

func (s *switchedOff) has(l deadletter.Letter) bool {
	if event.Decode(l.Data, l.ArrivedAt, &s.event) != nil {
		return false // for the worker to judge
	}
	family := s.event.Family()
	if slices.Contains(s.of, family) {
		return false
	}
	if name := family.String(); !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	return true
}

// tell says how many were left alone, and what would let them in.
func (s *switchedOff) tell(w io.Writer, n int) {
	if n == 0 {
		return
	}
	var loaded []string
	for _, f := range s.of {
		loaded = append(loaded, f.String())
	}
	others := strings.Join(s.names, " and ")
	fmt.Fprintf(w, "! left alone, as FAMILIES=%s leaves out %s and a worker would reject it again at once: %s -> for the workers, and then here: FAMILIES=%s\n",
		strings.Join(loaded, ","), others, plural.Of(n, "letter"), strings.Join(append(loaded, s.names...), ","))
}

// putLetters puts the letters' records with their own keys.
func putLetters(ctx context.Context, target *aws.Stream, letters []deadletter.Letter) ([]deadletter.Outcome, error) {
	entries := make([]aws.Entry, len(letters))
	for i, l := range letters {
		entries[i] = aws.Entry{PartitionKey: l.PartitionKey, Data: l.Data}
		if l.PartitionKey == "" { // on-demand streams take records without; PutRecords wants one
			entries[i].PartitionKey = l.SequenceNumber
		}
	}
	fates, err := target.PutOnce(ctx, entries)
	out := make([]deadletter.Outcome, len(fates))
	for i, f := range fates {
		out[i] = map[aws.Fate]deadletter.Outcome{
			aws.Placed: deadletter.Placed, aws.Refused: deadletter.Refused, aws.Unknown: deadletter.InDoubt,
		}[f]
	}
	return out, err
}

// redriveReport is what redrive prints with --format json.
type redriveReport struct {
	redrive.Summary
	DryRun  bool           `json:"dry_run"` // nothing was put
	Reasons map[string]int `json:"reasons"` // of the letters that matched, by reason
}

func writeRedrive(w io.Writer, o redriveOptions, s redrive.Summary, reasons map[string]int) error {
	if o.format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(redriveReport{s, o.dryRun, reasons})
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "dead letters looked at\t%d\n  matched\t%d\n", s.Letters, s.Matched)
	var names []string
	for r := range reasons {
		names = append(names, r)
	}
	slices.SortFunc(names, func(a, b string) int {
		if n := reasons[b] - reasons[a]; n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	for _, r := range names {
		fmt.Fprintf(tw, "    %s\t%d\n", printable(r), reasons[r])
	}
	fmt.Fprintf(tw, "  went back earlier\t%d\n  loaded at a later try\t%d\n  in doubt, left alone (see --in-doubt)\t%d\n  of families that are not loaded, left alone\t%d\n", s.Already, s.Loaded, s.Doubtful, s.InVain)
	if o.dryRun {
		fmt.Fprintf(tw, "would go back\t%d\n", s.Due)
		return tw.Flush()
	}
	fmt.Fprintf(tw, "went back\t%d\nrefused by the stream\t%d\nno answer: in doubt from now on\t%d\nleft to another redrive\t%d\n",
		s.Placed, s.Refused, s.Unknown, s.Lost)
	return tw.Flush()
}
