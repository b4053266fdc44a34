package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/cloudcafe/analytics-worker/internal/aws"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/madeup"
	"github.com/cloudcafe/analytics-worker/internal/plural"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

// publishOptions are the flags of publish.
type publishOptions struct {
	stream string
	count  int
	rate   float64
	seed   uint64
	file   string
	create int
	bad    float64

	ordersOnly bool
}

func (a *app) publishCommand() *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Put test events, or the lines of a file, on the stream",
		Long: `publish puts made-up events on the stream, or each line of a file as one record. Made-up events are orders, the
payments of them and the levels of inventory that they leave. The same seed makes the same events. It goes as
fast as the stream takes them, or at --rate; Ctrl-C ends it with a summary.`,
		Example: `  analytics-worker publish --count 1000
  analytics-worker publish --count 0 --rate 200 --seed 7     # until Ctrl-C
  analytics-worker publish --file orders.ndjson --stream order-events`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			for _, flag := range []string{"count", "seed", "bad", "orders-only"} {
				if o.file != "" && cmd.Flags().Changed(flag) {
					return usagef("--%s is about made-up events, and --file puts every line of the file on the stream: leave one of the two out", flag)
				}
			}
			if !cmd.Flags().Changed("seed") {
				o.seed = rand.Uint64()
			}
			return a.publish(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.stream, "stream", "", "stream to publish to (default KINESIS_STREAM_NAME)")
	f.IntVar(&o.count, "count", 1000, "events to publish; 0 = until Ctrl-C")
	f.Float64Var(&o.rate, "rate", 0, "records a second; 0 = as fast as the stream takes them")
	f.Uint64Var(&o.seed, "seed", 0, "seed of the made-up events (default random)")
	f.StringVar(&o.file, "file", "", "NDJSON file to publish instead, a record a line; - = standard input")
	f.IntVar(&o.create, "create", 0, "create the stream with this many shards if it does not exist")
	f.BoolVar(&o.ordersOnly, "orders-only", false, "make up orders alone, and no payments and levels of inventory beside them")
	f.Float64Var(&o.bad, "bad", 0, "share of records that are broken on purpose, 0 to 1")
	return cmd
}

func (o publishOptions) check() error {
	switch {
	case o.count < 0:
		return usagef("--count %d: must not be negative", o.count)
	case o.rate < 0:
		return usagef("--rate %v: must not be negative", o.rate)
	case math.IsNaN(o.rate) || math.IsInf(o.rate, 0):
		return usagef("--rate %v: not a number of records a second", o.rate)
	case o.create < 0:
		return usagef("--create %d: must not be negative", o.create)
	case math.IsNaN(o.bad) || o.bad < 0 || o.bad > 1:
		return usagef("--bad %v: must be from 0 to 1", o.bad)
	}
	return nil
}

func (a *app) publish(ctx context.Context, o publishOptions) error {
	c, err := loadConfig(a.lookup)
	if err != nil {
		return err
	}
	if o.stream == "" {
		o.stream = c.Stream
	}
	account, err := a.quietAccount(ctx, c)
	if err != nil {
		return err
	}
	target := account.Stream(o.stream)
	if o.create > 0 {
		if err := ensureStream(ctx, target, o.create); err != nil {
			return err
		}
	}
	source, err := o.source()
	if err != nil {
		return err
	}
	defer source.close()
	p := &publisher{stream: target, options: o, bar: newBar(a.stderr, o.count), started: time.Now()}
	if o.file != "" {
		p.bar.total = 0
	}
	err = p.run(ctx, source)
	p.bar.done()
	took := time.Since(p.started).Round(time.Millisecond)
	if err != nil && p.sent == 0 && !errors.Is(err, context.Canceled) {
		return err
	}
	if _, werr := fmt.Fprintf(a.stdout, "published %s to %s in %v\n", plural.Of(p.sent, "record"), o.stream, took); err == nil {
		err = werr
	}
	if errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is a way to end
	}
	return err
}

// ensureStream creates the stream if it is not there, and waits for it.
func ensureStream(ctx context.Context, s *aws.Stream, shards int) error {
	_, err := s.Summary(ctx)
	if errors.Is(err, stream.ErrGone) {
		err = s.Create(ctx, shards)
	}
	if err != nil {
		return err
	}
	return s.WaitActive(ctx)
}

// entry is a record to publish, and the line of the file that it is from.
type entry struct {
	aws.Entry
	line int // 0 = made up
}

// source gives records one after another, io.EOF after the last.
type source struct {
	next  func() (entry, error)
	close func()
}

func (o publishOptions) source() (source, error) {
	if o.file == "" {
		return source{next: o.madeUp(), close: func() {}}, nil
	}
	f := os.Stdin
	if o.file != "-" {
		var err error
		if f, err = os.Open(o.file); err != nil {
			return source{}, err
		}
	}
	return source{next: lines(f), close: func() { _ = f.Close() }}, nil
}

func (o publishOptions) madeUp() func() (entry, error) {
	g, n := madeup.New(o.seed), 0
	g.Bad, g.Mixed = o.bad, !o.ordersOnly
	return func() (entry, error) {
		if o.count > 0 && n == o.count {
			return entry{}, io.EOF
		}
		n++
		e := g.Next(time.Now())
		return entry{Entry: aws.Entry{PartitionKey: e.Key, Data: e.Data}}, nil
	}
}

// A record, with its key, of up to plainRecord goes into any stream; one of up to
// maxLine into those that were set to take it.
const (
	plainRecord = 1 << 20
	maxLine     = 10 << 20
)

func lines(r io.Reader) func() (entry, error) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 64<<10), maxLine)
	n := 0
	return func() (entry, error) {
		for scanner.Scan() {
			n++
			line := bytes.TrimSuffix(scanner.Bytes(), []byte("\r"))
			if len(line) == 0 {
				continue
			}
			return entry{aws.Entry{PartitionKey: partitionKey(line), Data: bytes.Clone(line)}, n}, nil
		}
		if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
			return entry{}, fmt.Errorf("line %d is longer than %d MiB, the largest record that Kinesis takes: is each record a line of its own?", n+1, maxLine>>20)
		} else if err != nil {
			return entry{}, fmt.Errorf("line %d: %w", n+1, err)
		}
		return entry{}, io.EOF
	}
}

// partitionKey keeps the events of one row in one shard, and so in order. Records
// that are of no row are spread by their bytes.
func partitionKey(line []byte) string {
	const longest = 256 // of Kinesis's keys, in characters
	var first json.RawMessage
	if json.NewDecoder(bytes.NewReader(line)).Decode(&first) == nil { // a record may hold several events
		var e event.Event
		if event.Decode(first, time.Now(), &e) == nil {
			if key := warehouse.Key(&e); len(key) <= longest {
				return key
			}
		}
	}
	h := fnv.New64a()
	_, _ = h.Write(line)
	return strconv.FormatUint(h.Sum64(), 16)
}

// publisher sends records in the order in which they come.
type publisher struct {
	stream  *aws.Stream
	options publishOptions
	bar     *bar
	started time.Time
	sent    int
}

// putMost is how many records PutRecords takes, putBytes a safe part of its 10 MiB.
const (
	putMost  = 500
	putBytes = 4 << 20
)

func (p *publisher) run(ctx context.Context, s source) error {
	limiter := rate.NewLimiter(rate.Inf, 0)
	most := putMost
	if p.options.rate > 0 {
		limiter = rate.NewLimiter(rate.Limit(p.options.rate), putMost)
		limiter.AllowN(time.Now(), putMost)                   // start empty: no burst
		most = max(1, min(putMost, int(p.options.rate*0.05))) // 20 calls a second
	}
	batch, size := make([]entry, 0, most), 0
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		if p.options.rate > 0 {
			if err := limiter.WaitN(ctx, len(batch)); err != nil {
				return ctxOr(ctx, err)
			}
		}
		if err := p.put(ctx, batch); err != nil {
			return err
		}
		batch, size = batch[:0], 0
		return nil
	}
	for ctx.Err() == nil {
		e, err := s.next()
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil { // what comes before it is good
			return errors.Join(flush(), err)
		}
		// A record that the stream may refuse for its size goes alone: a refusal takes
		// the whole call, and does not say whose fault it is.
		large := len(e.Data)+len(e.PartitionKey) > plainRecord
		if len(batch) == most || size+len(e.Data) > putBytes || large {
			if err := flush(); err != nil {
				return err
			}
		}
		batch, size = append(batch, e), size+len(e.Data)
		if large {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func ctxOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (p *publisher) put(ctx context.Context, batch []entry) error {
	entries := make([]aws.Entry, len(batch))
	for i, e := range batch {
		entries[i] = e.Entry
	}
	failed, err := p.stream.Put(ctx, entries)
	p.sent += len(batch) - len(failed)
	p.bar.show(p.sent, time.Since(p.started))
	switch first, last := batch[0], batch[len(batch)-1]; {
	case err == nil:
		return nil
	case first.line > 0 && len(batch) == 1:
		return fmt.Errorf("put line %d, of %d bytes: %w", first.line, len(first.Data), err)
	case first.line > 0:
		return fmt.Errorf("put failed for %d of %s, of lines %d to %d: %w", len(failed), plural.Of(len(batch), "record"), first.line, last.line, err)
	}
	return fmt.Errorf("put failed for %d of %s: %w", len(failed), plural.Of(len(batch), "record"), err)
}
