package style

import (
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// history is pages that tell what was, and so may name what is gone.
var history = []string{"CHANGELOG.md"}

var (
	goFile   = regexp.MustCompile("`([\\w./-]+\\.go)`")
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark|Example)[A-Z]\\w*)`")
)

// checkSources looks up the Go files and the tests that a page names: a file by its
// path from the root, or by the end of it; a test by its name, or its beginning.
func checkSources(name, document string, files []*file) []problem {
	var out []problem
	add := func(what string) {
		out = append(out, problem{name, "source", what + " is not there: it was moved or named anew"})
	}
	for _, m := range goFile.FindAllStringSubmatch(document, -1) {
		if !slices.ContainsFunc(files, func(f *file) bool { return strings.HasSuffix("/"+f.path, "/"+m[1]) }) {
			add("the file " + m[1])
		}
	}
	tests := testNames(files)
	for _, m := range testName.FindAllStringSubmatch(document, -1) {
		if !tests[m[1]] {
			add("the test " + m[1])
		}
	}
	return out
}

func testNames(files []*file) map[string]bool {
	out := map[string]bool{}
	for _, f := range files {
		if !f.forTests() {
			continue
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				out[fn.Name.Name] = true
			}
		}
	}
	return out
}

func TestSourcesOfTheDocuments(t *testing.T) {
	docs, files := documents(t), repository(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if !slices.Contains(history, name) {
			report(t, checkSources(name, docs[name], files), nil)
		}
	}
}

func TestSourcesCanFail(t *testing.T) {
	var files []*file
	for name, text := range map[string]string{"internal/a/b.go": "package a\n", "internal/a/b_test.go": "package a\nfunc TestB(t T) {}\n"} {
		f, err := parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	const document = "`b.go`, `a/b.go`, `internal/a/b.go`, `TestB`; c.go and TestC in no code; `c.go`, `x/b.go`, `.go`, `TestC`\n"
	if got := checkSources("a.md", document, files); len(got) != 3 {
		t.Errorf("problems %v, want c.go, x/b.go and TestC", got)
	}
}

// A row of the table of imports without a package is a thought that nobody needs.
func TestEveryRowOfTheImportTableHasAPackage(t *testing.T) {
	files := repository(t)
	for _, row := range slices.Sorted(maps.Keys(mayImport)) {
		if !slices.ContainsFunc(files, func(f *file) bool { return within(f.dir(), row) }) {
			t.Errorf("%s is in mayImport, and not there", row)
		}
	}
}
