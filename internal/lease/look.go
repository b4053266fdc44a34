package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// look reads the table, and before it, when it is time, the list of shards. A
// listing that fails is told beside the view, which then goes by the last one:
// leases of a dead worker are taken all the same.
func (h *Holder) look(ctx context.Context) (v View, listing, err error) {
	h.mu.Lock()
	v = h.view
	v.Synced = h.relist || time.Since(h.listed) >= h.c.Sync
	h.relist = false
	h.mu.Unlock()
	if v.Synced {
		if v, listing = h.sync(ctx, v); listing != nil {
			h.askListing()
			if v.Listed.IsZero() {
				return v, nil, listing
			}
		}
	}
	asked := time.Now()
	rows, err := h.rows(ctx)
	if err != nil {
		if v.Synced {
			h.askListing() // a listing counts only together with the rows read after it
		}
		return v, listing, err
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	before := v.At
	v.Held = make(map[string]int64, len(h.held))
	for id, l := range h.held {
		v.Held[id] = l.term()
	}
	v = v.observe(rows, h.c.Self, time.Now())
	h.notice(v)
	// A row of a shard that we have not heard of: somebody saw a split first.
	// Asked for once a row, as shards past the retention look the same.
	if !v.Synced && v.stranger(before) {
		h.relist = true
		h.wake()
	}
	if v.Synced {
		h.listed = asked
	}
	h.view = v
	return v, listing, nil
}

// sync lists the shards into v. Where that fails, v comes back as it was, but
// not as Synced.
func (h *Holder) sync(ctx context.Context, v View) (View, error) {
	asked := time.Now()
	id, err := h.identify(ctx)
	var shards []stream.Shard
	if err == nil {
		shards, err = h.list(ctx)
	}
	if err != nil {
		v.Synced = false
		return v, &ListingError{err}
	}
	if !v.Stream.IsZero() && !v.Stream.Equal(id) {
		// What was read of the old stream is loaded still, under the old one's name.
		h.c.Count()
		h.c.Log.Error("the stream is another one than before: deleted and made anew? The work on the shards of the old one ends, and begins on those of the new one",
			"before", v.Stream.String(), "now", id.String())
		h.drain()
		v = View{TTL: v.TTL, Ended: v.Ended, Patience: v.Patience, Synced: true}
	}
	v.Stream, v.Shards, v.Listed = id, shards, asked
	h.mu.Lock()
	defer h.mu.Unlock()
	h.view.Stream = id // also where the rows cannot be read now
	return v, nil
}

// ErrTableGone says that the table was deleted under the workers.
var ErrTableGone = errors.New("the lease table is gone")

// ListingError says that the stream could not be asked for its shards; the table may
// well be read.
type ListingError struct{ err error }

func (e *ListingError) Error() string { return e.err.Error() }

// Unwrap returns the error of the call.
func (e *ListingError) Unwrap() error { return e.err }

func (h *Holder) identify(ctx context.Context) (stream.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, h.c.TTL)
	defer cancel()
	id, err := h.c.Identity(ctx)
	if err != nil {
		return id, fmt.Errorf("ask which stream it is: %w", err)
	}
	return id, nil
}

// rows reads the table. One that was deleted under us is made again.
func (h *Holder) rows(ctx context.Context) ([]Row, error) {
	list := func() ([]Row, error) {
		ctx, cancel := context.WithTimeout(ctx, h.c.TTL)
		defer cancel()
		return h.c.Table.List(ctx)
	}
	rows, err := list()
	if errors.Is(err, stream.ErrGone) {
		h.c.Log.Warn("the lease table is gone; it is made again, from the warehouse's positions", "error", err)
		if err = h.c.Remake(ctx); err != nil {
			return nil, fmt.Errorf("%w, and cannot be made again: %w", ErrTableGone, err)
		}
		h.asked = time.Time{} // what was known of the table before is no answer
		rows, err = list()
	}
	if err != nil {
		return nil, fmt.Errorf("read the lease table: %w", err)
	}
	return rows, nil
}

// seed gives an empty table the rows of shards that the warehouse knows: it was
// deleted, and children of theirs would else count as never seen. Ancestors come
// first, in the order of their names: should we stop half way, what is there makes
// the rest start at its oldest record.
func (h *Holder) seed(ctx, lasting context.Context, v View) (seeded bool, err error) {
	if !v.Synced {
		h.askListing()
		return true, nil
	}
	if time.Since(h.asked) >= h.c.TTL {
		asking, cancel := context.WithTimeout(ctx, h.c.TTL/2)
		h.past, err = h.c.Past(asking)
		cancel()
		switch {
		case err == nil:
			h.asked = time.Now()
		case ctx.Err() != nil || slices.ContainsFunc(v.Shards, func(s stream.Shard) bool { return h.initial(s).Sequence != stream.TrimHorizon }):
			// A shard that would begin later than at its oldest record may be the child
			// of one that was read: to begin it there would skip records.
			return false, fmt.Errorf("ask the warehouse where the shards stand, as the lease table is empty: %w", err)
		default:
			// The claims will ask again, and until then nothing is read: the oldest record
			// is a start that loses nothing.
			h.c.Log.Warn("the warehouse does not say where the shards stand; as the lease table is empty, their leases begin at the oldest record", "error", err)
			return false, nil
		}
	}
	slices.SortFunc(h.past, func(a, b Row) int { return strings.Compare(a.Shard, b.Shard) })
	for _, known := range h.past {
		i := slices.IndexFunc(v.Shards, func(s stream.Shard) bool { return s.ID == known.Shard })
		if i < 0 && known.Ended() {
			continue // long over
		}
		r := Row{Shard: known.Shard}
		if i >= 0 {
			r = newRow(v.Shards[i])
		}
		r.Checkpoint, r.Term, r.Stream = known.Checkpoint, known.Term, known.Stream
		if r.Stream.ARN != v.Stream.ARN { // it must not make the table another stream's
			r.Stream = stream.Identity{}
		}
		if _, err := h.create(lasting, r); err != nil {
			h.askListing()
			return seeded, fmt.Errorf("create the lease of %s: %w", r.Shard, err)
		}
		seeded = true
	}
	if seeded {
		h.askListing()
		h.c.Log.Info("the lease table was empty; its rows were made from the warehouse's positions", "shards", len(h.past))
	}
	return seeded, nil
}

func (h *Holder) askListing() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.relist = true
}

func (h *Holder) list(ctx context.Context) ([]stream.Shard, error) {
	ctx, cancel := context.WithTimeout(ctx, h.c.TTL)
	defer cancel()
	shards, err := h.c.Shards(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the shards of the stream: %w", err)
	}
	return shards, nil
}
