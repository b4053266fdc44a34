package warehouse

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// slowShelf takes its time to remove things.
type slowShelf struct {
	shelf
	takes   time.Duration
	removed int
}

func (s *slowShelf) Delete(ctx context.Context, names ...string) error {
	select {
	case <-time.After(s.takes):
		s.removed += len(names)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestRemovingStagedFilesIsBoundedInNumberAndTime(t *testing.T) {
	for _, c := range []struct {
		takes         time.Duration
		files         int // handed over while the first call is under way
		close         time.Duration
		removed, left int
	}{
		{takes: time.Second, files: 100, close: 5 * time.Second, removed: 101, left: 0},
		{takes: 4 * time.Second, files: 100, close: 5 * time.Second, removed: 1, left: 100},
		{takes: time.Second, files: mostStaged + 7, close: 5 * time.Second, removed: mostStaged + 1, left: 7},
		{takes: time.Hour, files: 100, close: 5 * time.Second, removed: 0, left: 101},
		{takes: time.Hour, files: 100, close: time.Hour, removed: 0, left: 101}, // two calls that took too long
	} {
		t.Run(fmt.Sprintf("%v-%d-%v", c.takes, c.files, c.close), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				s := &slowShelf{takes: c.takes}
				r := &remover{staging: s, log: slog.New(slog.NewTextHandler(&log, nil))}
				began := time.Now()
				r.later(t.Context(), "first")
				synctest.Wait()
				for i := range c.files {
					r.later(t.Context(), fmt.Sprint(i))
				}
				if waited := time.Since(began); waited > 0 {
					t.Errorf("whoever handed the files over waited %v", waited)
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.close)
				defer cancel()
				r.close(ctx)
				if took := time.Since(began); took > c.close {
					t.Errorf("closing took %v", took)
				}
				if s.removed != c.removed || r.left != c.left {
					t.Errorf("%d files removed and %d left, want %d and %d", s.removed, r.left, c.removed, c.left)
				}
				if n := strings.Count(log.String(), "\n"); c.left == 0 && n != 0 || c.left > 0 && n != 1 {
					t.Errorf("the log says %s", log.String())
				}
			})
		})
	}
}

func TestRemovingStagedFilesBeginsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowShelf{takes: time.Second}
		r := &remover{staging: s, log: slog.New(slog.DiscardHandler)}
		for range 3 {
			r.later(t.Context(), "a", "b")
			<-r.idle
		}
		r.close(t.Context())
		r.later(t.Context(), "late")
		if s.removed != 6 || r.left != 1 {
			t.Errorf("%d files removed and %d left, want 6 and 1", s.removed, r.left)
		}
	})
}
