package style

import (
	"go/ast"
	"go/token"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	makeTarget = regexp.MustCompile(`(?m)^([a-z][a-z-]*):`)
	makeCall   = regexp.MustCompile("(?m)(?:^|[ `(])(?:\\$ )?make ([a-z][a-z-]*)")
	programUse = regexp.MustCompile("(?m)analytics-worker ([a-z][a-z-]*)((?: [^`#|\\n]*)?)")
	flagUse    = regexp.MustCompile(`--([a-z][a-z-]*)`)
)

// shown is the code of a document: its blocks and what stands in backticks. Blocks of
// text are what a program prints.
func shown(document string) string {
	var b strings.Builder
	for _, block := range fence.FindAllString(document, -1) {
		if !strings.HasPrefix(block, "```text") {
			b.WriteString(block + "\n")
		}
	}
	for _, c := range code.FindAllString(fence.ReplaceAllString(document, ""), -1) {
		b.WriteString(strings.Trim(c, "`") + "\n")
	}
	return b.String()
}

// checkTargets looks up each make target of a document.
func checkTargets(name, document, makefile string) []problem {
	targets := map[string]bool{}
	for _, m := range makeTarget.FindAllStringSubmatch(makefile, -1) {
		targets[m[1]] = true
	}
	var out []problem
	for _, m := range makeCall.FindAllStringSubmatch(shown(document), -1) {
		if !targets[m[1]] {
			out = append(out, problem{name, "make", "there is no make " + m[1]})
		}
	}
	return out
}

// verbsOf is the verbs of the program and all of its flags: the first word of
// each command's Use, and the names given to the flag package.
func verbsOf(files []*file) (verbs, flags map[string]bool) {
	verbs = map[string]bool{"completion": true, "help": true} // cobra's own
	flags = map[string]bool{"help": true}
	for _, f := range files {
		if f.dir() != "cmd/analytics-worker" || f.isTest() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Use" {
					verb, _, _ := strings.Cut(literal(n.Value), " ")
					verbs[verb] = true
				}
			case *ast.CallExpr: // f.IntVar(&limit, "limit", ...)
				if fn, ok := n.Fun.(*ast.SelectorExpr); ok && strings.HasSuffix(fn.Sel.Name, "Var") && len(n.Args) > 1 {
					flags[literal(n.Args[1])] = true
				}
			}
			return true
		})
	}
	return verbs, flags
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return text
		}
	}
	return ""
}

// checkVerbs looks up the verbs and flags that a document calls the program with.
func checkVerbs(name, document string, verbs, flags map[string]bool) []problem {
	var out []problem
	for _, m := range programUse.FindAllStringSubmatch(shown(document), -1) {
		if !verbs[m[1]] {
			out = append(out, problem{name, "verb", "there is no analytics-worker " + m[1]})
		}
		for _, f := range flagUse.FindAllStringSubmatch(m[2], -1) {
			if !flags[f[1]] {
				out = append(out, problem{name, "flag", "analytics-worker " + m[1] + " knows no --" + f[1]})
			}
		}
	}
	return out
}

func TestCommandsOfTheDocuments(t *testing.T) {
	docs, makefile := documents(t), read(t, "Makefile")
	verbs, flags := verbsOf(repository(t))
	if len(verbs) < 6 || len(flags) < 6 {
		t.Fatalf("only the verbs %v and flags %v found: they are declared in another form now", verbs, flags)
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		report(t, checkTargets(name, docs[name], makefile), nil)
		report(t, checkVerbs(name, docs[name], verbs, flags), nil)
	}
}

func TestCommandsCanFail(t *testing.T) {
	const document = "```sh\n$ make demo SECONDS=20\nmake nothing # of it\n```\nIt does make sense. `make test` and `make that`.\n" +
		"```sh\nanalytics-worker verify\nX= analytics-worker nothing\nanalytics-worker verify --none --some | a --other\n```\n" +
		"The analytics-worker reads; `analytics-worker never`.\n"
	got := checkTargets("a.md", document, "demo: build\ntest:\n")
	if len(got) != 2 || !strings.Contains(got[0].text, "nothing") || !strings.Contains(got[1].text, "that") {
		t.Errorf("problems %v, want the targets nothing and that", got)
	}
	got = checkVerbs("a.md", document, map[string]bool{"verify": true}, map[string]bool{"some": true})
	if len(got) != 3 || !strings.Contains(got[0].text, "nothing") || !strings.Contains(got[1].text, "--none") || !strings.Contains(got[2].text, "never") {
		t.Errorf("problems %v, want the verbs nothing and never, and the flag --none", got)
	}
}
