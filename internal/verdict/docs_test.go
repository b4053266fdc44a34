package verdict

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The first screen of the operations has a row for each trouble, by the name of its
// cause, whose command is the beginning of the one that the verdict has.
func TestTheTableOfTheOperationsIsTheVerdicts(t *testing.T) {
	page, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	found := map[Cause]Finding{}
	for _, c := range verdictCases {
		f := c.of()
		c.change(&f)
		for _, v := range Of(f).All() {
			if _, first := found[v.Cause]; !first && v.Command != "" {
				found[v.Cause] = v
			}
		}
	}
	rows := 0
	row := regexp.MustCompile(`(?m)^\| (.*) \| ` + "`([^`]+)`" + ` \| .+ \|$`)
	text := string(page)
	text = text[:strings.Index(text, "## Start")]
	named := regexp.MustCompile("\\(((?:`[a-z-]+`(?:, )?)+)\\)")
	for _, m := range row.FindAllStringSubmatch(text, -1) {
		rows++
		for _, group := range named.FindAllStringSubmatch(m[1], -1) {
			for _, name := range strings.Split(group[1], ", ") {
				c := Cause(strings.Trim(name, "`"))
				v, known := found[c]
				if !known {
					t.Errorf("%s: no verdict with a command has this cause", c)
				} else if !strings.HasPrefix(v.Command, m[2]) {
					t.Errorf("%s: the page says %q, the verdict %q", c, m[2], v.Command)
				}
				delete(found, c)
			}
		}
	}
	if rows < 16 {
		t.Errorf("%d rows", rows)
	}
	for _, c := range []Cause{
		RejectedAll, RejectedSome, ReadsThrottled, HotShard, WarehousePaused, WarehouseFull, WarehouseSlow, WarehouseLocked, ReadsDenied,
		LeasesGone, LeasesThrottled, LettersFull, OtherStream, NoWorker, WorkerMissed, ClockOff,
	} {
		if _, left := found[c]; left {
			t.Errorf("no row names %s", c)
		}
	}
}
