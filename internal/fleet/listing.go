package fleet

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// finished is a batch of which the outcome is known.
type finished struct {
	until time.Time // when it is enough if its objects are still listed
	names []string  // of these objects; nil = another worker has loaded it
}

// isOver reports whether a batch is to be passed over, as its outcome is known.
func (l *loader) isOver(id string) bool {
	o, known := l.over[id]
	return known && (o.names != nil || time.Now().Before(o.until))
}

// remains are the objects of batches that are over, and were to be removed a while ago.
func (l *loader) remains() (names []string) {
	now := time.Now()
	for id, o := range l.over {
		if o.names != nil && now.After(o.until) {
			names = append(names, o.names...)
			o.until = now.Add(keepWords)
			l.over[id] = o
		}
	}
	return names
}

// idOf is the id of the batch whose object has that name.
func (l *loader) idOf(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, l.folder+stagedFolder), ".json")
}

// list learns what is staged.
func (f *Fleet) list(ctx context.Context) error {
	l, ours, began := &f.loader, f.ours(), time.Now()
	names, err := f.c.Bucket.List(ctx, l.folder+stagedFolder)
	l.listed = time.Now()
	if err != nil {
		f.addOurs()
		f.count(false)
		return err
	}
	l.call += (l.listed.Sub(began) - l.call) / 4
	there := make(map[string]bool, len(names))
	var fresh []string
	for _, name := range names {
		id := l.idOf(name)
		there[id] = true
		if _, known := l.batches[id]; !known && !l.isOver(id) && !time.Now().Before(l.unread[id].next) {
			fresh = append(fresh, name)
		}
	}
	for id := range l.batches {
		if !there[id] {
			delete(l.batches, id) // its owner took it back
		}
	}
	f.mu.Lock()
	maps.DeleteFunc(l.over, func(id string, _ finished) bool { return !there[id] && f.mine[id].ID == "" })
	f.mu.Unlock()
	maps.DeleteFunc(l.unread, func(id string, _ unread) bool { return !there[id] })
	f.c.Copy.Remove(ctx, l.remains()...)
	f.addOurs()
	f.giveBack(ctx, slices.DeleteFunc(ours, func(b batch) bool {
		_, waits := l.batches[b.ID]
		return there[b.ID] || !waits
	}), errTaken)
	fresh = slices.DeleteFunc(fresh, func(name string) bool {
		_, ours := l.batches[l.idOf(name)]
		return ours
	})
	f.read(ctx, fresh)
	f.count(true)
	return nil
}

// errTaken: a worker that took this one for dead, as it was frozen or did not reach the
// bucket, has loaded a batch of its own and removed it. What became of it the owner's own
// load finds out; one for the fleet would miss the file.
var errTaken = errors.New("fleet: another worker has loaded it meanwhile")

// ours are the batches that this process has staged and that wait.
func (f *Fleet) ours() (out []batch) {
	l := &f.loader
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, b := range f.mine {
		if _, answered := f.answers[id]; !answered && !l.isOver(id) && b.folder == l.folder {
			out = append(out, b)
		}
	}
	return out
}

// addOurs adds what this process has staged, of which it needs no telling.
func (f *Fleet) addOurs() {
	for _, b := range f.ours() {
		f.loader.batches[b.ID] = b
	}
}

// unread is an object that could not be read as a batch: one that the bucket does not
// give, or that is none and cannot be removed, lies there for as long as somebody lets
// it, and is listed each second.
type unread struct {
	next time.Time // when it is tried again
	gap  time.Duration
}

// longestUnread bounds the time between two tries to read an object.
const longestUnread = 10 * time.Minute

// read reads batches' objects. What cannot be read now is read at a later listing,
// and what is none is removed.
func (f *Fleet) read(ctx context.Context, names []string) {
	l := &f.loader
	found, errs := make([]batch, len(names)), make([]error, len(names))
	group := new(errgroup.Group)
	group.SetLimit(readers)
	for i, name := range names {
		group.Go(func() error {
			body, err := f.c.Bucket.Get(ctx, name)
			if err == nil {
				found[i], err = readBatch(l.folder, name, f.c.Stream, body)
			}
			errs[i] = err
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	if slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, fs.ErrPermission) }) {
		f.look(ctx, l.folder) // whether it is that object alone
	}
	for i, name := range names {
		err, id := errs[i], l.idOf(name)
		if err == nil {
			l.batches[id] = found[i]
			delete(l.unread, id)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		gap := min(longestUnread, max(listEvery, 2*l.unread[id].gap))
		switch {
		case errors.Is(err, fs.ErrNotExist): // its owner took it back
		case errors.Is(err, errBadBatch):
			said := "an object among the staged batches is none; it is removed"
			// Not with the files of batches: that it may not be removed says nothing of those.
			if failed := f.c.Copy.Staging.Delete(ctx, name); failed != nil {
				said, err = "an object among the staged batches is none, and cannot be removed", errors.Join(err, failed)
			}
			f.c.Log.Error(said, "object", name, "error", err)
			gap = max(gap, keepWords)
		default:
			f.c.Log.Warn("a staged batch cannot be read; it is tried again", "object", name, "in", gap.String(), "error", err)
		}
		l.unread[id] = unread{time.Now().Add(gap), gap}
	}
}
