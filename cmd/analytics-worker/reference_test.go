package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/cloudcafe/analytics-worker/internal/admin"
	"github.com/cloudcafe/analytics-worker/internal/metrics"
	"github.com/cloudcafe/analytics-worker/internal/storm"
	"github.com/cloudcafe/analytics-worker/internal/verify"
)

var update = flag.Bool("update", false, "write the parts of docs/REFERENCE.md anew that the code has")

const referencePage = "../../docs/REFERENCE.md"

// A part of the page that is made of the code stands between two such lines.
var madePart = regexp.MustCompile(`(?s)(<!-- made: ([a-z]+) -->\n).*?(<!-- end -->\n)`)

// The reference has every setting, verb, flag, metric, status and key of JSON that the
// code has, in its words, and no other.
func TestReference(t *testing.T) {
	made := map[string]string{
		"settings": settingsTable(), "statuses": statusesTable(t), "verbs": verbsText(t), "metrics": metricsTables(t), "keys": keysTables(t),
	}
	page, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	want := madePart.ReplaceAllFunc(page, func(part []byte) []byte {
		m := madePart.FindSubmatch(part)
		name := string(m[2])
		text, known := made[name]
		if !known {
			t.Errorf("%s has a part %q, which nothing makes, or that is there twice", referencePage, name)
		}
		delete(made, name)
		return fmt.Appendf(nil, "%s\n%s\n%s", m[1], strings.TrimSpace(text), m[3])
	})
	for name := range maps.Keys(made) {
		t.Errorf("%s has no part <!-- made: %s -->", referencePage, name)
	}
	if *update {
		if err := os.WriteFile(referencePage, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if at := differing(page, want); at != "" {
		t.Errorf("%s does not say what the code does (go test ./cmd/analytics-worker -run TestReference -update writes it anew):\n%s", referencePage, at)
	}
}

// differing is the first line in which two texts differ; empty = none.
func differing(is, want []byte) string {
	a, b := strings.Split(string(is), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(a), len(b)) {
		one, other := "(the end)", "(the end)"
		if i < len(a) {
			one = a[i]
		}
		if i < len(b) {
			other = b[i]
		}
		if one != other {
			return fmt.Sprintf("line %d is   %s\nshould be %s", i+1, one, other)
		}
	}
	return ""
}

// cell is a text as a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// literalOf is what stands for itself in the meaning of a setting: names, URLs, values.
var literalOf = regexp.MustCompile(`[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?::\S*[\w…])?|LATEST|(?:s3|file)://\S*\w|shardId-\S*\w|"[^"]*"`)

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| Name | Default | Meaning |\n|---|---|---|\n")
	for _, s := range settings() {
		initial := ""
		if s.initial != "" {
			initial = "`" + s.initial + "`"
		}
		meaning := literalOf.ReplaceAllStringFunc(s.meaning, func(text string) string { return "`" + strings.Trim(text, `"`) + "`" })
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, initial, cell(meaning))
	}
	return b.String()
}

func statusesTable(t *testing.T) string {
	said := commentsOf(t, ".").constants
	var b strings.Builder
	b.WriteString("| Status | When |\n|---|---|\n")
	statuses := map[int]string{
		exitOK: "exitOK", exitError: "exitError", exitUsage: "exitUsage", exitGone: "exitGone", exitInterrupted: "exitInterrupted", exitTerminated: "exitTerminated",
	}
	for _, status := range slices.Sorted(maps.Keys(statuses)) {
		name := statuses[status]
		fmt.Fprintf(&b, "| %d | %s |\n", status, cell(said[name]))
		delete(said, name)
	}
	for name := range said {
		if strings.HasPrefix(name, "exit") {
			t.Errorf("%s is no status that the reference knows", name)
		}
	}
	return b.String()
}

// program is the program's commands, for whoever looks at what they take.
func program() *cobra.Command {
	root := newApp(func(string) (string, bool) { return "", false }, &bytes.Buffer{}, &bytes.Buffer{}).root()
	root.InitDefaultHelpFlag()
	return root
}

// verbsText is what each verb's --help says.
func verbsText(t *testing.T) string {
	var b strings.Builder
	for _, cmd := range program().Commands() {
		if cmd.Hidden {
			continue
		}
		var out bytes.Buffer
		none := func(string) (string, bool) { return "", false }
		if status := run(context.Background(), []string{cmd.Name(), "--help"}, none, &out, &out); status != exitOK {
			t.Fatalf("%s --help: status %d: %s", cmd.Name(), status, out.String())
		}
		fmt.Fprintf(&b, "### %s\n\n```text\n%s\n```\n\n", cmd.Name(), strings.TrimSpace(out.String()))
	}
	return b.String()
}

func metricsTables(t *testing.T) string {
	var b strings.Builder
	for _, set := range []struct {
		of   any
		what string
	}{
		{new(metrics.Metrics), "Of a worker, with the dimension `Environment` in CloudWatch:"},
		{new(metrics.Storm), "Of [Query Storm](OPERATIONS.md#a-drill), with the dimension `Scenario`:"},
	} {
		declared, err := metrics.Declared(set.of)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(set.what + "\n\n| CloudWatch | Unit there | Prometheus | Label | What it says |\n|---|---|---|---|---|\n")
		for _, d := range declared {
			unit := d.Unit
			if d.CloudWatch == "" {
				unit = ""
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", ticks(d.CloudWatch), unit, ticks(d.Prometheus), ticks(d.Label), cell(d.Help))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func ticks(text string) string {
	if text == "" {
		return "–"
	}
	return "`" + text + "`"
}

// jsonDocuments are what is printed as JSON, by the verb or the page. The keys of report
// and query are the columns of what was asked.
func jsonDocuments() map[string][]jsonDocument {
	return map[string][]jsonDocument{
		"doctor":    {{"analytics-worker doctor --format json", []finding{}, false}},
		"letters":   {{"analytics-worker letters --format json", letterCounts{}, false}, {"analytics-worker letters --last 1 --format json", []shownLetter{}, false}},
		"positions": {{"analytics-worker positions --format json", []shardPosition{}, false}},
		"redrive":   {{"analytics-worker redrive --format json", redriveReport{}, false}},
		"replay":    {{"analytics-worker replay --from 1h --format json", replayReport{}, false}},
		"status":    {{"analytics-worker status --format json", statusReport{}, false}},
		"stress":    {{"analytics-worker stress --format json", storm.Report{}, true}, {"analytics-worker stress --dry-run --format json", stressPlan{}, true}},
		"verify":    {{"analytics-worker verify --format json", verify.Report{}, false}},
		"/status":   {{"GET /status", admin.Status{}, true}},
		"report":    nil,
		"query":     nil,
	}
}

type jsonDocument struct {
	from  string // what prints it
	shape any
	bare  bool // keys whose names say it need no words
}

func keysTables(t *testing.T) string {
	documents := jsonDocuments()
	for _, cmd := range program().Commands() {
		format := cmd.Flags().Lookup("format")
		if _, known := documents[cmd.Name()]; format != nil && strings.Contains(format.Usage, "json") && !known {
			t.Errorf("%s prints JSON whose keys are in no reference", cmd.Name())
		}
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(documents)) {
		for _, d := range documents[name] {
			fmt.Fprintf(&b, "`%s`\n\n| Key | Value | What it says |\n|---|---|---|\n", d.from)
			for _, k := range keysOf(t, d.shape) {
				if k.says == "" && !d.bare {
					t.Errorf("%s: the key %s is not described: its field has no comment", d.from, k.path)
				}
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.path, k.value, cell(k.says))
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
