package warehouse

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// readCSV reads the lines of a staged file.
func readCSV(t *testing.T, body []byte) [][]string {
	t.Helper()
	zip, err := gzip.NewReader(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// A staged file holds the moves and the rows that name them, under numbers of its
// own, and not the shared row: of that there is one in a load.
func TestAStagedFileNamesItsMoves(t *testing.T) {
	s := &shelf{objects: map[string][]byte{}}
	fill := &Copy{Staging: s, Log: slog.New(slog.DiscardHandler)}
	b := Batch{Stream: "s", Moves: []Move{{Shard: "a", Term: 1}, {Shard: "b", Term: 2}}, Rows: rowsOf(fill.Encoder(), hostileEvents(3, 400))}
	for i := range b.Rows {
		b.Rows[i].Move = i % 2
	}
	staged, err := fill.Stage(context.Background(), b)
	if err != nil || staged.Total() != 400 || staged.File != s.URL(staged.Name) {
		t.Fatalf("%+v, %v", staged, err)
	}
	shard := len(incoming().Columns) - len(incomingMove) + 1
	moves := make(map[string]string)
	rows := 0
	for _, line := range readCSV(t, s.objects[staged.Name]) {
		switch {
		case line[shard] != "":
			moves[line[0]] = line[shard]
		case moves[line[0]] != b.Moves[b.Rows[rows].Move].Shard:
			t.Fatalf("row %d is of move %s, which is %q", rows, line[0], moves[line[0]])
		default:
			rows++
		}
	}
	if first := strconv.Itoa(staged.First); rows != 400 || len(moves) != 2 || moves[first] != "a" {
		t.Errorf("%d rows and the moves %v; the first move is to be %s", rows, moves, first)
	}
}

// Two batches go together unless they move one shard, or name moves by one number.
func TestBatchesThatCannotGoTogether(t *testing.T) {
	batch := func(first int, file string, shards ...string) Staged {
		s := Staged{Stream: "s", File: file, First: first}
		for _, id := range shards {
			s.Moves = append(s.Moves, Move{Shard: id})
		}
		return s
	}
	for name, c := range map[string]struct {
		a, b  Staged
		apart bool
	}{
		"others":                          {batch(10, "f", "a", "b"), batch(12, "g", "c"), false},
		"one shard":                       {batch(10, "f", "a", "b"), batch(100, "g", "b"), true},
		"one shard, of one without rows":  {batch(10, "f", "a", "b"), batch(0, "", "b"), true},
		"a number of both":                {batch(10, "f", "a", "b"), batch(11, "g", "c"), true},
		"a number of both, the last one":  {batch(11, "f", "a"), batch(10, "g", "c", "d"), true},
		"numbers within the other's":      {batch(10, "f", "a", "b", "c"), batch(11, "g", "d"), true},
		"no numbers, as one has no rows":  {batch(0, "", "a"), batch(0, "g", "b"), false},
		"one shard of two streams' names": {Staged{Stream: "s", File: "f", First: 1, Moves: []Move{{Shard: "a"}}}, Staged{Stream: "t", File: "g", First: 2, Moves: []Move{{Shard: "a"}}}, false},
	} {
		for _, pair := range [][2]Staged{{c.a, c.b}, {c.b, c.a}} {
			if err := pair[0].Apart([]Staged{pair[1]}); (err != nil) != c.apart || err != nil && !errors.Is(err, ErrApart) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// The moves that no file holds get numbers that no file's rows use.
func TestNumbersOfALoadDoNotClash(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 2000 {
		var all []Staged
		shard := 0
		for range 1 + rng.IntN(8) {
			s := Staged{Stream: "s", First: rng.IntN(40)}
			if rng.IntN(3) > 0 {
				s.File = "s3://bucket/" + strconv.Itoa(shard)
			}
			for range 1 + rng.IntN(4) {
				s.Moves = append(s.Moves, Move{Shard: strconv.Itoa(shard)})
				shard++
			}
			if s.Apart(all) == nil {
				all = append(all, s)
			}
		}
		l := newStagedLoad(all)
		if len(l.index) != len(l.batch.Moves)+1 {
			t.Fatalf("%d numbers for %d moves and the shared row of %+v", len(l.index), len(l.batch.Moves), all)
		}
		for _, p := range l.own {
			for _, s := range all {
				if s.File != "" && p.index >= s.First && p.index < s.First+len(s.Moves) {
					t.Fatalf("move %s has the number %d, which rows of %s use", p.Shard, p.index, s.File)
				}
			}
		}
	}
}

// An answer for a move that is of none of the batches is no answer.
func TestTheAnswerOfAStagedLoadIsItsOwn(t *testing.T) {
	l := newStagedLoad([]Staged{{Stream: "s", File: "f", First: 7, Moves: []Move{{Shard: "a", Term: 1}}}})
	answer := func(numbers ...string) Result {
		var r Result
		for _, n := range numbers {
			r.Rows = append(r.Rows, []Value{{Text: n}, {Text: "1"}, {Text: "0"}, {Text: "0"}})
		}
		return r
	}
	if r, err := l.renumbered(answer("7", "0")); err != nil || r.Rows[0][0].Text != "0" || r.Rows[1][0].Text != "1" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, wrong := range []string{"8", "1", "-1", "x", ""} {
		if _, err := l.renumbered(answer("0", wrong)); err == nil {
			t.Errorf("an answer for move %q passes", wrong)
		}
	}
}

// The format changes with the columns of the files.
func TestFormatNamesTheColumns(t *testing.T) {
	columns := incoming().Columns
	if Format() != formatOf(columns) {
		t.Fatal("it is not that of the columns")
	}
	if Format() == formatOf(append([]Column{{"more", "INTEGER", true}}, columns...)) {
		t.Error("files of other columns have the same format")
	}
}

// Staging counts the rows of each family.
func TestStagingCounts(t *testing.T) {
	s := &shelf{objects: map[string][]byte{}}
	fill := &Copy{Staging: s, Log: slog.New(slog.DiscardHandler)}
	events := hostileEvents(5, 90)
	want := [event.MaxFamilies]int{}
	for _, e := range events {
		want[e.Family()]++
	}
	staged, err := fill.Stage(context.Background(), Batch{Stream: "s", Moves: []Move{{Shard: "a"}}, Rows: rowsOf(fill.Encoder(), events)})
	if err != nil || staged.Rows != want {
		t.Errorf("%v, %v; want %v", staged.Rows, err, want)
	}
	if none, err := fill.Stage(context.Background(), Batch{Stream: "s", Moves: []Move{{Shard: "a"}}}); err != nil || none.File != "" || len(s.objects) != 1 {
		t.Errorf("a batch without rows: %+v, %v, %d objects", none, err, len(s.objects))
	}
}
