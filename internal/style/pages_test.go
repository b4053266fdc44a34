package style

import (
	"go/ast"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const (
	operations   = "docs/OPERATIONS.md"
	architecture = "docs/ARCHITECTURE.md"
)

// section is the part of a document below a heading, up to the next one of the
// same depth.
func section(document, heading string) string {
	_, after, found := strings.Cut("\n"+document, "\n"+heading+"\n")
	if !found {
		return ""
	}
	depth, _, _ := strings.Cut(heading, " ")
	part, _, _ := strings.Cut(after, "\n"+depth+" ")
	return part
}

var (
	ticked = regexp.MustCompile("`([^`]+)`")
	rule   = regexp.MustCompile(`^[\s|:-]+$`)
)

// rows is the cells of the tables in a text, their heads left out.
func rows(text string) [][]string {
	var out [][]string
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case !strings.HasPrefix(line, "|"):
		case rule.MatchString(line): // the line before was a head
			out = out[:max(0, len(out)-1)]
		default:
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			out = append(out, cells)
		}
	}
	return out
}

// declaredMetrics is "CloudWatch Unit Prometheus" of each metric, from the tags
// of the fields of the struct Metrics; a dash where there is none.
func declaredMetrics(files []*file) []string {
	var out []string
	for _, f := range files {
		if f.dir() != "internal/metrics" || f.isTest() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			tag := reflect.StructTag(text)
			if err != nil || tag.Get("help") == "" {
				return true
			}
			name, unit, shown := tag.Get("cloudwatch"), tag.Get("unit"), tag.Get("prometheus")
			if kind, ok := field.Type.(*ast.Ident); ok && kind.Name == "Counter" {
				unit = "Count"
			}
			if name == "" {
				name, unit = "–", ""
			}
			if shown = "analytics_worker_" + shown; shown == "analytics_worker_" {
				shown = "–"
			}
			out = append(out, strings.Join([]string{name, unit, shown}, " "))
			return true
		})
	}
	return out
}

// checkMetrics compares the metrics of the code and of the document, both ways.
func checkMetrics(code []string, document string) []problem {
	made := map[string]bool{}
	for _, cells := range rows(section(document, "## Metrics")) {
		if len(cells) > 3 {
			made[strings.ReplaceAll(strings.Join(cells[:3], " "), "`", "")] = true
		}
	}
	var out []problem
	for _, m := range code {
		if !made[m] {
			out = append(out, problem{operations, "metric", "no row for " + m})
		}
		delete(made, m)
	}
	for _, m := range slices.Sorted(maps.Keys(made)) {
		out = append(out, problem{operations, "metric", m + " is not declared so in internal/metrics"})
	}
	return out
}

func TestEveryMetricIsInTheOperations(t *testing.T) {
	code := declaredMetrics(repository(t))
	if len(code) < 10 {
		t.Fatalf("only %q found in internal/metrics: they are declared in another form now", code)
	}
	report(t, checkMetrics(code, read(t, operations)), nil)
}

func TestEveryMetricCanFail(t *testing.T) {
	const document = "## Metrics\n\n| CloudWatch | Unit | Prometheus | |\n|---|---|---|---|\n" +
		"| `A` | Count | `analytics_worker_a` | |\n| `B` | Count | `analytics_worker_b` | |\n\n## Next\n| `D` | Count | `d` | |\n"
	got := checkMetrics([]string{"A Count analytics_worker_a", "B Seconds analytics_worker_b", "C Count –"}, document)
	if len(got) != 3 || !strings.Contains(got[0].text, "B Seconds") || !strings.Contains(got[1].text, "C Count") || !strings.Contains(got[2].text, "B Count") {
		t.Errorf("problems %v, want B of another unit (both ways), and C missing", got)
	}
}

// checkMessages looks up in the code's texts what the operations say of log
// messages: a message that was reworded must be found there under its new words.
func checkMessages(files []*file, document string) []problem {
	var out []problem
	for _, cells := range rows(section(document, "## Log messages")) {
		for _, m := range ticked.FindAllStringSubmatch(cells[0], -1) {
			if !slices.ContainsFunc(files, func(f *file) bool {
				return !f.isTest() && strings.Contains(f.text, `"`+m[1]+`"`)
			}) {
				out = append(out, problem{operations, "log-message", "nothing logs " + m[1]})
			}
		}
	}
	return out
}

func TestLogMessagesOfTheOperations(t *testing.T) {
	document := read(t, operations)
	if n := len(rows(section(document, "## Log messages"))); n < 10 {
		t.Errorf("only %d rows of log messages found in %s: the table has another form now", n, operations)
	}
	report(t, checkMessages(repository(t), document), nil)
}

func TestLogMessagesCanFail(t *testing.T) {
	f, err := parse("internal/a/a.go", "package a\nvar s = \"load failed\"\n")
	if err != nil {
		t.Fatal(err)
	}
	const head = "## Log messages\n| Message | |\n|---|---|\n"
	if got := checkMessages([]*file{f}, head+"| `load failed` | wait |\n"); len(got) != 0 {
		t.Errorf("problems %v of a message that is logged", got)
	}
	if got := checkMessages([]*file{f}, head+"| `load failed`, `load` | wait |\n"); len(got) != 1 {
		t.Errorf("problems %v, want one: nothing logs a part of a message", got)
	}
}

// checkPackages compares the table of packages with mayImport.
func checkPackages(document string, allowed map[string][]string) []problem {
	var out []problem
	made := map[string]bool{}
	for _, cells := range rows(section(document, "## Packages")) {
		if len(cells) != 3 {
			continue
		}
		name := strings.Trim(cells[0], "`")
		made[name] = true
		may, known := allowed[name]
		want := "nothing"
		switch {
		case slices.Equal(may, everything):
			want = "everything"
		case len(may) > 0:
			want = strings.ReplaceAll(strings.Join(may, ", "), "internal/", "")
		}
		if got, _, _ := strings.Cut(cells[2], " but "); !known || got != want {
			out = append(out, problem{architecture, "packages", name + " may import " + cells[2] + "; mayImport says " + want})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(allowed)) {
		if !made[name] {
			out = append(out, problem{architecture, "packages", "no row for " + name})
		}
	}
	return out
}

func TestPackagesOfTheArchitecture(t *testing.T) {
	report(t, checkPackages(read(t, architecture), mayImport), nil)
}

func TestPackagesCanFail(t *testing.T) {
	const document = "## Packages\n| P | W | I |\n|---|---|---|\n| `internal/a` | | nothing |\n| `internal/b` | | a |\n| `internal/x` | | nothing |\n"
	got := checkPackages(document, map[string][]string{"internal/a": nil, "internal/b": {"internal/a", "internal/c"}, "internal/c": nil})
	if len(got) != 3 {
		t.Errorf("problems %v, want b with other imports, x unknown, c missing", got)
	}
}

var (
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
	code    = regexp.MustCompile("`[^`\n]*`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
)

// prose is a document without its code.
func prose(document string) string {
	return code.ReplaceAllString(fence.ReplaceAllString(document, ""), "")
}

// anchors is the names of a document's headings, as the usual viewers make them, and how many
// have each.
func anchors(document string) map[string]int {
	out := map[string]int{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(document, ""), -1) {
		out[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1])]++
	}
	return out
}

// checkLinks follows the links from one document of the repository to others.
// open gives the text of a file, or false where there is none.
func checkLinks(name, document string, open func(string) (string, bool)) []problem {
	var out []problem
	for _, m := range link.FindAllStringSubmatch(prose(document), -1) {
		if strings.Contains(m[1], "://") {
			continue
		}
		to, anchor, _ := strings.Cut(m[1], "#")
		text, there := document, true
		if to != "" {
			text, there = open(path.Join(path.Dir(name), to))
		}
		if !there || anchor != "" && anchors(text)[anchor] != 1 {
			out = append(out, problem{name, "link", m[1] + " leads nowhere, or to more than one place"})
		}
	}
	return out
}

// documents is the texts for people, by their paths from the root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(filepath.FromSlash(root), func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == ".tools" || e.Name() == "bin" || e.Name() == "dist"):
			return fs.SkipDir
		case e.IsDir() || filepath.Ext(name) != ".md":
			return nil
		}
		name, err = filepath.Rel(filepath.FromSlash(root), name)
		name = filepath.ToSlash(name)
		out[name] = read(t, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, known := range []string{"README.md", "docs/ROWS.md", "deploy/terraform/README.md", ".github/pull_request_template.md"} {
		if out[known] == "" {
			t.Errorf("%s is not among the documents found", known)
		}
	}
	return out
}

// checkHeadings wants each heading of a document once: whoever looks for one reads the
// first, and takes it for all there is.
func checkHeadings(name, document string) []problem {
	var out []problem
	names := anchors(document)
	for _, anchor := range slices.Sorted(maps.Keys(names)) {
		if names[anchor] > 1 {
			out = append(out, problem{name, "heading", strconv.Itoa(names[anchor]) + " headings are #" + anchor})
		}
	}
	return out
}

func TestHeadings(t *testing.T) {
	docs := documents(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if name != "CHANGELOG.md" { // each version has the same
			report(t, checkHeadings(name, docs[name]), nil)
		}
	}
}

func TestHeadingsCanFail(t *testing.T) {
	if got := checkHeadings("a.md", "# A\n## Start\n## Stop\n```\n# Stop\n```\n## Start\n"); len(got) != 1 {
		t.Errorf("problems %v, want the second Start", got)
	}
}

func TestLinks(t *testing.T) {
	open := func(name string) (string, bool) {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return string(text), err == nil
	}
	docs := documents(t)
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		report(t, checkLinks(name, docs[name], open), nil)
	}
}

func TestLinksCanFail(t *testing.T) {
	open := func(name string) (string, bool) { return "# A `b`, c\n", name == "docs/there.md" }
	const document = "# Own part\n[a](there.md) [b](there.md#a-b-c) [c](#own-part) [d](https://example.org/x)\n```\n[e](none.md)\n```\n" +
		"[f](none.md) [g](there.md#none) [h](#none) `[i](none.md)`\n"
	if got := checkLinks("docs/a.md", document, open); len(got) != 3 {
		t.Errorf("problems %v, want f, g and h", got)
	}
}
