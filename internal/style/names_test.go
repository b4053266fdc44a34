package style

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Packages are named for what they are about. These are about nothing.
var emptyNames = []string{"utils", "util", "common", "helpers", "helper", "types", "models", "interfaces", "pkg", "misc", "base"}

var emptySuffixes = regexp.MustCompile(`(Manager|Helper|Impl|Util|Utils)$`)

func checkNames(files []*file) []problem {
	var out []problem
	for _, f := range files {
		for _, e := range strings.Split(f.dir(), "/") {
			if slices.Contains(emptyNames, e) {
				out = append(out, problem{f.path, "empty-name", "the folder " + e + ": name the idea, or keep the function beside its only user"})
			}
		}
		if name := strings.TrimSuffix(f.ast.Name.Name, "_test"); name != "main" && name != path.Base(f.dir()) {
			out = append(out, problem{f.path, "package-name", "package " + name + " in a folder of another name"})
		}
		for _, d := range f.ast.Decls {
			group, ok := d.(*ast.GenDecl)
			if !ok || group.Tok != token.TYPE {
				continue
			}
			for _, s := range group.Specs {
				if name := s.(*ast.TypeSpec).Name; emptySuffixes.MatchString(name.Name) {
					out = append(out, problem{f.at(name), "empty-name", "type " + name.Name + ": say what it does"})
				}
			}
		}
	}
	return out
}

func TestNames(t *testing.T) { report(t, checkNames(repository(t)), nil) }

func TestNamesCanFail(t *testing.T) {
	checkSnippets(t, checkNames, []snippet{
		{"internal/utils/a.go", "package utils\n", "empty-name"},
		{"internal/stream/a.go", "package stream\n", ""},
		{"internal/stream/a_test.go", "package stream_test\n", ""},
		{"internal/stream/a.go", "package flow\n", "package-name"},
		{"cmd/localaws/main.go", "package main\n", ""},
		{"internal/stream/a.go", "package stream\ntype ShardManager struct{}\n", "empty-name"},
	})
}
