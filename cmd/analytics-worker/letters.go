package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/service"
)

// letterOptions are the flags of letters.
type letterOptions struct {
	format       string
	reasons      []string
	shards       []string
	families     []string
	since, until string
	last         int
	decode       bool
	plot         bool

	filter deadletter.Filter // of shards, since and until
}

// mostLast bounds --last: so many letters are held in memory, of up to 1 MiB each
// while their records are shown.
const mostLast = 1000

func (a *app) lettersCommand() *cobra.Command {
	o := letterOptions{format: "table"}
	cmd := &cobra.Command{
		Use:   "letters",
		Short: "Look at dead letters: how many, why, and what was wrong in them",
		Long: `letters reads the dead letters in a folder or on S3 and counts them by reason, by family and by hour of
arrival. With --last it lists the newest ones instead, and with --decode it shows their records, with the byte
marked that the decoder stopped at. It changes nothing. Of a large store, --since spares reading what is older,
and --last reads only the newest hours.

Times are UTC. With --format json the keys are
  total, since, until, reasons (reason, count), families (family, count), hours (hour, count, reasons)
and with --last, for each letter
  arrived_at, rejected_at, reason, detail, family, shard_id, sequence_number, sub_sequence_number, partition_key,
  byte (the place in the record that the detail tells of, from 0, or null), data_base64 (the record).
CSV has a line for each hour, family and reason, and with --last one for each letter, without its record.

redrive puts letters back onto the stream once their cause is gone.`,
		Example: `  analytics-worker letters --since 24h
  analytics-worker letters --last 1 --decode
  analytics-worker letters --reason 'not JSON' --family orders --last 20
  analytics-worker letters --last 5 --format json | jq -r '.[].data_base64 | @base64d'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.decode && !cmd.Flags().Changed("last") {
				o.last = 1
			}
			if err := o.check(cmd.Flags().Changed("last"), time.Now()); err != nil {
				return err
			}
			return a.letters(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.format, "format", o.format, "table, csv or json")
	f.StringArrayVar(&o.reasons, "reason", nil, "only letters with this reason (may be given several times)")
	f.StringArrayVar(&o.shards, "shard", nil, "only letters of this shard, as 3 or by its whole id (may be given several times)")
	f.StringArrayVar(&o.families, "family", nil, "only records of this family; none = it could not be told (may be given several times)")
	f.StringVar(&o.since, "since", "", "only records that arrived then or later: a time, or how long ago (90m, 24h, 7d)")
	f.StringVar(&o.until, "until", "", "only records that arrived before then")
	f.IntVar(&o.last, "last", 0, "list the newest letters, so many at most, in place of counting all")
	f.BoolVar(&o.decode, "decode", false, "show the records, with the offending byte marked (without --last: of the newest letter)")
	f.BoolVar(&o.plot, "plot", true, "draw a bar beside each hour of the table")
	completeReasons(cmd)
	complete(cmd, "family", append(familyNames(), event.NoFamily))
	complete(cmd, "format", formats)
	return cmd
}

// complete gives the shell the values that a flag takes.
func complete(cmd *cobra.Command, flag string, values []string) {
	// The only error is of a flag that is not there, and sessions try the completion of each.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func completeReasons(cmd *cobra.Command) { complete(cmd, "reason", letterReasons()) }

// letterReasons are all reasons that letters have.
func letterReasons() []string {
	out := []string{deadletter.RefusedByWarehouse}
	for _, r := range event.Reasons() {
		out = append(out, string(r))
	}
	slices.Sort(out)
	return out
}

// checkReasons refuses what is no reason: a filter that lets nothing through looks like
// good news.
func checkReasons(reasons []string) error {
	known := letterReasons()
	for _, r := range reasons {
		if !slices.Contains(known, r) {
			return usagef("--reason %q: no letter has this reason; there are\n  %s", r, strings.Join(known, "\n  "))
		}
	}
	return nil
}

func (o *letterOptions) check(lastGiven bool, now time.Time) (err error) {
	if !slices.Contains(formats, o.format) {
		return usagef("--format %s: must be one of %s", o.format, strings.Join(formats, ", "))
	}
	if lastGiven && (o.last < 1 || o.last > mostLast) {
		return usagef("--last %d: must be from 1 to %d", o.last, mostLast)
	}
	if err := checkReasons(o.reasons); err != nil {
		return err
	}
	for _, name := range o.families {
		if _, known := event.ParseFamily(name); !known && name != event.NoFamily {
			return usagef("--family %s: must be one of %s or %s", name, strings.Join(familyNames(), ", "), event.NoFamily)
		}
	}
	o.filter.Shards = wholeShards(o.shards)
	o.filter.Since, o.filter.Until, err = parseRange(o.since, o.until, now)
	return err
}

func (a *app) letters(ctx context.Context, o letterOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	defer account.Close()
	store, err := c.lettersAsTheyAre(account)
	if err != nil {
		return err
	}
	progress := newLine(ctx, a.stderr)
	defer progress.done()
	progress.say("listing the dead letters")
	var broken brokenObjects
	if o.last > 0 {
		last, err := newestLetters(o.matching(broken.passed(store.Newest(ctx, o.filter)), progress), o.last)
		if err != nil {
			return err
		}
		progress.done()
		return errors.Join(writeLast(a.stdout, o, last, c.lettersInFull()), broken.err())
	}
	count := newLetterCount(o.filter)
	for l, err := range o.matching(broken.passed(store.Among(ctx, o.filter)), progress) {
		if err != nil {
			return err
		}
		count.add(l)
	}
	progress.done()
	return errors.Join(writeCount(a.stdout, o, count, c.lettersInFull()), broken.err())
}

// brokenObjects are the objects of which a line is no letter: one of them is no reason
// to show none of the others.
type brokenObjects struct {
	n     int
	first error
}

// passed is the letters without the errors of broken objects, which are counted.
func (b *brokenObjects) passed(letters iter.Seq2[deadletter.Letter, error]) iter.Seq2[deadletter.Letter, error] {
	return func(yield func(deadletter.Letter, error) bool) {
		for l, err := range letters {
			if errors.As(err, new(*deadletter.BrokenError)) {
				b.n, b.first = b.n+1, cmp.Or(b.first, err)
				continue
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// err says that letters are missing in what was shown, or is nil.
func (b *brokenObjects) err() error {
	if b.n == 0 {
		return nil
	}
	return fmt.Errorf("%s with letters cannot be read to the end, and what is shown is without these letters: %w", plural.Of(b.n, "object"), b.first)
}

// lettersInFull is DEAD_LETTER_URL with the whole path of a folder.
func (c config) lettersInFull() string {
	if path, err := filepath.Abs(service.LetterFolder(c.DeadLetterURL)); err == nil && !strings.HasPrefix(c.DeadLetterURL, "s3://") {
		return "file://" + filepath.ToSlash(path)
	}
	return c.DeadLetterURL
}

// noFolderError says that the folder of the dead letters is not there.
type noFolderError struct{ path, url string }

func (e *noFolderError) Error() string {
	return fmt.Sprintf("there is no folder %s (DEAD_LETTER_URL=%s): a worker makes it when it starts; set DEAD_LETTER_URL as for the worker, "+
		"and start this on its machine, in its folder", e.path, e.url)
}

// lettersAsTheyAre opens the dead letters for a verb that changes nothing. Where their
// folder is not there, the error is a noFolderError.
func (c config) lettersAsTheyAre(account *aws.Account) (*deadletter.Store, error) {
	if strings.HasPrefix(c.DeadLetterURL, "s3://") {
		return service.Letters(account, c.Stream, c.DeadLetterURL)
	}
	path := service.LetterFolder(c.DeadLetterURL)
	dir, err := deadletter.DirAsItIs(path)
	if errors.Is(err, fs.ErrNotExist) {
		if abs, failed := filepath.Abs(path); failed == nil {
			path = abs
		}
		return nil, &noFolderError{path, c.DeadLetterURL}
	}
	if err != nil {
		return nil, fmt.Errorf("DEAD_LETTER_URL: %w", err)
	}
	return deadletter.New(dir, account.Stream(c.Stream).Name()), nil
}

// found is a letter and what is not written in it.
type found struct {
	deadletter.Letter
	family string
}

// matching are the letters that the flags let through.
func (o *letterOptions) matching(all iter.Seq2[deadletter.Letter, error], progress *line) iter.Seq2[found, error] {
	var e event.Event
	looked, matched := 0, 0
	return func(yield func(found, error) bool) {
		for l, err := range all {
			if err != nil {
				yield(found{}, err)
				return
			}
			if looked++; looked%1000 == 0 {
				progress.say(fmt.Sprintf("looked at %d dead letters, %d match", looked, matched))
			}
			if len(o.reasons) > 0 && !slices.Contains(o.reasons, l.Reason) {
				continue
			}
			family := familyOf(l, &e)
			if len(o.families) > 0 && !slices.Contains(o.families, family) {
				continue
			}
			matched++
			if !yield(found{l, family}, nil) {
				return
			}
		}
	}
}

// familyOf tells whose record a letter holds, by the decoder of this version.
func familyOf(l deadletter.Letter, e *event.Event) string {
	if rejection := event.Decode(l.Data, l.ArrivedAt, e); rejection != nil {
		return rejection.Family
	}
	return e.Family().String()
}

// newestLetters keeps the n letters that arrived last, the newest first. They come by
// hours, the newest first: behind the hour of the last one kept there is nothing to
// look for.
func newestLetters(letters iter.Seq2[found, error], n int) ([]found, error) {
	var out []found
	for l, err := range letters {
		if err != nil {
			return nil, err
		}
		if len(out) == n && l.ArrivedAt.Before(out[n-1].ArrivedAt.Truncate(time.Hour)) {
			break
		}
		at, _ := slices.BinarySearchFunc(out, l, newerFirst)
		if at == n {
			continue
		}
		out = slices.Insert(out, at, l)
		out = out[:min(n, len(out))]
	}
	return out, nil
}

func newerFirst(a, b found) int {
	return cmp.Or(b.ArrivedAt.Compare(a.ArrivedAt), strings.Compare(b.SequenceNumber, a.SequenceNumber), cmp.Compare(b.SubSequenceNumber, a.SubSequenceNumber))
}
