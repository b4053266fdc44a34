package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

const (
	// hostSkew is how far the clock of the machine that answers a read may be ahead
	// of the one that dates the arrival of records: both are the stream's.
	hostSkew = time.Second
	// gonePause is how long a reader waits before it asks again for what the
	// stream says is not there.
	gonePause = 10 * time.Second
)

// read reads a shard into the queue until ctx ends or the shard does.
func (w *Worker) read(ctx context.Context, s *shard) error {
	memory := newFetch(w.queue, w.cfg.PollInterval)
	reader := w.cfg.Open(s.term.Shard, s.committed, memory.room)
	retry, empty, decoder := newBackoff(), sparse{}, newDecoder(w.cfg.Warehouse.Encoder(), w.loads)
	for {
		started := time.Now()
		page, err := w.fetchPage(ctx, s, reader, memory, decoder)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, stream.ErrGone):
			if w.expired(ctx, s) {
				return nil
			}
			w.queue.failed(s, started, err)
			w.pause(ctx, gonePause)
			continue
		case errors.Is(err, errNoRoom):
			w.pause(ctx, time.Until(reader.NotBefore()))
			continue
		case err != nil:
			w.queue.failed(s, started, err)
			w.readFailed(s, err)
			w.pause(ctx, max(retry.next(), time.Until(reader.NotBefore())))
			continue
		case page.Ended:
			return nil
		}
		retry.reset()
		wait := time.Until(reader.NotBefore())
		if page.Behind == 0 {
			wait = max(wait, time.Until(started.Add(w.cfg.PollInterval)))
		}
		wait = max(wait, empty.next(len(page.Records), page.Behind, w.cfg.PollInterval))
		if wait > 0 {
			w.pause(ctx, wait)
		}
	}
}

// fetchPage makes one read and queues what it brought, within the memory of
// pages, and gives the page back. Shards that are caught up bring small pages and read side by side, shards
// far behind take turns.
func (w *Worker) fetchPage(ctx context.Context, s *shard, reader Reader, memory *fetch, d *decoder) (page stream.Page, err error) {
	if err := memory.begin(ctx); err != nil {
		return stream.Page{}, err
	}
	defer memory.end()
	if page, err = reader.Next(ctx); err != nil {
		return page, err
	}
	if page.Trimmed {
		at, _ := w.queue.position(s)
		w.cfg.Metrics.WorkerErrors.Add(1)
		w.log.Error("records may have been trimmed from the stream before they were read",
			"shard", s.term.Shard.ID, "position", at.String(), "error", ErrTrimmed)
	}
	w.cfg.Metrics.RecordsRead.Add(len(page.Records))
	c := d.decode(s, page)
	memory.learn(int64(page.Bytes), int64(page.Bytes)+c.bytes)
	w.queue.add(c, page.Behind, caughtUp(page))
	if page.Free != nil {
		page.Free()
	}
	return page, nil
}

// caughtUp is the time before which all that arrived has been read with the page,
// or zero where the page does not tell. It goes by the stream's clock alone:
// ours may be a minute ahead, and would promise what has not come yet.
func caughtUp(page stream.Page) time.Time {
	if page.Behind > 0 || page.AsOf.IsZero() {
		return time.Time{}
	}
	return page.AsOf.Add(-hostSkew).UTC()
}

// What goes wrong with no error of anybody's behind it, as the log has it.
var (
	// ErrRemade: the stream is not the one that the shard is of.
	ErrRemade = errors.New("the stream was deleted and made anew; what was not read of the old one is lost")
	// ErrTrimmed: a read began behind the shard's position.
	ErrTrimmed = errors.New("the shard's oldest record is newer than what was to be read")
	// ErrExpired: a shard that has ended is past the stream's retention.
	ErrExpired = errors.New("the shard is past the stream's retention")
	// ErrSilent: the warehouse has not said whether it takes the statements.
	ErrSilent = errors.New("no answer yet")
	// ErrFinal: a row is not tried again by itself.
	ErrFinal = errors.New("no more tries")
)

// expired tells whether a shard that the stream does not find is past its
// retention, which ends it. A stream that is not there at all may come back, and
// one that was made anew lacks the shards of the old one without their having
// ended: its own shards will have the same names.
func (w *Worker) expired(ctx context.Context, s *shard) bool {
	id := s.term.Shard.ID
	shards, err := w.cfg.Shards(ctx)
	if known := s.term.Stream; err == nil && !known.IsZero() && w.cfg.Identity != nil {
		var now stream.Identity
		if now, err = w.cfg.Identity(ctx); err == nil && !now.Equal(known) {
			err = ErrRemade
		}
	}
	if err != nil || slices.ContainsFunc(shards, func(l stream.Shard) bool { return l.ID == id }) {
		w.log.Error("the stream or the shard is not found; asking again", "error", fmt.Errorf("shard %s: %w", id, errors.Join(stream.ErrGone, err)))
		return false
	}
	at, _ := w.queue.position(s)
	w.cfg.Metrics.WorkerErrors.Add(1)
	w.log.Error("the shard has expired: what was not read of it by then is lost",
		"shard", id, "position", at.String(), "error", ErrExpired)
	w.queue.add(&chunk{shard: s, ends: true, queued: time.Now()}, 0, time.Time{})
	return true
}

func (w *Worker) readFailed(s *shard, err error) {
	w.cfg.Metrics.ShardErrors.Add(1)
	message := "reading a shard failed; it is tried again"
	switch {
	case errors.Is(err, stream.ErrThrottled):
		// It passes, and costs nothing but time: no error.
		w.log.Warn("a read was throttled; it is tried again", "shard", s.term.Shard.ID, "error", err)
		return
	case errors.Is(err, stream.ErrIncomplete):
		message = "the stream's reply lacks what it must hold; nothing of it was taken, and it is asked again"
	case errors.Is(err, stream.ErrBadPosition):
		message = "the warehouse's position is not in this shard; was the stream deleted and made anew?"
	case errors.Is(err, stream.ErrDenied):
		message = "reading a shard is refused until what the error names is mended; it is tried again"
	}
	w.log.Error(message, "shard", s.term.Shard.ID, "error", err)
}
