package admin

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cloudcafe/analytics-worker/internal/verdict"
)

// Whatever is not fine has a section of the handbook, and the section is there.
func TestEveryCauseHasASectionOfTheHandbook(t *testing.T) {
	text, err := os.ReadFile("../../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		anchor := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		there[regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(anchor, "")] = true
	}
	for _, c := range verdict.Causes() {
		section := sections[c]
		switch c {
		case verdict.Arriving, verdict.Quiet, verdict.Standby:
			if section != "" {
				t.Errorf("%s is fine, and refers to %s", c, section)
			}
		default:
			if !there[section] {
				t.Errorf("%s refers to the section %q, which is not there", c, section)
			}
		}
	}
	found := docs(verdict.Verdict{Finding: verdict.Finding{Cause: verdict.WarehousePaused}, Others: []verdict.Finding{{Cause: verdict.Quiet}}})
	if len(found) != 1 || found[verdict.WarehousePaused] != manual+"#paused-warehouse" {
		t.Errorf("referred to %v", found)
	}
}
