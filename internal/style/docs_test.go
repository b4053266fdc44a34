package style

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkComments asks for a doc comment on every exported name of the product
// that has its own declaration. Names of a group (constants of one kind) may
// share the group's.
func checkComments(files []*file) []problem {
	var out []problem
	add := func(f *file, name *ast.Ident, docs ...*ast.CommentGroup) {
		documented := slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d != nil })
		if name.IsExported() && !documented {
			out = append(out, problem{f.at(name), "no-comment", name.Name + " is exported: say what it is for"})
		}
	}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || exportedReceiver(d) {
					add(f, d.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						add(f, s.Name, d.Doc, s.Doc, s.Comment)
					case *ast.ValueSpec:
						add(f, s.Names[0], d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
	return out
}

// everyday is methods of well-known interfaces, which need no words of their own.
var everyday = []string{"Error", "String", "Unwrap", "Len", "Less", "Swap", "Close", "Is"}

func exportedReceiver(fn *ast.FuncDecl) bool {
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	name, ok := t.(*ast.Ident)
	return ok && name.IsExported() && !slices.Contains(everyday, fn.Name.Name)
}

func TestExportedNamesHaveComments(t *testing.T) { report(t, checkComments(repository(t)), nil) }

func TestExportedNamesHaveCommentsCanFail(t *testing.T) {
	checkSnippets(t, checkComments, []snippet{
		{"internal/a/a.go", "package a\nfunc F() {}\n", "no-comment"},
		{"internal/a/a.go", "package a\n// F does it.\nfunc F() {}\n", ""},
		{"internal/a/a.go", "package a\nfunc f() {}\n", ""},
		{"internal/a/a_test.go", "package a\nfunc F() {}\n", ""},
		{"internal/a/a.go", "package a\ntype T struct{}\n", "no-comment"},
		{"internal/a/a.go", "package a\n// Kinds.\nconst (\nA = 1\nB = 2\n)\n", ""},
		{"internal/a/a.go", "package a\ntype t struct{}\nfunc (t) M() {}\n", ""},
		{"internal/a/a.go", "package a\n// T is one.\ntype T struct{}\nfunc (*T) M() {}\n", "no-comment"},
		{"internal/a/a.go", "package a\n// T is one.\ntype T struct{}\nfunc (T) String() string { return \"\" }\n", ""},
	})
}

const (
	configFile = "cmd/analytics-worker/config.go"
	reference  = "docs/REFERENCE.md"
)

var (
	settingName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)+$|^ENVIRONMENT$|^FAMILIES$`)
	// A setting's row in the table of the reference: | `NAME` | default | meaning |
	settingRow = regexp.MustCompile("(?m)^\\|\\s*`([A-Z][A-Z0-9_]+)`\\s*\\|")
)

// settingsOf is the names of the environment variables that the program's
// config declares: the first words of the rows of its table.
func settingsOf(f *file) []string {
	var out []string
	ast.Inspect(f.ast, func(n ast.Node) bool {
		row, ok := n.(*ast.CompositeLit)
		if !ok || len(row.Elts) == 0 {
			return true
		}
		first, ok := row.Elts[0].(*ast.BasicLit)
		if ok && first.Kind == token.STRING && settingName.MatchString(strings.Trim(first.Value, `"`)) {
			out = append(out, strings.Trim(first.Value, `"`))
		}
		return true
	})
	return out
}

// checkSettings compares the settings of the code and of the document, both ways.
func checkSettings(code []string, document string) []problem {
	rows := map[string]bool{}
	for _, m := range settingRow.FindAllStringSubmatch(document, -1) {
		rows[m[1]] = true
	}
	var out []problem
	for _, name := range code {
		if !rows[name] {
			out = append(out, problem{reference, "setting", fmt.Sprintf("no row | `%s` | in the table of settings", name)})
		}
		delete(rows, name)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		out = append(out, problem{reference, "setting", name + " is in the table, but not in " + configFile})
	}
	return out
}

func TestEverySettingIsInTheReference(t *testing.T) {
	for _, f := range repository(t) {
		if f.path != configFile {
			continue
		}
		names := settingsOf(f)
		if len(names) < 10 {
			t.Fatalf("only %q found in %s: its table has another form now", names, configFile)
		}
		report(t, checkSettings(names, section(read(t, reference), "## Settings")), nil)
		for _, cells := range rows(section(read(t, "README.md"), "## Settings")) {
			for _, m := range ticked.FindAllStringSubmatch(cells[0], -1) {
				if !slices.Contains(names, m[1]) {
					t.Errorf("README.md has the setting %s, and %s has not", m[1], configFile)
				}
			}
		}
		return
	}
	t.Errorf("%s is not there", configFile)
}

func TestEverySettingCanFail(t *testing.T) {
	document := "| Name | Default |\n|---|---|\n| `BATCH_SIZE` | 100 |\n| `OLD_NAME` | |\n"
	got := checkSettings([]string{"BATCH_SIZE", "POLL_INTERVAL"}, document)
	if len(got) != 2 || !strings.Contains(got[0].text, "POLL_INTERVAL") || !strings.Contains(got[1].text, "OLD_NAME") {
		t.Errorf("problems %v, want POLL_INTERVAL missing and OLD_NAME unknown", got)
	}
}
