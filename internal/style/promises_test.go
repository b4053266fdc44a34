package style

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// promises is how many there are: G1 to G10.
const promises = 10

const guarantees = "docs/GUARANTEES.md"

var (
	// A test carries the promises that it proves at the head of its name:
	// TestG3_..., or TestG1_G2_... for two.
	carried = regexp.MustCompile(`^(?:Test|Fuzz)((?:G\d+_)+)`)
	// A promise's line in the guarantees begins, after any markup, with its number.
	promised = regexp.MustCompile(`(?m)^[\s#|*>-]*(G\d+)\b`)
	named    = regexp.MustCompile(`\b(?:Test|Fuzz)G\d+_\w+`)
)

// promiseTests is the tests of each promise.
func promiseTests(files []*file) map[string][]string {
	out := map[string][]string{}
	for _, f := range files {
		if !f.isTest() {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv != nil {
				continue
			}
			m := carried.FindStringSubmatch(fn.Name.Name)
			if m == nil {
				continue
			}
			for g := range strings.SplitSeq(strings.Trim(m[1], "_"), "_") {
				out[g] = append(out[g], fn.Name.Name)
			}
		}
	}
	return out
}

// checkPromises compares the promises, the document that makes them, and the
// tests that prove them.
func checkPromises(files []*file, document string) []problem {
	var out []problem
	tests := promiseTests(files)
	made := map[string]bool{}
	for _, m := range promised.FindAllStringSubmatch(document, -1) {
		made[m[1]] = true
	}
	numbered := map[string]bool{}
	for i := range promises {
		g := fmt.Sprintf("G%d", i+1)
		numbered[g] = true
		if len(tests[g]) == 0 {
			out = append(out, problem{g, "untested", "no test is called Test" + g + "_..."})
		}
		if !made[g] {
			out = append(out, problem{g, "undocumented", guarantees + " has no line that begins with " + g})
		}
	}
	known := map[string]bool{}
	for g, names := range tests {
		if !numbered[g] {
			out = append(out, problem{g, "undocumented", fmt.Sprintf("%v prove what %s does not promise", names, guarantees)})
		}
		for _, name := range names {
			known[name] = true
		}
	}
	for _, name := range named.FindAllString(document, -1) {
		if !known[name] {
			out = append(out, problem{guarantees, "no-such-test", name})
		}
	}
	return out
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(root + "/" + name)
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	return string(text)
}

func TestEveryPromiseHasATestAndALine(t *testing.T) {
	report(t, checkPromises(repository(t), read(t, guarantees)), nil)
}

func TestPromisesCanFail(t *testing.T) {
	var text, doc strings.Builder
	text.WriteString("package p\n")
	for i := range promises {
		fmt.Fprintf(&text, "func TestG%d_Holds() {}\n", i+1)
		fmt.Fprintf(&doc, "- **G%d It holds.** TestG%d_Holds\n", i+1, i+1)
	}
	check := func(text, doc string) []string {
		f, err := parse("internal/p/p_test.go", text)
		if err != nil {
			t.Fatal(err)
		}
		rules := map[string]bool{}
		for _, p := range checkPromises([]*file{f}, doc) {
			rules[p.rule] = true
		}
		return slices.Sorted(maps.Keys(rules))
	}
	for _, c := range []struct {
		what, text, doc string
		want            []string
	}{
		{"all is well", text.String(), doc.String(), nil},
		{"a test is gone", strings.Replace(text.String(), "TestG3_", "TestSome_", 1), doc.String(), []string{"no-such-test", "untested"}},
		{"two in one name", strings.Replace(strings.Replace(text.String(), "TestG3_", "TestSome_", 1), "TestG4_Holds", "TestG4_G3_Holds", 1), strings.NewReplacer("TestG3_Holds", "", "TestG4_Holds", "").Replace(doc.String()), nil},
		{"a line is gone", text.String(), strings.Replace(doc.String(), "**G3 ", "**", 1), []string{"undocumented"}},
		{"G1 does not count for G10", strings.Replace(text.String(), "TestG1_", "TestSome_", 1), strings.Replace(doc.String(), "TestG1_Holds", "", 1), []string{"untested"}},
		{"a promise of no number", text.String() + "func TestG11_Holds() {}\n", doc.String(), []string{"undocumented"}},
	} {
		if got := check(c.text, c.doc); !slices.Equal(got, c.want) {
			t.Errorf("%s: found %q, want %q", c.what, got, c.want)
		}
	}
}
