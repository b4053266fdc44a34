package deadletter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// # Marks
//
// A letter that goes back onto the stream is marked, not changed and not
// removed. Each attempt leaves up to two small objects beside the letters,
//
//	redriven/<stream>/<shard>/<place>.<attempt>.claimed.json   before the record is put
//	redriven/<stream>/<shard>/<place>.<attempt>.placed.json    after, or "refused"
//
// which All does not take for letters: those end in ".ndjson". The claim is put
// if absent, so that of two programs only one puts the record. A claim without
// an outcome is one whose program died, or got no answer, in between.

// Outcome is how an attempt to put a letter back stands.
type Outcome string

// The outcomes of an attempt.
const (
	NoAttempt Outcome = ""
	InDoubt   Outcome = "claimed" // the record may be on the stream, or not
	Placed    Outcome = "placed"
	Refused   Outcome = "refused" // it is surely not on the stream
)

// Attempt is the latest attempt to put a letter back.
type Attempt struct {
	N       int // from 1; 0 = there was none
	Outcome Outcome
}

// Attempts knows the latest attempt for each letter.
type Attempts struct{ latest map[string]Attempt }

// Of returns the latest attempt to put l back.
func (a Attempts) Of(l Letter) Attempt { return a.latest[element(l.ShardID)+"/"+placeName(l.Place())] }

func (s *Store) markPrefix() string { return "redriven/" + element(s.stream) + "/" }

const markSuffix = ".json"

func (s *Store) markName(l Letter, n int, o Outcome) string {
	return s.markPrefix() + element(l.ShardID) + "/" + placeName(l.Place()) + "." + strconv.Itoa(n) + "." + string(o) + markSuffix
}

// Attempts reads how the letters of the stream stand. Only names are read.
func (s *Store) Attempts(ctx context.Context) (Attempts, error) {
	names, err := s.bucket.List(ctx, s.markPrefix())
	if err != nil {
		return Attempts{}, fmt.Errorf("list what was put back of the dead letters of %s: %w", s.stream, err)
	}
	out := Attempts{latest: make(map[string]Attempt)}
	for _, name := range names {
		letter, attempt, ok := parseMark(strings.TrimPrefix(name, s.markPrefix()))
		if !ok {
			continue
		}
		before := out.latest[letter]
		if attempt.N > before.N || attempt.N == before.N && before.Outcome == InDoubt {
			out.latest[letter] = attempt
		}
	}
	return out, nil
}

// parseMark undoes markName, without its prefix. A shard's element may hold
// dots; a place does not.
func parseMark(name string) (letter string, a Attempt, ok bool) {
	name, ok = strings.CutSuffix(name, markSuffix)
	slash := strings.LastIndexByte(name, '/')
	parts := strings.Split(name[slash+1:], ".")
	if !ok || slash < 0 || len(parts) != 3 {
		return "", a, false
	}
	n, err := strconv.Atoi(parts[1])
	o := Outcome(parts[2])
	if err != nil || n < 1 || o != InDoubt && o != Placed && o != Refused {
		return "", a, false
	}
	return name[:slash+1] + parts[0], Attempt{N: n, Outcome: o}, true
}

// mark is the body of a mark, for people who look.
type mark struct {
	Run string    `json:"run"` // of the program
	At  time.Time `json:"at"`
}

// Claim claims attempt n of l for the program called run, which no other one may
// be called. It reports whether the attempt is now that program's.
func (s *Store) Claim(ctx context.Context, l Letter, n int, run string) (bool, error) {
	body, err := json.Marshal(mark{Run: run, At: time.Now().UTC()})
	if err != nil {
		return false, err
	}
	name := s.markName(l, n, InDoubt)
	created, err := s.bucket.PutIfAbsent(ctx, name, body)
	if err != nil || created {
		return created, err
	}
	// After a lost reply the object that is there may be our own.
	found, err := s.bucket.Get(ctx, name)
	return err == nil && bytes.Equal(found, body), err
}

// Settle notes how attempt n of l ended. Doing it again changes nothing.
func (s *Store) Settle(ctx context.Context, l Letter, n int, o Outcome, run string) error {
	body, err := json.Marshal(mark{Run: run, At: time.Now().UTC()})
	if err != nil {
		return err
	}
	_, err = s.bucket.PutIfAbsent(ctx, s.markName(l, n, o), body)
	return err
}
