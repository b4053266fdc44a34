package check

import (
	"os"
	"strings"
	"testing"
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
