package warehouse

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// written is the batch's CSV as COPY reads it.
func written(t *testing.T, b Batch) string {
	t.Helper()
	var out bytes.Buffer
	if err := writeCSV(&out, b, b.proposals(), 0); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestALineOfTheFileIsOfOneRow: each line of a file whose texts are full of line
// ends, held against the files of the batch's leading rows.
func TestALineOfTheFileIsOfOneRow(t *testing.T) {
	b := Batch{Stream: "s", Moves: make([]Move, 3), Rows: hostileRows((&Copy{}).Encoder(), 5, 40)}
	lines := func(rows int) int {
		part := b
		part.Rows = b.Rows[:rows]
		return strings.Count(written(t, part), "\n")
	}
	if moves := lines(0); moves != 4 {
		t.Fatalf("the moves have %d lines", moves)
	}
	for line := range lines(0) + 1 {
		if row, ok := b.rowAt(line); ok {
			t.Errorf("line %d is of row %d, not of the moves", line, row)
		}
	}
	for i := range b.Rows {
		for line := lines(i) + 1; line <= lines(i+1); line++ {
			if row, ok := b.rowAt(line); !ok || row != i {
				t.Fatalf("line %d is of row %d, %t; want %d", line, row, ok, i)
			}
		}
	}
	if row, ok := b.rowAt(lines(len(b.Rows)) + 1); ok {
		t.Errorf("a line behind the last is of row %d", row)
	}
	if row, ok := b.rowAt(-3); ok {
		t.Errorf("a line of no file is of row %d", row)
	}
}

// TestAnInsertIsToBlameForItsRows: the rows that a refused statement is said to
// be about are those that are in it.
func TestAnInsertIsToBlameForItsRows(t *testing.T) {
	b := Batch{Stream: "s", Moves: make([]Move, 3), Rows: hostileRows(Insert{}.Encoder(), 6, 1500)}
	fill, err := Insert{}.Prepare(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Done()
	found := make([]bool, len(b.Rows))
	for i, sql := range fill.Statements {
		blame, ok := fill.Blame(context.Background(), nil, i)
		family := slices.IndexFunc(insertHeads, func(head string) bool { return strings.HasPrefix(sql, head) })
		if (family >= 0) != ok {
			t.Fatalf("statement %d: is of rows: %t, is to blame: %t", i, family >= 0, ok)
		}
		for at := blame.From; at < blame.To; at++ { // rows of other families lie between
			if int(b.Rows[at].Family) == family {
				found[at] = true
				if text := string(appendRowLiteral(nil, b.ordinal(at), b.Rows[at])); !strings.Contains(sql, text) {
					t.Errorf("row %d is not in statement %d", at, i)
				}
			}
		}
	}
	if slices.Contains(found, false) {
		t.Error("not every row is of some statement")
	}
	for _, i := range []int{-1, len(fill.Statements)} {
		if blame, ok := fill.Blame(context.Background(), nil, i); ok {
			t.Errorf("statement %d is to blame for %+v", i, blame)
		}
	}
}
