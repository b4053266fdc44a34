package warehouse

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

var (
	// A row of the table of statements: | 11, 12 | `DELETE` from and `INSERT` into ... | why |
	tableRow = regexp.MustCompile(`(?m)^\| ([0-9]+(?:, [0-9]+)*) \| ([^|]*) \|`)
	inTicks  = regexp.MustCompile("`([^`]+)`")
)

// checkStatements compares a page's table with the statements of a load: each has
// one number, and what stands first in ticks beside it is in its text. In a row of
// several numbers, that is one after another.
func checkStatements(page string, statements []string) (wrong []string) {
	next := 1
	for _, row := range tableRow.FindAllStringSubmatch(page, -1) {
		words := inTicks.FindAllStringSubmatch(row[2], -1)
		for i, number := range strings.Split(row[1], ", ") {
			switch {
			case number != strconv.Itoa(next):
				wrong = append(wrong, fmt.Sprintf("the row %s stands where %d is next", number, next))
			case next > len(statements):
				wrong = append(wrong, fmt.Sprintf("there is no statement %d", next))
			case i >= len(words) || !strings.Contains(statements[next-1], words[i][1]):
				wrong = append(wrong, fmt.Sprintf("statement %d is not what its row says (%s):\n%s", next, row[2], statements[next-1]))
			}
			next++
		}
	}
	for ; next <= len(statements); next++ {
		wrong = append(wrong, fmt.Sprintf("no row for statement %d:\n%s", next, statements[next-1]))
	}
	return wrong
}

// TestTheArchitectureHasTheLoad: the page that explains the load statement by
// statement has them all, in their order, and counts them right.
func TestTheArchitectureHasTheLoad(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, page, _ := strings.Cut(string(text), "\n## The load transaction\n")
	page, _, _ = strings.Cut(page, "\n## ")
	copied := []string{(&Copy{}).statement("s3://bucket/manifest.json")}
	load := func(c families) []string { return loadTransaction(Names{}, c, copied, time.Now(), false).sql() }
	alone, all := load(families{event.Orders: true}), load(allFamilies)
	for _, w := range checkStatements(page, alone) {
		t.Error(w)
	}
	flat := strings.Join(strings.Fields(page), " ")
	if want := fmt.Sprintf("orders alone are %d statements, and all three %d ", len(alone), len(all)); !strings.Contains(flat, want) {
		t.Errorf("the page does not say that %s", want)
	}
}

func TestTheArchitectureCanBeWrong(t *testing.T) {
	statements := []string{"LOCK TABLE a", "DELETE FROM b", "INSERT INTO b"}
	const page = "| | Statement |\n|---|---|\n| 1 | `LOCK TABLE a` | |\n| 2, 3 | `DELETE` from and `INSERT` into `b` | |\n"
	if wrong := checkStatements(page, statements); len(wrong) != 0 {
		t.Errorf("a true page is called wrong: %q", wrong)
	}
	for _, c := range []struct{ old, bad string }{
		{"LOCK TABLE a", "LOCK TABLE b"},
		{"| 2, 3 |", "| 3, 4 |"},
		{"| 2, 3 |", "| 2 |"},
		{"`DELETE` from and `INSERT` into", "`INSERT` into and `DELETE` from"},
		{"| 1 | `LOCK TABLE a` | |\n", ""},
	} {
		if len(checkStatements(strings.Replace(page, c.old, c.bad, 1), statements)) == 0 {
			t.Errorf("nothing is wrong with %q in place of %q", c.bad, c.old)
		}
	}
	if len(checkStatements(page, append(statements, "UPDATE c"))) == 0 || len(checkStatements(page, statements[:2])) == 0 {
		t.Error("a statement more or less is not seen")
	}
}
