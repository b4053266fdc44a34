// Package style checks the house rules over the source of the whole repository:
// who may import whom, sizes, calls that are not made here, names, and that the
// documents keep up with the code. It holds nothing but tests.
//
// The rules are here, and not in golangci-lint's depguard and forbidigo, because
// that program takes 200 modules and three minutes of two cores to build, for
// two of its hundred linters; these tests take a second and need no tool.
package style

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/cloudcafe/analytics-worker"

// root is the repository's folder as seen from this package's.
const root = "../.."

// file is one Go file of the repository.
type file struct {
	path string // from the root, with "/"
	text string
	set  *token.FileSet
	ast  *ast.File
}

func (f *file) dir() string { return path.Dir(f.path) }

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// forTests reports whether only tests use the file: it is one, or its package
// is a test harness (leasetest), which its name tells.
func (f *file) forTests() bool { return f.isTest() || strings.HasSuffix(f.dir(), "test") }

// imports is the path of each import and its name in the file.
func (f *file) imports() map[string]string {
	out := map[string]string{}
	for _, spec := range f.ast.Imports {
		p := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		out[p] = name
	}
	return out
}

// lines is how many lines a node takes.
func (f *file) lines(n ast.Node) int {
	return f.set.Position(n.End()).Line - f.set.Position(n.Pos()).Line + 1
}

func (f *file) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", f.path, f.set.Position(n.Pos()).Line)
}

func parse(name, text string) (*file, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	return &file{name, text, set, tree}, err
}

// load parses the repository's Go files, once for all tests of the package.
var load = sync.OnceValues(func() ([]*file, error) {
	var files []*file
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if e.IsDir() {
			base := e.Name()
			if rel != "." && (base[0] == '.' || base == "testdata" || base == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		f, err := parse(rel, string(text))
		files = append(files, f)
		return err
	})
	return files, err
})

func repository(t *testing.T) []*file {
	t.Helper()
	files, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d Go files found from %s: the rules would check nothing", len(files), root)
	}
	return files
}

// problem is one breach of a rule.
type problem struct {
	at   string // file, or file:line
	rule string
	text string
}

// exception lets one place break one rule.
type exception struct {
	at     string // file, or file:function
	rule   string
	reason string
}

// report fails the test for each problem that no exception allows, and for each
// exception that nothing needs any more.
func report(t *testing.T, problems []problem, exceptions []exception) {
	t.Helper()
	used := make([]bool, len(exceptions))
next:
	for _, p := range problems {
		for i, e := range exceptions {
			if e.rule == p.rule && (e.at == p.at || strings.HasPrefix(p.at, e.at+":")) {
				used[i] = true
				continue next
			}
		}
		t.Errorf("%s: %s: %s", p.at, p.rule, p.text)
	}
	for i, e := range exceptions {
		if !used[i] {
			t.Errorf("exception for %s (%s) is needed no more: take it out", e.at, e.rule)
		}
		if e.reason == "" {
			t.Errorf("exception for %s (%s) has no reason", e.at, e.rule)
		}
	}
}

// snippet is a file of a few lines that breaks a rule, or does not: it shows
// that the rule can fail.
type snippet struct {
	path, text string
	want       string // rule broken; empty where none is
}

func checkSnippets(t *testing.T, check func([]*file) []problem, snippets []snippet) {
	t.Helper()
	for _, s := range snippets {
		f, err := parse(s.path, s.text)
		if err != nil {
			t.Fatalf("%s: %v", s.text, err)
		}
		var got string
		for _, p := range check([]*file{f}) {
			got = p.rule
		}
		if got != s.want {
			t.Errorf("%s breaks %q, want %q:\n%s", s.path, got, s.want, s.text)
		}
	}
}
