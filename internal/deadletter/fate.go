package deadletter

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// # Parked letters
//
// The letter of a row that the warehouse refused is stored like every other one,
// and the row is then tried again. What came of it is a small object beside the
// letters, which never change:
//
//	retried/<stream>/<shard>/<place>.loaded.json   the row went in after all
//	retried/<stream>/<shard>/<place>.final.json    it was refused to the last try
//
// A letter of that kind with neither is parked: its row is being tried, or the
// worker that tried it is gone. Either way it is in its letter, and may be in
// the warehouse: a mark follows what it tells of, and a crash may come between.

// RefusedByWarehouse is the reason of letters that no rule of the decoder
// explains: the warehouse itself refused the row. Their detail is its message.
const RefusedByWarehouse = "refused by the warehouse"

// Fate is what became of the row of a letter.
type Fate string

// The fates.
const (
	Kept   Fate = ""       // the decoder refused the record: there is no row to try
	Parked Fate = "parked" // the warehouse refused the row, which may go in yet
	Loaded Fate = "loaded" // the row went in later
	Final  Fate = "final"  // the warehouse refused the row to the last try
)

// Fates knows the fates of a stream's letters.
type Fates struct{ marked map[string]Fate }

// Of returns the fate of l.
func (f Fates) Of(l Letter) Fate {
	if l.Reason != RefusedByWarehouse {
		return Kept
	}
	if fate, ok := f.marked[element(l.ShardID)+"/"+placeName(l.Place())]; ok {
		return fate
	}
	return Parked
}

func (s *Store) fatePrefix() string { return "retried/" + element(s.stream) + "/" }

// Fates reads the fates of the stream's letters. Only names are read.
func (s *Store) Fates(ctx context.Context) (Fates, error) {
	names, err := s.bucket.List(ctx, s.fatePrefix())
	if err != nil {
		return Fates{}, fmt.Errorf("list what became of the dead letters of %s: %w", s.stream, err)
	}
	out := Fates{marked: make(map[string]Fate)}
	for _, name := range names {
		letter, fate, ok := parseFate(strings.TrimPrefix(name, s.fatePrefix()))
		// After two owners of a shard there may be both: a row that is in is in.
		if ok && out.marked[letter] != Loaded {
			out.marked[letter] = fate
		}
	}
	return out, nil
}

// parseFate undoes the name of a mark, without its prefix. A shard's element may
// hold dots; a place does not.
func parseFate(name string) (letter string, f Fate, ok bool) {
	for _, f := range []Fate{Loaded, Final} {
		if letter, ok := strings.CutSuffix(name, "."+string(f)+markSuffix); ok {
			return letter, f, true
		}
	}
	return "", Kept, false
}

// MarkFate notes what became of the row of l, Loaded or Final. Doing it again
// changes nothing.
func (s *Store) MarkFate(ctx context.Context, l Letter, f Fate) error {
	body, err := json.Marshal(struct {
		At time.Time `json:"at"`
	}{time.Now().UTC()})
	if err != nil {
		return err
	}
	name := s.fatePrefix() + element(l.ShardID) + "/" + placeName(l.Place()) + "." + string(f) + markSuffix
	if _, err := s.bucket.PutIfAbsent(ctx, name, body); err != nil {
		return fmt.Errorf("note that the row of %s %s is %s: %w", l.ShardID, placeName(l.Place()), f, err)
	}
	return nil
}
