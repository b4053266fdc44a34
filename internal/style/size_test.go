package style

import (
	"fmt"
	"go/ast"
	"strings"
	"testing"
)

// What a reader can hold at once. The tables of a test do not count: a table is read
// row by row, and cut in two it is no easier to read, but harder to find.
const (
	maxFileLines     = 500
	maxFunctionLines = 80
)

// Longer than that, each with its reason. The place is a file, or a file and a
// function's name.
var sizeExceptions = []exception{}

func checkSizes(files []*file) []problem {
	var out []problem
	for _, f := range files {
		if n := strings.Count(f.text, "\n"); n > maxFileLines {
			out = append(out, problem{f.path, "file-size", fmt.Sprintf("%d lines, at most %d", n, maxFileLines)})
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := f.lines(fn)
			if f.isTest() {
				n -= tableLines(f, fn)
			}
			if n > maxFunctionLines {
				out = append(out, problem{f.path + ":" + fn.Name.Name, "function-size", fmt.Sprintf("%d lines, at most %d", n, maxFunctionLines)})
			}
		}
	}
	return out
}

// tableLines counts the rows of the tables of a test: of literals with parts of their own.
func tableLines(f *file, fn *ast.FuncDecl) (n int) {
	ast.Inspect(fn, func(node ast.Node) bool {
		lit, ok := node.(*ast.CompositeLit)
		if !ok || len(lit.Elts) == 0 {
			return true
		}
		switch lit.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			n += max(0, f.lines(lit)-2)
			return false
		}
		return true
	})
	return n
}

func TestSizes(t *testing.T) { report(t, checkSizes(repository(t)), sizeExceptions) }

func TestSizesCanFail(t *testing.T) {
	long := func(n int) string { return "package p\n\nfunc f() {\n" + strings.Repeat("\t_ = 0\n", n-2) + "}\n" }
	checkSnippets(t, checkSizes, []snippet{
		{"internal/a/a.go", long(maxFunctionLines), ""},
		{"internal/a/a.go", long(maxFunctionLines + 1), "function-size"},
		{"internal/a/a_test.go", long(maxFunctionLines + 1), "function-size"},
		{"internal/a/a_test.go", "package a\n\nfunc f() {\n\tx := []int{\n" + strings.Repeat("\t\t1,\n", maxFunctionLines) + "\t}\n}\n", ""},
		{"internal/a/a.go", "package p\n" + strings.Repeat("\n", maxFileLines-1), ""},
		{"internal/a/a.go", "package p\n" + strings.Repeat("\n", maxFileLines), "file-size"},
	})
}
