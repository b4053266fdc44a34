package lease

import (
	"context"
	"errors"
	"fmt"

	"github.com/cloudcafe/analytics-worker/internal/stream"
)

// Reopen lets workers take a shard again whose position was set back: its row no
// longer says that the shard was read to its end, and is made where there is
// none. A row that says neither stays as it is: whoever has it learns the
// position from the warehouse.
func Reopen(ctx context.Context, t Table, id stream.Identity, shard stream.Shard, at stream.Position) error {
	const tries = 5
	for try := 1; ; try++ {
		err := reopen(ctx, t, id, shard, at)
		if err == nil || try == tries || !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

func reopen(ctx context.Context, t Table, id stream.Identity, shard stream.Shard, at stream.Position) error {
	rows, err := t.List(ctx)
	if err != nil {
		return fmt.Errorf("read the leases: %w", err)
	}
	for _, r := range rows {
		if r.Shard != shard.ID {
			continue
		}
		if r.Unreadable != "" || !r.Ended() {
			return nil
		}
		want := r.clone()
		want.Owner, want.Checkpoint, want.Children, want.Stream = "", at, nil, id
		_, err := t.Update(ctx, r, want)
		return err
	}
	r := newRow(shard)
	// With a term it counts as under way, as it was: its parents are not asked for
	// anew.
	r.Checkpoint, r.Stream, r.Term = at, id, 1
	_, err = t.Create(ctx, r)
	return err
}
