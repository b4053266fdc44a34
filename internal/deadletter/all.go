package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"
)

// All returns every dead letter of the stream, each place once, shard by shard
// and in the order of each shard. It holds some objects, which are read side by side,
// and what overlaps them at a time.
//
// An object that cannot be read is given as an error, after the letters before
// its broken line, and the walk goes on with the next object if the caller
// does; what a caller counts is complete only if no error came.
func (s *Store) All(ctx context.Context) iter.Seq2[Letter, error] { return s.Among(ctx, Filter{}) }

// Filter says which letters are looked for, as far as the names of objects tell: what
// it leaves out is not read.
type Filter struct {
	Shards       []string  // nil = all
	Since, Until time.Time // of arrival: then or later, and before; zero = no bound
}

// Among is All without the letters that the filter leaves out.
func (s *Store) Among(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		objects, err := s.objects(ctx, f)
		if err != nil {
			yield(Letter{}, err)
			return
		}
		s.walk(ctx, objects, f, yield)
	}
}

// Newest is Among from the newest hour of arrival to the oldest: within an hour,
// letters come shard by shard and in the order of each shard. Hours that the caller
// does not ask for any more are not read. Objects whose names tell no hour (copies
// that someone made) come first.
func (s *Store) Newest(ctx context.Context, f Filter) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		objects, err := s.objects(ctx, f)
		if err != nil {
			yield(Letter{}, err)
			return
		}
		slices.SortStableFunc(objects, func(a, b object) int { return cmp.Compare(hourOf(b.name), hourOf(a.name)) })
		for len(objects) > 0 {
			n := 1
			for n < len(objects) && hourOf(objects[n].name) == hourOf(objects[0].name) {
				n++
			}
			if !s.walk(ctx, objects[:n], f, yield) {
				return
			}
			objects = objects[n:]
		}
	}
}

// walk yields the letters of the objects, which are sorted by shard and first place.
// It reports whether the caller wants more.
func (s *Store) walk(ctx context.Context, objects []object, f Filter, yield func(Letter, error) bool) bool {
	next, stop := s.ahead(ctx, objects)
	defer stop()
	var held []Letter // read, and maybe in a later object too; sorted
	for i, o := range objects {
		if ctx.Err() != nil {
			yield(Letter{}, context.Cause(ctx))
			return false
		}
		found, err := next()
		if err != nil && !yield(Letter{}, err) {
			return false
		}
		held = merge(held, found)
		free := len(held)
		if i+1 < len(objects) && shardOf(objects[i+1].name) == shardOf(o.name) {
			// Objects come by their first places: no later one can hold a
			// letter that lies before the next one's first.
			first := objects[i+1].first
			free = 0
			for free < len(held) && compare(held[free].Place(), first) < 0 {
				free++
			}
		}
		for _, l := range held[:free] {
			if f.lets(l) && !yield(l, nil) {
				return false
			}
		}
		held = slices.Delete(held, 0, free)
	}
	return true
}

// mostAhead is how many objects are read at a time: a worker that rejects a little has
// an object for each load and shard, and S3 takes tens of milliseconds for each.
const mostAhead = 16

// ahead reads the objects: next returns the letters of the first one, of the second one
// and so on. Who asks for one alone has read that alone; who goes on finds the next ones
// read. stop ends what is read in vain.
func (s *Store) ahead(ctx context.Context, objects []object) (next func() ([]Letter, error), stop func()) {
	type found struct {
		letters []Letter
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	var reads sync.WaitGroup
	var underWay []chan found
	begun, width := 0, 1
	next = func() ([]Letter, error) {
		for ; begun < len(objects) && len(underWay) < width; begun++ {
			name, result := objects[begun].name, make(chan found, 1)
			underWay = append(underWay, result)
			reads.Go(func() {
				letters, err := s.letters(ctx, name)
				result <- found{letters, err}
			})
		}
		width = min(2*width, mostAhead)
		first := <-underWay[0]
		underWay = underWay[1:]
		return first.letters, first.err
	}
	return next, func() {
		cancel()
		reads.Wait()
	}
}

// lets reports whether a letter is looked for.
func (f Filter) lets(l Letter) bool {
	return (f.Shards == nil || slices.Contains(f.Shards, l.ShardID)) &&
		(f.Since.IsZero() || !l.ArrivedAt.Before(f.Since)) && (f.Until.IsZero() || l.ArrivedAt.Before(f.Until))
}

// mayHold reports whether an object may hold a letter that is looked for.
func (f Filter) mayHold(o object) bool {
	h := hourOf(o.name)
	return h == "" || (f.Since.IsZero() || h >= hourAt(f.Since)) && (f.Until.IsZero() || h <= hourAt(f.Until))
}

// objects lists those of the stream's objects that may hold what is looked for, by
// shard and first place. One whose name tells no place (a copy that someone made)
// comes first in its shard.
func (s *Store) objects(ctx context.Context, f Filter) ([]object, error) {
	prefixes := []string{element(s.stream) + "/"}
	if f.Shards != nil {
		prefixes = nil
		for _, shard := range f.Shards {
			prefixes = append(prefixes, element(s.stream)+"/"+element(shard)+"/")
		}
	}
	var names []string
	for _, prefix := range prefixes {
		more, err := s.bucket.List(ctx, prefix)
		if err != nil {
			return nil, fmt.Errorf("list the dead letters of %s: %w", s.stream, err)
		}
		names = append(names, more...)
	}
	var out []object
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		o, ok := parseName(name)
		if !ok {
			o = object{name: name}
		}
		if f.mayHold(o) {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b object) int {
		return cmp.Or(cmp.Compare(shardOf(a.name), shardOf(b.name)), compare(a.first, b.first))
	})
	return out, nil
}

func (s *Store) letters(ctx context.Context, name string) ([]Letter, error) {
	body, err := s.bucket.Get(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // taken away since it was listed
	}
	if err != nil {
		return nil, fmt.Errorf("read dead letters: %w", err)
	}
	return decode(name, body)
}

// merge adds letters to held, which stays sorted and without doubles.
func merge(held, more []Letter) []Letter {
	held = append(held, more...)
	byPlace := func(a, b Letter) int {
		return cmp.Or(cmp.Compare(a.ShardID, b.ShardID), compare(a.Place(), b.Place()))
	}
	slices.SortStableFunc(held, byPlace)
	return slices.CompactFunc(held, func(a, b Letter) bool { return byPlace(a, b) == 0 })
}

// hourOf is the hour of arrival in an object's name, or empty where it tells none.
func hourOf(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return ""
	}
	if _, err := time.Parse(hourFormat, parts[2]); err != nil {
		return ""
	}
	return parts[2]
}

// shardOf is the shard's element of an object's name.
func shardOf(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	shard, _, _ := strings.Cut(rest, "/")
	return shard
}
