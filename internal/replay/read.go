package replay

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/deadletter"
	"github.com/cloudcafe/analytics-worker/internal/event"
	"github.com/cloudcafe/analytics-worker/internal/stream"
	"github.com/cloudcafe/analytics-worker/internal/warehouse"
)

const (
	// slack is for how long records are read on behind the range: arrival times are
	// those of several machines, and need not grow from record to record.
	slack = 5 * time.Second
	// Rejected records that are held at once.
	mostLetters     = 1000
	mostLetterBytes = 4 << 20
)

// read brings the rows of a shard's range into the spool, and sees to the letters of
// its rejected records.
func (r *run) read(ctx context.Context, s stream.Shard, until stream.Position, to *spool) error {
	reader := r.Open(s, stream.AtTime(r.From))
	b := newBatches(r.BatchBytes, to)
	l := letters{run: r, from: stream.Position{Sequence: stream.TrimHorizon}}
	finish := func() error {
		if err := l.flush(ctx); err != nil {
			return err
		}
		return b.flush()
	}
	for {
		page, err := nextPage(ctx, reader)
		if err != nil {
			return err
		}
		for _, rec := range page.Records {
			if !until.Covers(rec) || rec.ArrivedAt.After(r.To.Add(slack)) {
				return finish()
			}
			if rec.ArrivedAt.Before(r.From) || !rec.ArrivedAt.Before(r.To) {
				continue
			}
			if err := r.take(ctx, s, rec, b, &l); err != nil {
				return err
			}
		}
		r.tell("reading shard %s", s.ID)
		if page.Ended || len(page.Records) == 0 && page.Behind == 0 {
			return finish()
		}
	}
}

// take takes one record.
func (r *run) take(ctx context.Context, s stream.Shard, rec stream.Record, b batches, l *letters) error {
	r.sum.Records++
	if r.sum.Oldest.IsZero() || rec.ArrivedAt.Before(r.sum.Oldest) {
		r.sum.Oldest = rec.ArrivedAt
	}
	rejection := event.Decode(rec.Data, rec.ArrivedAt, &r.event)
	if rejection != nil {
		r.sum.Rejected++
		return l.add(ctx, deadletter.Letter{
			Reason: string(rejection.Reason), Detail: rejection.Detail, Stream: r.Stream, ShardID: s.ID,
			SequenceNumber: strings.Clone(rec.SequenceNumber), SubSequenceNumber: rec.SubSequence, PartitionKey: strings.Clone(rec.PartitionKey),
			ArrivedAt: rec.ArrivedAt, RejectedAt: time.Now().UTC(), Data: slices.Clone(rec.Data),
		})
	}
	family := r.event.Family()
	if r.Families != nil && !slices.Contains(r.Families, family) {
		r.sum.LeftOut++
		return nil
	}
	r.sum.Rows++
	return b.add(warehouse.Row{Family: family, Line: r.encoder.Append(nil, &r.event)})
}

// nextPage reads one page, waiting out throttles: workers share the stream's limits.
func nextPage(ctx context.Context, r Reader) (stream.Page, error) {
	const tries = 20
	for try := 1; ; try++ {
		if err := pause(ctx, time.Until(r.NotBefore())); err != nil {
			return stream.Page{}, err
		}
		page, err := r.Next(ctx)
		if err == nil || try == tries || ctx.Err() != nil {
			return page, err
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return context.Cause(ctx)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// letters are rejected records of one shard whose letters are looked for. A worker
// stored each before it moved the position past it; where one is gone it is stored
// again, and none is stored twice.
type letters struct {
	run   *run
	from  stream.Position // of the last one that was looked for
	held  []deadletter.Letter
	bytes int
}

func (l *letters) add(ctx context.Context, letter deadletter.Letter) error {
	l.held = append(l.held, letter)
	if l.bytes += len(letter.Data); len(l.held) < mostLetters && l.bytes < mostLetterBytes {
		return nil
	}
	return l.flush(ctx)
}

func (l *letters) flush(ctx context.Context) error {
	if len(l.held) == 0 {
		return nil
	}
	missing, err := l.run.Letters.Missing(ctx, l.from, l.held)
	if err != nil {
		return err
	}
	if len(missing) > 0 && !l.run.DryRun {
		if err := l.run.Letters.Put(ctx, l.from, missing); err != nil {
			return err
		}
	}
	l.run.sum.Restored += int64(len(missing))
	l.run.sum.Kept += int64(len(l.held) - len(missing))
	l.from = l.held[len(l.held)-1].Place()
	l.held, l.bytes = nil, 0
	return nil
}
