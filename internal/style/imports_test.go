package style

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our packages a package and those below it may import
// besides each other. What is not in the table fails: a new package needs a
// row, and so a thought about where it stands.
var mayImport = map[string][]string{
	"internal/stream":     nil,
	"internal/event":      nil,
	"internal/metrics":    nil,
	"internal/madeup":     nil,
	"localaws":            nil, // it stands for AWS: sharing code, it would share mistakes
	"internal/style":      nil,
	"internal/pulse":      nil,
	"internal/plural":     nil,
	"internal/verdict":    {"internal/plural"}, // it is pure: whatever it judges is given to it
	"internal/lease":      {"internal/stream", "internal/pulse"},
	"internal/deadletter": {"internal/stream", "internal/plural"},
	"internal/warehouse":  {"internal/stream", "internal/event", "internal/plural"},
	"internal/verify":     {"internal/stream", "internal/event", "internal/warehouse", "internal/deadletter", "internal/plural"},
	"internal/redrive":    {"internal/stream", "internal/deadletter"},
	"internal/replay":     {"internal/stream", "internal/event", "internal/warehouse", "internal/deadletter", "internal/plural"},
	"internal/worker": {
		"internal/stream", "internal/event", "internal/lease", "internal/warehouse", "internal/deadletter", "internal/metrics", "internal/pulse",
	},
	"internal/fleet": {"internal/stream", "internal/event", "internal/warehouse", "internal/pulse", "internal/plural"},
	"internal/aws":   {"internal/stream", "internal/lease", "internal/warehouse", "internal/pulse", "internal/plural"}, // whose small interfaces it implements
	"internal/vitals": {
		"internal/verdict", "internal/stream", "internal/event", "internal/lease", "internal/warehouse", "internal/worker", "internal/metrics", "internal/aws",
	},
	"internal/service": {
		"internal/stream", "internal/event", "internal/lease", "internal/warehouse", "internal/deadletter", "internal/worker", "internal/metrics",
		"internal/pulse", "internal/aws", "internal/fleet", "internal/vitals", "internal/verdict", // from an account of aws's it puts a worker together
	},
	"internal/storm":      {"internal/warehouse", "internal/metrics", "internal/plural"},
	"internal/admin":      {"internal/event", "internal/worker", "internal/metrics", "internal/verdict"},
	"internal/simulation": everything,
	"deploy":              nil, // what reads the files there; its tests hold them against the code
	"cmd":                 everything,
}

var everything = []string{"internal", "localaws"}

// onlyIn says which packages may import a module or package from outside.
var onlyIn = []struct {
	prefix string
	in     []string
	reason string
}{
	{"github.com/aws/", []string{"internal/aws"}, "SDK types elsewhere tie the core to pointers and to the network"},
	{"github.com/duckdb/", []string{"localaws"}, "it needs cgo, and the worker is one static binary"},
	{"github.com/jackc/", []string{"localaws"}, "the worker reaches its warehouse through DB alone"},
	{"database/sql", []string{"localaws"}, "the worker reaches its warehouse through DB alone"},
	{"github.com/coreos/", []string{"cmd"}, "what starts the worker is the program's affair"},
	{"github.com/spf13/", []string{"cmd"}, "flags and settings end in cmd; packages take plain structs"},
	{"testing", nil, "only tests and their harnesses link it"},
	{"log", nil, "use log/slog"},
	{"math/rand", nil, "use math/rand/v2"},
	{"io/ioutil", nil, "use io and os"},
	{"C", nil, "cgo comes with DuckDB alone, through its driver"},
}

func within(dir, parent string) bool { return dir == parent || strings.HasPrefix(dir, parent+"/") }

// owner is the row of the table that a package belongs to.
func owner(dir string) (string, bool) {
	for row := range mayImport {
		if within(dir, row) {
			return row, true
		}
	}
	return "", false
}

func checkImports(files []*file) []problem {
	var out []problem
	for _, f := range files {
		row, known := owner(f.dir())
		if !known {
			out = append(out, problem{f.path, "import-table", "the package has no row in mayImport"})
			continue
		}
		for _, spec := range f.ast.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if text := refuseImport(f, row, imported); text != "" {
				out = append(out, problem{f.at(spec), "import-table", text})
			}
		}
	}
	return out
}

// refuseImport says why f may not import the package, or nothing. Tests put
// real parts together and may import what they like, but for those of the local
// AWS, which must stand without the worker.
func refuseImport(f *file, row, imported string) string {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	if !isOurs {
		return refuseForeign(f, imported)
	}
	if within(ours, row) {
		return ""
	}
	if within(ours, "cmd") || row == "localaws" && f.isTest() {
		return row + " may not import " + ours
	}
	if f.forTests() {
		return ""
	}
	if strings.HasSuffix(ours, "test") && row != "internal/simulation" {
		return ours + " is a harness for tests"
	}
	for _, allowed := range mayImport[row] {
		if within(ours, allowed) {
			return ""
		}
	}
	return fmt.Sprintf("%s may not import %s, only %q", row, ours, mayImport[row])
}

func refuseForeign(f *file, imported string) string {
	for _, rule := range onlyIn {
		exact := !strings.HasSuffix(rule.prefix, "/")
		if exact && imported != rule.prefix || !strings.HasPrefix(imported, rule.prefix) {
			continue
		}
		allowed := slices.ContainsFunc(rule.in, func(in string) bool { return within(f.dir(), in) })
		always := rule.in == nil && rule.prefix != "testing" // not for tests either
		if !allowed && (always || !f.forTests()) {
			return fmt.Sprintf("%s may be imported only in %q: %s", imported, rule.in, rule.reason)
		}
	}
	return ""
}

func TestImportTable(t *testing.T) {
	report(t, checkImports(repository(t)), nil)
}

func TestImportTableCanFail(t *testing.T) {
	ours := func(pkg string) string { return "package p\nimport _ \"" + module + "/" + pkg + "\"\n" }
	foreign := func(pkg string) string { return "package p\nimport _ \"" + pkg + "\"\n" }
	const broken = "import-table"
	checkSnippets(t, checkImports, []snippet{
		{"internal/event/a.go", ours("internal/stream"), broken},
		{"internal/stream/a.go", ours("internal/stream/sub"), ""},
		{"internal/worker/a.go", ours("internal/aws"), broken},
		{"internal/worker/a_test.go", ours("internal/aws"), ""},
		{"internal/worker/a.go", ours("internal/lease/leasetest"), broken},
		{"internal/worker/a.go", ours("internal/stream"), ""},
		{"internal/worker/a_test.go", ours("cmd/analytics-worker"), broken},
		{"localaws/kinesis/a.go", ours("localaws/wire"), ""},
		{"localaws/kinesis/a.go", ours("internal/stream"), broken},
		{"localaws/kinesis/a_test.go", ours("internal/stream"), broken},
		{"localaws/kinesis/a_test.go", foreign("github.com/aws/aws-sdk-go-v2/service/kinesis"), ""},
		{"localaws/kinesis/a.go", foreign("github.com/aws/aws-sdk-go-v2/service/kinesis"), broken},
		{"internal/utensils/a.go", "package utensils\n", broken},
		{"cmd/analytics-worker/a.go", ours("internal/worker"), ""},
		{"cmd/analytics-worker/a.go", foreign("github.com/duckdb/duckdb-go/v2"), broken},
		{"internal/worker/a.go", foreign("log"), broken},
		{"internal/worker/a_test.go", foreign("log"), broken},
		{"internal/worker/a.go", foreign("log/slog"), ""},
		{"internal/worker/a.go", foreign("testing"), broken},
		{"internal/lease/leasetest/a.go", foreign("testing"), ""},
	})
}
