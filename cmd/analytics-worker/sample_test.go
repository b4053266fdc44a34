package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The settings file that is installed names every setting with its default, as a
// comment: deploy-ec2.sh hands on those that it finds there, and no other.
func TestTheSampleFileNamesEverySetting(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("../../deploy/analytics-worker.env")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range settings() {
		want = append(want, fmt.Sprintf("#%s=%q", s.name, s.initial))
	}
	got := regexp.MustCompile(`(?m)^#?[A-Z][A-Z0-9_]*=.*$`).FindAllString(string(file), -1)
	if !slices.Equal(got, want) {
		t.Errorf("deploy/analytics-worker.env names\n%s\nwant, in the order of settings():\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
