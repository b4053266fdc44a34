package style

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// workflow is what the rules look at of a file under .github/workflows.
type workflow struct {
	On          yaml.Node
	Permissions map[string]string
	Jobs        map[string]struct {
		Timeout int `yaml:"timeout-minutes"`
		Steps   []struct{ Uses, Run string }
	}
}

var (
	// The major version: what the same action repairs comes in by itself.
	majorVersion = regexp.MustCompile(`^[\w-]+/[\w./-]+@v\d+$`)
	runScript    = regexp.MustCompile(`(?m)^\.ci/run$`)
)

// checkWorkflow holds a workflow against the rules that GitHub would only tell
// after a push, or never: what stands in it can be run on a laptop, what it may do
// is said, and it ends.
func checkWorkflow(name, text, makefile string) []problem {
	var w workflow
	if err := yaml.Unmarshal([]byte(text), &w); err != nil {
		return []problem{{name, "workflow", "it is not YAML of this form: " + err.Error()}}
	}
	var out []problem
	add := func(text string) { out = append(out, problem{name, "workflow", text}) }
	if w.On.IsZero() || len(w.Jobs) == 0 {
		add("it has no event or no job")
	}
	if len(w.Permissions) == 0 {
		add("say its permissions: without them it has those of the repository's settings")
	}
	for _, job := range slices.Sorted(maps.Keys(w.Jobs)) {
		j := w.Jobs[job]
		if j.Timeout == 0 {
			add("job " + job + " has no timeout-minutes: a test that hangs takes six hours")
		}
		if len(j.Steps) == 0 {
			add("job " + job + " has no steps")
		}
		for _, s := range j.Steps {
			if s.Uses != "" && !majorVersion.MatchString(s.Uses) {
				add("job " + job + " uses " + s.Uses + ": name the major version, like actions/checkout@v6")
			}
			out = append(out, checkTargets(name, "```\n"+s.Run+"\n```\n", makefile)...)
		}
	}
	return out
}

func TestWorkflows(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 3 {
		t.Errorf("only the workflows %q found", found)
	}
	makefile := read(t, "Makefile")
	for _, f := range found {
		name := ".github/workflows/" + filepath.Base(f)
		report(t, checkWorkflow(name, read(t, name), makefile), nil)
	}
	var w workflow
	if err := yaml.Unmarshal([]byte(read(t, ".github/workflows/pr.yml")), &w); err != nil {
		t.Fatal(err)
	}
	for _, j := range w.Jobs {
		for _, s := range j.Steps {
			if runScript.MatchString(s.Run) {
				return
			}
		}
	}
	t.Error("a pull request does not run .ci/run")
}

func TestWorkflowsCanFail(t *testing.T) {
	const good = `
on: push
permissions: {contents: read}
jobs:
  a:
    timeout-minutes: 5
    steps:
      - uses: actions/checkout@v6
      - run: make test PKG=./a
`
	if got := checkWorkflow("a.yml", good, "test:\n"); len(got) != 0 {
		t.Errorf("problems %v of a good workflow", got)
	}
	for old, bad := range map[string]string{
		"on: push":              "name: x",
		"permissions":           "permission",
		"timeout-minutes: 5":    "name: a",
		"actions/checkout@v6":   "actions/checkout@main",
		"make test":             "make tests",
		"    steps:":            "   steps:", // no YAML any more
		"actions/checkout@v6\n": "./local\n",
	} {
		if got := checkWorkflow("a.yml", strings.Replace(good, old, bad, 1), "test:\n"); len(got) != 1 {
			t.Errorf("problems %v with %q, want one", got, bad)
		}
	}
}
