package style

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// What a user may do about something is said by the program: it has the settings
// and the verbs, and one table of next steps (advice.go). Texts of other packages that
// name one, each with its reason.
var settingExceptions = []exception{
	{"internal/warehouse/grants.go", "setting", "it explains printed SQL to whoever runs it"},
	{"internal/warehouse/schema.go", "setting", "it explains printed SQL to whoever runs it"},
	{"internal/admin/admin.go", "setting", "it answers whoever asks a server by another name, and not the worker's own"},
	{"internal/verdict/rules.go", "setting", "the verdict has its own rules of what to do, and commands to paste"},
	{"internal/verdict/told.go", "setting", "the verdict has its own rules of what to do, and commands to paste"},
	{"internal/verdict/writes.go", "setting", "the verdict has its own rules of what to do, and commands to paste"},
	{"internal/verify/verify.go", "setting", "it is a line of the verb's report"},
}

var (
	declaredSetting = regexp.MustCompile(`\{"([A-Z][A-Z_]+)", "`)
	verbOfOurs      = regexp.MustCompile(`\banalytics-worker (doctor|positions|publish|redrive|report|schema|status|stress|verify)\b`)
)

// checkNamedSettings finds texts outside the programs that name a setting or a verb. AWS_...
// is not the program's: any AWS program has it.
func checkNamedSettings(files []*file, names []string) []problem {
	var out []problem
	for _, f := range files {
		if f.forTests() || !within(f.dir(), "internal") || within(f.dir(), "internal/simulation") {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			named := slices.ContainsFunc(names, func(name string) bool {
				return regexp.MustCompile(`\b` + name + `\b`).MatchString(text)
			})
			if err == nil && (named || verbOfOurs.MatchString(text)) {
				out = append(out, problem{f.path, "setting", "a setting or a verb is named outside cmd: say what is wrong, and let cmd/analytics-worker/advice.go say what to do"})
			}
			return true
		})
	}
	return out
}

// settingNames are the program's own settings, as it declares them.
func settingNames(files []*file) (out []string) {
	for _, f := range files {
		if f.path == "cmd/analytics-worker/config.go" {
			for _, m := range declaredSetting.FindAllStringSubmatch(f.text, -1) {
				if m[1] != "AWS_REGION" {
					out = append(out, m[1])
				}
			}
		}
	}
	return out
}

func TestSettingsAreNamedByTheProgramAlone(t *testing.T) {
	files := repository(t)
	names := settingNames(files)
	if len(names) < 20 {
		t.Fatalf("only %d settings are found: %q", len(names), names)
	}
	report(t, checkNamedSettings(files, names), settingExceptions)
}

func TestNamedSettingsCanFail(t *testing.T) {
	check := func(files []*file) []problem { return checkNamedSettings(files, []string{"LEASE_TABLE", "FAMILIES"}) }
	checkSnippets(t, check, []snippet{
		{"internal/a/a.go", "package a\nvar text = `no table; set LEASE_TABLE`", "setting"},
		{"internal/a/a.go", "package a\nvar text = `see analytics-worker doctor`", "setting"},
		{"internal/a/a.go", "package a\nvar text = `the analytics-worker of AWS_REGION`", ""},
		{"internal/a/a_test.go", "package a\nvar text = `set LEASE_TABLE`", ""},
		{"cmd/a/a.go", "package a\nvar text = `set LEASE_TABLE`", ""},
	})
}
