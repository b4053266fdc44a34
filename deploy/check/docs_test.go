package check

import (
	"os"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/event"
)

// The tables of docs/DEPLOY.md are the template's parameters and alarms.
func TestTheDeployPageHasParametersAndAlarms(t *testing.T) {
	text, err := os.ReadFile("../../docs/DEPLOY.md")
	if err != nil {
		t.Fatal(err)
	}
	template := load(t)
	for name, p := range template.Parameters {
		value := "`" + p.Default + "`"
		switch {
		case p.Required:
			value = "must be given"
		case p.Default == "":
			value = "empty"
		}
		row := "| `" + name + "` | " + value + " | " + strings.ReplaceAll(p.Description, "|", `\|`) + " |\n"
		if !strings.Contains(string(text), row) {
			t.Errorf("docs/DEPLOY.md lacks the row %s", row)
		}
	}
	for id, a := range stack(t, onCluster).Alarms() {
		if name := "| `STACK-" + strings.TrimPrefix(a.Name, StackName+"-") + "` |"; !strings.Contains(string(text), name) || !strings.Contains(string(text), "| "+a.Description+" |\n") {
			t.Errorf("docs/DEPLOY.md lacks the alarm %s: %s", id, a.Description)
		}
	}
}

// Where the deployment lists the families of events, it lists those of the program: one
// that a template leaves out would be loaded nowhere.
func TestTheDeploymentListsTheFamilies(t *testing.T) {
	var names []string
	for _, f := range event.Families() {
		names = append(names, f.String())
	}
	all, one := strings.Join(names, ","), "("+strings.Join(names, "|")+")"
	pattern := "^" + one + "(," + one + ")*$"
	for path, parts := range map[string][]string{
		"../cloudformation/analytics-worker.yaml": {"Default: " + all + "\n", "AllowedPattern: " + pattern + "\n"},
		"../terraform/variables.tf":               {`default     = "` + all + `"`, `regex("` + pattern + `"`},
		"../terraform/README.md":                  {"| `families` | `\"" + all + "\"` |"},
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s does not have %q", path, part)
			}
		}
	}
}
