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
)

// All returns every dead letter of the stream, each place once, shard by shard
// and in the order of each shard. It holds one object and what overlaps it at a
// time.
//
// An object that cannot be read is given as an error, after the letters before
// its broken line, and the walk goes on with the next object if the caller
// does; what a caller counts is complete only if no error came.
func (s *Store) All(ctx context.Context) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		objects, err := s.objects(ctx)
		if err != nil {
			yield(Letter{}, fmt.Errorf("list the dead letters of %s: %w", s.stream, err))
			return
		}
		var held []Letter // read, and maybe in a later object too; sorted
		for i, o := range objects {
			if err := ctx.Err(); err != nil {
				yield(Letter{}, err)
				return
			}
			found, err := s.letters(ctx, o.name)
			if err != nil && !yield(Letter{}, err) {
				return
			}
			held = merge(held, found)
			free := len(held)
			if i+1 < len(objects) && shardOf(objects[i+1].name) == shardOf(o.name) {
				// Objects come by their first places: no later one can hold a
				// letter that lies before the next one's first.
				next := objects[i+1].first
				free = 0
				for free < len(held) && compare(held[free].Place(), next) < 0 {
					free++
				}
			}
			for _, l := range held[:free] {
				if !yield(l, nil) {
					return
				}
			}
			held = slices.Delete(held, 0, free)
		}
	}
}

// objects lists the stream's objects by shard and first place. One whose name
// tells no place (a copy that someone made) comes first in its shard.
func (s *Store) objects(ctx context.Context) ([]object, error) {
	names, err := s.bucket.List(ctx, element(s.stream)+"/")
	if err != nil {
		return nil, err
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
		out = append(out, o)
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

// shardOf is the shard's element of an object's name.
func shardOf(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	shard, _, _ := strings.Cut(rest, "/")
	return shard
}
